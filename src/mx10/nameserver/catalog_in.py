"""Catalog zones of others (RFC 9432): a zone whose records list the zones to follow. Members that come are followed
from the primaries of the catalog, members that go are deleted.

A catalog that breaks a rule of the RFC is left alone as a whole (section 4.1), and the zones stay as they were.
"""

from collections.abc import Iterable
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import is_under, labels, to_text
from mx10.logs import get_logger
from mx10.zones.ledger import Author, ZoneOptions
from mx10.zones.ledger.followed import Followed, FollowedZones
from mx10.zones.zone import RRset

_VERSION: Final = b"\1" + b"2"
"""The data of the TXT record of the version we know."""

log = get_logger("following")


class CatalogError(Exception):
    """A zone that is no catalog: why."""


def members_of(apex: bytes, records: Iterable[tuple[bytes, int, RRset]]) -> dict[bytes, bytes]:
    """The members a catalog lists, folded, each with the owner of its PTR record: that changes when the member is to
    begin anew (RFC 9432 section 5.4).

    Args:
        records: the record sets of the catalog: owner, type, TTL and data.

    Raises:
        CatalogError: it is none, or of a version we do not know.
    """
    zones = b"\5zones" + apex
    version = b"\7version" + apex
    found: dict[bytes, bytes] = {}
    versions: tuple[bytes, ...] = ()
    for owner, rrtype, (_, datas) in records:
        if rrtype == rr.TXT and owner == version:
            versions = datas
        if rrtype != rr.PTR or owner == zones or not is_under(owner, zones):
            continue
        if len(labels(owner)) != len(labels(zones)) + 1:
            continue  # a property of a member
        if len(datas) != 1:
            raise CatalogError(f"{to_text(owner)} has {len(datas)} PTR records (RFC 9432 section 4.1)")
        member = datas[0].lower()
        if member in found:
            raise CatalogError(f"the member {to_text(member)} stands in it twice (RFC 9432 section 4.1)")
        found[member] = owner
    if versions != (_VERSION,):
        raise CatalogError(f"{to_text(version)} is not the one TXT record 2 (RFC 9432 section 4.2.1)")
    found.pop(apex, None)
    return found


def consume(zones: FollowedZones, catalog: Followed) -> list[bytes]:
    """Make the zones that are followed by reason of a catalog those it lists; in the thread of the store.

    Returns:
        The zones that are followed from now on.

    Raises:
        CatalogError: it is no catalog; nothing is changed.
        StoreError: the store cannot be used; what was done until then stays, and is not done again.
    """
    apex = catalog.apex
    wanted = members_of(apex, zones.records(apex))
    present = zones.members(to_text(apex))
    author = Author(f"catalog {to_text(apex, final_dot=False)}")
    gone = [member for member, unique in present.items() if unique != to_text(wanted.get(member, b"\0"))]
    zones.delete_many(gone, author)
    new = {
        member: ZoneOptions(
            primaries=catalog.primaries,
            allow_notify=catalog.allow_notify,
            member_of=to_text(apex),
            member_as=to_text(unique),
        )
        for member, unique in wanted.items()
        if present.get(member) != to_text(unique)
    }
    added, clashes = zones.follow_many(new, author)
    for member in clashes[:10]:
        log.warning(
            "a member of a catalog is a zone here already, and stays", zone=to_text(member), catalog=to_text(apex)
        )
    if gone or added:
        log.info("catalog followed", catalog=to_text(apex), added=len(added), removed=len(gone))
    return added
