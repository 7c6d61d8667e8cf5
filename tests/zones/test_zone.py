"""What a zone says about the order of its names."""

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.zones.zone import Node, Zone

APEX = from_text("example.")
# The example of RFC 4034 section 6.1, but for the uppercase and the two names with octets no text has.
IN_ORDER = [from_text(f"{name}example.") for name in ("", "a.", "yljkjljk.a.", "z.a.", "zabc.a.", "z.", "*.z.")]


def zone(rrtype: int, owners: list[bytes]) -> Zone:
    nodes: dict[bytes, Node] = {owner: {rr.A: (60, (b"\1\2\3\4",))} for owner in [*IN_ORDER, APEX]}
    for owner in owners:
        nodes[owner][rrtype] = (300, (b"",))
    return Zone(APEX, nodes)


def test_rfc4034_6_1_the_owner_at_or_before_a_name() -> None:
    whole = zone(rr.NSEC, IN_ORDER)
    for at, owner in enumerate(IN_ORDER):
        assert whole.at_or_before(owner, rr.NSEC) == owner
        between = b"\1!" + owner
        assert whole.at_or_before(between, rr.NSEC) == owner, at
    assert whole.at_or_before(from_text("zz.example."), rr.NSEC) == IN_ORDER[-1]


def test_before_the_first_one_it_is_the_last() -> None:
    middle = zone(rr.NSEC3, IN_ORDER[2:4])
    assert middle.at_or_before(APEX, rr.NSEC3) == IN_ORDER[3]
    assert middle.at_or_before(IN_ORDER[5], rr.NSEC3) == IN_ORDER[3]


@pytest.mark.parametrize("rrtype", [rr.NSEC, rr.NSEC3])
def test_without_a_chain_there_is_none(rrtype: int) -> None:
    assert zone(rrtype, []).at_or_before(APEX, rrtype) is None
