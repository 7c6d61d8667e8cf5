"""Whatever is done to a zone, its signatures and proofs are those that signing it whole gives."""

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.dnssec.policy import Denial
from mx10.zones.ledger import Edit
from mx10.zones.zone import RRset
from tests.zones.dnssec.shapes import arrangement, zone_from
from tests.zones.dnssec.signed_store import ANN, SignedStore

LABELS = ["a", "b", "m", "*", "z"]
DATA: dict[int, list[RRset]] = {
    rr.A: [(60, (b"\xc0\0\2\1",)), (60, (b"\xc0\0\2\2", b"\xc0\0\2\3")), (90, (b"\xc0\0\2\1",))],
    rr.TXT: [(60, (b"\1x",))],
    rr.NS: [(60, (b"\2ns\3net\0",)), (70, (b"\2NS\3net\0",))],
    rr.DS: [(60, (b"\0\1\15\2" + b"x" * 32,))],
    rr.DNAME: [(60, (b"\3net\0",))],
}


def names() -> st.SearchStrategy[str]:
    """Names relative to the zone, few enough to meet again."""
    return st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join)


def steps() -> st.SearchStrategy[tuple[str, int, int]]:
    """Owner, type, and which data; -1 for none."""
    return st.sampled_from(sorted(DATA)).flatmap(
        lambda rrtype: st.tuples(names(), st.just(rrtype), st.integers(-1, len(DATA[rrtype]) - 1))
    )


def edit(apex: bytes, step: tuple[str, int, int]) -> Edit:
    owner, rrtype, number = step
    return Edit(from_text(owner, apex), rrtype, None if number < 0 else DATA[rrtype][number])


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SignedStore:
    return SignedStore(open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mx10.db", create=True))


counter = count()


@pytest.mark.parametrize("denial", ["nsec", "nsec3", "nsec3-opt-out"])
@given(start=st.lists(steps(), max_size=8), series=st.lists(st.lists(steps(), min_size=1, max_size=5), max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_series_of_changes(
    signed: SignedStore,
    denial: Denial,
    start: list[tuple[str, int, int]],
    series: list[list[tuple[str, int, int]]],
) -> None:
    zone = zone_from("", f"z{next(counter)}.{denial}.")
    apex = zone.apex
    signed.ledger.create(zone, ANN)
    signed.ledger.change(apex, [edit(apex, step) for step in start], ANN)
    signed.sign(apex, arrangement(15, "csk", denial))
    signed.assert_as_from_scratch(apex)
    for batch in series:
        signed.ledger.change(apex, [edit(apex, step) for step in batch], ANN)
        signed.assert_as_from_scratch(apex)
