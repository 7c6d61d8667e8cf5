"""Zones from text, and a responder over them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.config import NameserverSettings
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from tests.nameserver.asking import Asker, packed_zone


@pytest.fixture
def serving(tmp_path: Path) -> Callable[..., Asker]:
    """``serving({"example": "www A 192.0.2.1"}, nsid="x")``: an asker over these zones."""

    def make(texts: dict[str, str], **settings: object) -> Asker:
        zones = dict(packed_zone(tmp_path / "zones", apex, text) for apex, text in texts.items())
        return Asker(Responder(ZoneTable(zones), replace(NameserverSettings(), **settings)))  # type: ignore[arg-type]

    return make
