"""What a dynamic update asks for, and what it makes of a zone (RFC 2136 section 3): functions over a way to look at
names, without I/O.

The sections of an update have other names than those of an answer: the question is the zone, the answer section holds
prerequisites, the authority section the updates. Who may ask is told in ``update_policy``; how it is stored, in
``update``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.transfer import is_sound, serial_of
from mx10.dns.wirename import fold, is_under, to_text
from mx10.zones.build import canonical
from mx10.zones.rules import BESIDE_CNAME
from mx10.zones.zone import Node, RRset

Look = Callable[[bytes], Mapping[int, RRset]]
"""The record sets of a name (folded) by type; empty where it has none."""

Updated = dict[tuple[bytes, int], RRset | None]
"""Record sets by owner and type as they shall be; None removes one."""

_NONE_MAY_BE: Final = frozenset({0, rr.OPT, rr.NULL, *range(128, 256)}) - {rr.SPF}
"""Types that stand in no zone (RFC 2136 section 3.4.1.2 calls them meta types)."""
_ONE_ONLY: Final = frozenset({rr.CNAME, rr.DNAME, rr.SOA})
"""A new record of these replaces the old one (RFC 2136 section 3.4.2.2; DNAME by RFC 6672 section 2.4)."""


class UpdateError(Exception):
    """An update that is not done.

    Attributes:
        rcode: what the client is told.
    """

    def __init__(self, rcode: Rcode, why: str) -> None:
        super().__init__(why)
        self.rcode = rcode


def zone_of(message: Message) -> bytes:
    """The zone an update is for, folded (RFC 2136 section 3.1.1).

    Raises:
        UpdateError: the message names none.
    """
    zone = message.question
    if zone is None or zone.type != rr.SOA:
        raise UpdateError(Rcode.FORMERR, "its zone section is not one SOA record")
    if zone.klass != rr.IN:
        raise UpdateError(Rcode.NOTAUTH, "its zone is not of class IN")
    return fold(zone.name)


def check_prerequisites(records: Sequence[Record], apex: bytes, look: Look) -> None:
    """See that the zone is as the client believes (RFC 2136 section 3.2).

    Raises:
        UpdateError: it is not, or a prerequisite makes no sense.
    """
    wanted: dict[tuple[bytes, int], set[bytes]] = {}
    for record in records:
        owner = fold(record.name)
        if record.ttl:
            raise UpdateError(Rcode.FORMERR, f"the prerequisite for {to_text(owner)} has a TTL")
        _in_zone(owner, apex)
        if record.klass == rr.IN:
            wanted.setdefault((owner, record.type), set()).add(canonical(record.type, record.rdata))
        elif record.rdata or record.klass not in (rr.CLASS_ANY, rr.CLASS_NONE):
            raise UpdateError(Rcode.FORMERR, f"the prerequisite for {to_text(owner)} is none of RFC 2136 section 2.4")
        else:
            _check_presence(owner, record.type, look(owner), there=record.klass == rr.CLASS_ANY)
    for (owner, rrtype), datas in wanted.items():
        rrset = look(owner).get(rrtype)
        if rrset is None or {canonical(rrtype, data) for data in rrset[1]} != datas:
            raise UpdateError(Rcode.NXRRSET, f"the {rr.type_to_text(rrtype)} records of {to_text(owner)} are others")


def _check_presence(owner: bytes, rrtype: int, node: Mapping[int, RRset], *, there: bool) -> None:
    if rrtype == rr.ANY:
        if there and not node:
            raise UpdateError(Rcode.NXDOMAIN, f"{to_text(owner)} has no records")
        if not there and node:
            raise UpdateError(Rcode.YXDOMAIN, f"{to_text(owner)} has records")
        return
    if there and rrtype not in node:
        raise UpdateError(Rcode.NXRRSET, f"{to_text(owner)} has no {rr.type_to_text(rrtype)} records")
    if not there and rrtype in node:
        raise UpdateError(Rcode.YXRRSET, f"{to_text(owner)} has {rr.type_to_text(rrtype)} records")


def check_updates(records: Iterable[Record], apex: bytes) -> None:
    """See that every record of the update section is one of the four forms (RFC 2136 section 3.4.1), before any is
    looked at.

    Raises:
        UpdateError: one is not.
    """
    for record in records:
        owner = fold(record.name)
        _in_zone(owner, apex)
        rrtype = record.type
        if record.klass == rr.IN:
            right = rrtype not in _NONE_MAY_BE and is_sound(rrtype, record.rdata)
        elif record.klass == rr.CLASS_ANY:
            right = not record.ttl and not record.rdata and (rrtype == rr.ANY or rrtype not in _NONE_MAY_BE)
        elif record.klass == rr.CLASS_NONE:
            right = not record.ttl and rrtype not in _NONE_MAY_BE
        else:
            right = False
        if not right:
            what = f"the update of {to_text(owner)} {rr.type_to_text(rrtype)} is none of RFC 2136 section 2.5"
            raise UpdateError(Rcode.FORMERR, what)


def _in_zone(owner: bytes, apex: bytes) -> None:
    if not is_under(owner, apex):
        raise UpdateError(Rcode.NOTZONE, f"{to_text(owner)} is not in the zone {to_text(apex)}")


def updated(records: Iterable[Record], apex: bytes, look: Look, generated: frozenset[int] = frozenset()) -> Updated:
    """What the update section makes of a zone (RFC 2136 section 3.4.2).

    Args:
        records: passed ``check_updates``.
        look: the zone as it is.
        generated: types that are made by signing here: an update neither adds nor removes them by name, and where it
            removes a whole name they are left to the signer.

    Returns:
        What has to change; nothing where the zone is already as it shall be.

    Raises:
        UpdateError: a record of a generated type is to be added or removed.
    """
    before: dict[bytes, Mapping[int, RRset]] = {}
    after: dict[bytes, Node] = {}
    for record in records:
        owner = fold(record.name)
        if owner not in after:
            before[owner] = look(owner)
            after[owner] = dict(before[owner])
        if record.type in generated:
            what = f"{rr.type_to_text(record.type)} records are made by signing, not by updates"
            raise UpdateError(Rcode.REFUSED, what)
        node = after[owner]
        if record.klass == rr.IN:
            _add(node, record)
        elif record.klass == rr.CLASS_NONE:
            _remove_record(node, record, at_apex=owner == apex)
        else:
            _remove_sets(node, record.type, generated, at_apex=owner == apex)
    return {
        (owner, rrtype): node.get(rrtype)
        for owner, node in after.items()
        for rrtype in {**before[owner], **node}
        if node.get(rrtype) != before[owner].get(rrtype)
    }


def _add(node: Node, record: Record) -> None:
    """Section 3.4.2.2; what cannot stand beside what is there is ignored without a word, as the RFC wants."""
    rrtype = record.type
    if rrtype == rr.SOA:
        present = node.get(rr.SOA)
        if present is None or not _is_newer(serial_of(record.rdata), serial_of(present[1][0])):
            return
    elif rrtype == rr.CNAME:
        if not node.keys() <= BESIDE_CNAME:
            return
    elif rr.CNAME in node and rrtype not in BESIDE_CNAME:
        return
    rrset = node.get(rrtype)
    if rrset is None or rrtype in _ONE_ONLY:
        node[rrtype] = (record.ttl, (record.rdata,))
        return
    key = canonical(rrtype, record.rdata)
    others = {canonical(rrtype, data): data for data in rrset[1]}
    others.setdefault(key, record.rdata)
    # A set has one TTL (RFC 2181 section 5.2): the newest word counts.
    node[rrtype] = (record.ttl, tuple(others.values()))


def _remove_record(node: Node, record: Record, *, at_apex: bool) -> None:
    """Section 3.4.2.4: the SOA stays, and so does the last NS record of the apex."""
    rrset = node.get(record.type)
    if rrset is None or record.type == rr.SOA:
        return
    key = canonical(record.type, record.rdata)
    left = tuple(data for data in rrset[1] if canonical(record.type, data) != key)
    if left:
        node[record.type] = (rrset[0], left)
    elif not (at_apex and record.type == rr.NS):
        del node[record.type]


def _remove_sets(node: Node, rrtype: int, generated: frozenset[int], *, at_apex: bool) -> None:
    """Section 3.4.2.3: one record set, or all of a name; the apex keeps SOA and NS."""
    kept = generated | {rr.SOA, rr.NS} if at_apex else generated
    for each in list(node) if rrtype == rr.ANY else [rrtype]:
        if each not in kept:
            node.pop(each, None)


def _is_newer(serial: int, than: int) -> bool:
    """RFC 1982 section 3.2."""
    return serial != than and (serial - than) & 0xFFFFFFFF < 1 << 31
