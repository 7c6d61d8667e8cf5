"""Reading a question as a server must: strictly, quickly, and with an answer ready for everything that is wrong with
it.

``mx10.dns.message.parse`` reads whole messages for those who ask; this file reads what strangers send to a nameserver.
Every outcome is one of three: a ``Query``, a ``Refused`` with the response code to send, or ``None`` for bytes that
deserve no reply (RFC 8906 section 3.1 names the behaviours expected).
"""

import struct
from struct import Struct
from typing import Final, NamedTuple

from mx10.dns.message import HEADER, QR, read_options
from mx10.dns.rrtypes import OPT, Opcode, Rcode
from mx10.dns.wirename import MAX_LABEL, MAX_NAME, WireError

_TYPE_CLASS: Final = Struct("!HH")
_FIXED: Final = Struct("!HHIH")


class Query(NamedTuple):
    """A question fit to be answered.

    ``name`` is folded, ``question`` is the question section as it was asked; ``payload`` is the octets of UDP the
    client takes (RFC 6891 section 6.2.5: values below 512 mean 512), 512 without EDNS. ``cookie`` is what the response
    brings as COOKIE option, for whoever writes it.
    """

    id: int
    flags: int
    name: bytes
    type: int
    klass: int
    question: bytes
    edns: bool = False
    version: int = 0
    do: bool = False
    payload: int = 512
    options: tuple[tuple[int, bytes], ...] = ()
    cookie: bytes = b""


class Refused(NamedTuple):
    """A request that gets a response code and nothing else; ``question`` is empty where it could not be read, ``edns``
    says whether an OPT record could."""

    id: int
    flags: int
    rcode: Rcode
    question: bytes = b""
    edns: bool = False


def read_question(packet: bytes) -> Query | Refused | None:
    """What a packet asks.

    Nothing is returned for a packet without a whole header, and for one that is itself a response: answering either
    would let two servers talk to each other for ever.
    """
    if len(packet) < 12:
        return None
    ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    if flags & QR:
        return None
    if flags >> 11 & 0xF != Opcode.QUERY:
        return Refused(ident, flags, Rcode.NOTIMP, edns=_has_opt(packet))
    if questions != 1:
        return Refused(ident, flags, Rcode.FORMERR, edns=_has_opt(packet))
    # No name stands before the question's, so it can have no compression pointer; a length octet above 63 is an error
    # here.
    at = 12
    size = len(packet)
    while True:
        if at >= size:
            return Refused(ident, flags, Rcode.FORMERR)
        length = packet[at]
        at += length + 1
        if not length:
            break
        if length > MAX_LABEL:
            return Refused(ident, flags, Rcode.FORMERR)
    end = at + 4
    if at - 12 > MAX_NAME or end > size:
        return Refused(ident, flags, Rcode.FORMERR, edns=_has_opt(packet))
    question = packet[12:end]
    # A query has nothing in these two sections; only an IXFR question has (RFC 1995), and we hear those elsewhere.
    if answers or authorities:
        return Refused(ident, flags, Rcode.FORMERR, question, edns=_has_opt(packet))
    rrtype, klass = _TYPE_CLASS.unpack_from(packet, at)
    query = Query(ident, flags, packet[12:at].lower(), rrtype, klass, question)
    if end == size and not additionals:
        return query
    return _read_additional(packet, end, additionals, query)


def _read_additional(packet: bytes, at: int, count: int, query: Query) -> Query | Refused:
    """The query with what its OPT record says; other additional records are walked over."""
    wrong = Refused(query.id, query.flags, Rcode.FORMERR, query.question)
    found = False
    size = len(packet)
    try:
        # The count is the sender's claim: each record takes at least 11 octets, so the packet's own length bounds the
        # loop.
        for _ in range(count):
            root = not packet[at]
            at = at + 1 if root else _name_end(packet, at)
            if at + 10 > size:
                return wrong
            rrtype, klass, ttl, length = _FIXED.unpack_from(packet, at)
            at += 10
            end = at + length
            if end > size:
                return wrong
            if rrtype == OPT:
                if found or not root:
                    return wrong
                found = True
                query = query._replace(
                    edns=True,
                    version=ttl >> 16 & 0xFF,
                    do=bool(ttl & 0x8000),
                    payload=max(klass, 512),
                    options=tuple(read_options(packet[at:end])) if length else (),
                )
            at = end
    except (WireError, IndexError):
        return wrong._replace(edns=found)
    if at != size:
        return wrong._replace(edns=found)
    if query.version:
        return Refused(query.id, query.flags, Rcode.BADVERS, query.question, edns=True)
    return query


def _has_opt(packet: bytes) -> bool:
    """Whether a request that gets no answer had an OPT record, so that the refusal has one too (RFC 6891 section
    6.1.1). What cannot be walked through has none.
    """
    questions, *records = HEADER.unpack_from(packet)[2:]
    at = 12
    try:
        # As above, the packet's own length bounds what its counts claim.
        for _ in range(questions):
            at = _name_end(packet, at) + 4
        for section, count in enumerate(records):
            for _ in range(count):
                root = not packet[at]
                at = _name_end(packet, at)
                rrtype, _, _, length = _FIXED.unpack_from(packet, at)
                at += 10 + length
                if rrtype == OPT and section == 2:
                    return root and at <= len(packet)
    except (WireError, IndexError, struct.error):
        pass
    return False


def _name_end(packet: bytes, at: int) -> int:
    """The offset behind a name nobody wants to know: its pointers are not followed, or thousands of names could each
    send us through thousands of pointers.

    Raises:
        WireError: a label of an unknown type.
        IndexError: it runs past the end.
    """
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > MAX_LABEL:
            raise WireError(f"the label at octet {at} has the unknown type {length >> 6:02b}")
        at += length + 1
    return at + 1
