"""What differs between two states, found by walking both."""

from hypothesis import given
from hypothesis import strategies as st

from mx10.zones.ledger import changes_between, same
from mx10.zones.ledger.difference import differences
from mx10.zones.zone import Zone
from tests.zones.reading import ORIGIN

owners = st.sampled_from([b"\1a" + ORIGIN, b"\1b" + ORIGIN, b"\1c\1a" + ORIGIN, ORIGIN])
datas = st.lists(st.binary(max_size=2), min_size=1, max_size=3, unique=True).map(tuple)
nodes = st.dictionaries(st.integers(1, 4), st.tuples(st.integers(0, 2), datas), max_size=3)
zones = st.dictionaries(owners, nodes).map(lambda found: Zone(ORIGIN, found))


@given(zones, zones)
def test_changes_make_one_state_of_the_other(older: Zone, newer: Zone) -> None:
    found = {owner: dict(node) for owner, node in older.nodes.items()}
    for change in changes_between(older, newer):
        node = found.setdefault(change.owner, {})
        assert same(node.get(change.type), change.before)
        assert not same(change.before, change.after)
        if change.after is None:
            del node[change.type]
        else:
            node[change.type] = change.after
    for owner in {*found, *newer.nodes}:
        ours, theirs = found.get(owner, {}), newer.nodes.get(owner, {})
        assert ours.keys() == theirs.keys()
        assert all(same(ours[rrtype], theirs[rrtype]) for rrtype in ours)


@given(zones)
def test_a_state_does_not_differ_from_itself(zone: Zone) -> None:
    assert changes_between(zone, zone) == []


def test_the_order_of_records_is_no_difference() -> None:
    """RFC 2181 section 5: a set."""
    assert same((1, (b"a", b"b")), (1, (b"b", b"a")))
    assert not same((1, (b"a", b"b")), (2, (b"a", b"b")))
    assert not same((1, (b"a",)), (1, (b"A",)))
    assert same(None, None)
    assert not same(None, (1, (b"a",)))


def test_differences_come_in_order() -> None:
    before = [(b"", 1, (1, (b"x",))), (b"b\0", 1, (1, (b"x",)))]
    after = [(b"a\0", 1, (1, (b"x",))), (b"b\0", 1, (2, (b"x",))), (b"b\0", 2, (1, (b"x",)))]
    found = [(key, rrtype) for key, rrtype, _, _ in differences(before, after)]
    assert found == [(b"", 1), (b"a\0", 1), (b"b\0", 1), (b"b\0", 2)]
