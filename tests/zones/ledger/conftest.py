"""A ledger on each database, with a clock that tests set."""

import pytest

from mx10.config import ZoneSettings
from mx10.store.connect import Store
from mx10.zones.ledger import Ledger
from tests.zones.ledger.making import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(store: Store, clock: Clock) -> Ledger:
    return Ledger(store, ZoneSettings(), clock=clock)
