"""Catalogs of others, as they should be and otherwise (RFC 9432 section 4)."""

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.catalog_in import CatalogError, members_of
from mx10.zones.zone import RRset

APEX = from_text("catalog.invalid.")
ONE, TWO = from_text("one.example."), from_text("Two.Example.")
Row = tuple[bytes, int, RRset]


def row(owner: str, rrtype: int, *datas: bytes) -> Row:
    return from_text(owner, APEX), rrtype, (0, datas)


VERSION = row("version", rr.TXT, b"\x012")


def test_members_and_their_names() -> None:
    rows = [
        VERSION,
        row("a.zones", rr.PTR, ONE),
        row("b.zones", rr.PTR, TWO),
        row("c.zones", rr.PTR, APEX),
        row("group.a.zones", rr.TXT, b"\5group"),
        row("coo.a.zones", rr.PTR, TWO),
        row("other", rr.PTR, ONE),
    ]
    assert members_of(APEX, rows) == {ONE: from_text("a.zones", APEX), TWO.lower(): from_text("b.zones", APEX)}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("version", rr.TXT, b"\x011")],
        [row("version", rr.TXT, b"\x011", b"\x012")],
        [VERSION, row("a.zones", rr.PTR, ONE, TWO)],
        [VERSION, row("a.zones", rr.PTR, ONE), row("b.zones", rr.PTR, ONE.upper())],
    ],
)
def test_what_is_no_catalog(rows: list[Row]) -> None:
    with pytest.raises(CatalogError, match="RFC 9432"):
        members_of(APEX, rows)
