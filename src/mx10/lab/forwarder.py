"""The lab's recursive nameserver, the one that clients ask: questions to the iterating resolver, answers in the form of
a resolver (RFC 1034 section 4.3.1).

It tells why it failed (RFC 8914), and who it is: class CH, ``id.server`` (RFC 4892), by which a second ``mx10 lab up``
knows the first.
"""

import asyncio
import secrets
import socket
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import HEADER, QR, RA, RD, TC, Edns, Message, Question, Record, encode, make_query
from mx10.dns.question import Query, Refused, read_question
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import WireError, from_text
from mx10.lab.sockets import Handler
from mx10.nameserver.listeners import Address
from mx10.resolver.answer import Status
from mx10.resolver.iterate import Found, Iterator

IDENTITY: Final = b"mx10 lab"
PAYLOAD: Final = 1232
"""Octets of UDP answers given and taken (RFC 6891 section 6.2.3)."""
MAX_LOOKUPS: Final = 200
"""Look-ups under way at the same time; more wait."""
_WHO_SECONDS: Final = 0.5
_CD: Final = 0x0010
_ID_SERVER: Final = from_text("id.server.")
_EDE: Final = 15
"""Option code of an extended error (RFC 8914 section 2)."""
_MAX_REASON: Final = 300
"""Octets of the reason given along with a failure: it must leave the answer fit for UDP."""
# Types that ask for an operation and not for data.
_NOT_DATA: Final = {
    rr.OPT: Rcode.FORMERR,
    rr.TSIG: Rcode.FORMERR,
    rr.TKEY: Rcode.REFUSED,
    rr.AXFR: Rcode.REFUSED,
    rr.IXFR: Rcode.REFUSED,
    rr.MAILA: Rcode.NOTIMP,
    rr.MAILB: Rcode.NOTIMP,
}


class Forwarder:
    """Answers requests by looking names up from the root.

    Args:
        iterator: what looks up.
    """

    def __init__(self, iterator: Iterator) -> None:
        self.iterator = iterator
        self._free = asyncio.Semaphore(MAX_LOOKUPS)

    async def answer(self, packet: bytes, udp: bool) -> bytes | None:
        """The response to a request; None where silence is right."""
        query = read_question(packet)
        if query is None:
            return None
        if isinstance(query, Refused):
            return _refuse(query)
        message = await self._message(query)
        limit = (min(query.payload, PAYLOAD) if query.edns else 512) if udp else 0xFFFF
        return _fit(message, query, limit)

    async def _message(self, query: Query) -> Message:
        if query.klass == rr.CH and query.name == _ID_SERVER and query.type in (rr.TXT, rr.ANY):
            text = bytes((len(IDENTITY),)) + IDENTITY
            return _reply(query, Rcode.NOERROR, (Record(query.name, rr.TXT, rr.CH, 0, text),))
        if query.klass != rr.IN or not query.flags & RD:
            # Without "recursion desired" there is nothing here to be had: this server is an authority for no zone.
            return _reply(query, Rcode.REFUSED)
        rcode = _NOT_DATA.get(query.type)
        if rcode is not None:
            return _reply(query, rcode)
        async with self._free:
            found = await self.iterator.find(query.name, query.type)
        return _tell(query, found)


def _tell(query: Query, found: Found) -> Message:
    if found.status == Status.FAILURE:
        # The aliases up to where it went wrong go along: they help whoever looks for the cause.
        return _reply(query, Rcode.SERVFAIL, found.aliases, error=(found.error, found.reason))
    authority = () if found.soa is None else (found.soa,)
    return _reply(query, found.rcode or Rcode.NOERROR, (*found.aliases, *found.records), authority)


def _reply(
    query: Query,
    rcode: int,
    answer: tuple[Record, ...] = (),
    authority: tuple[Record, ...] = (),
    error: tuple[int, str] | None = None,
) -> Message:
    """A response; ``error`` is the code and the text of an extended error (RFC 8914)."""
    edns = None
    if query.edns:
        options: tuple[tuple[int, bytes], ...] = ()
        if error is not None:
            code, text = error
            options = ((_EDE, code.to_bytes(2, "big") + text.encode("ascii", "replace")[:_MAX_REASON]),)
        edns = Edns(PAYLOAD, 0, query.do, options)
    flags = QR | RA | query.flags & (RD | _CD)
    return Message(
        id=query.id,
        flags=flags,
        # The name as it was asked, its case kept, which is a client's own test that we mean its question.
        question=Question(query.question[:-4], query.type, query.klass),
        answer=answer,
        authority=authority,
        edns=edns,
        rcode=rcode,
    )


def _fit(message: Message, query: Query, limit: int) -> bytes:
    """The message as bytes; where it is too large for the client, empty and with the TC bit."""
    try:
        wire = encode(message)
        if len(wire) <= limit:
            return wire
    except WireError:
        pass  # more than 65535 octets: no way to send it
    empty = _reply(query, message.rcode)
    return encode(Message(empty.id, empty.flags | TC, empty.question, edns=empty.edns, rcode=empty.rcode))


def _refuse(request: Refused) -> bytes:
    """A response code alone, for what is no proper question."""
    edns = Edns(PAYLOAD) if request.edns else None
    flags = QR | RA | request.flags & (0x7800 | RD | _CD)
    bare = encode(Message(request.id, flags, None, edns=edns, rcode=request.rcode))
    if not request.question:
        return bare
    ident, flags, _, *counts = HEADER.unpack_from(bare)
    return HEADER.pack(ident, flags, 1, *counts) + request.question + bare[HEADER.size :]


async def is_lab(address: Address) -> bool:
    """Whether a lab's forwarder answers at an address."""
    loop = asyncio.get_running_loop()
    query = make_query(_ID_SERVER, rr.TXT, id=secrets.randbelow(1 << 16), klass=rr.CH)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)
            async with asyncio.timeout(_WHO_SECONDS):
                await loop.sock_sendall(sock, query)
                response = await loop.sock_recv(sock, PAYLOAD)
        except (OSError, TimeoutError):
            return False
    return response[:2] == query[:2] and IDENTITY in response


def servfail() -> Handler:
    """A server that answers SERVFAIL to everything."""

    async def answer(packet: bytes, udp: bool) -> bytes | None:
        query = read_question(packet)
        if query is None:
            return None
        if isinstance(query, Refused):
            return _refuse(query)
        message = _reply(query, Rcode.SERVFAIL)
        return encode(
            Message(message.id, message.flags & ~RA, message.question, edns=message.edns, rcode=message.rcode)
        )

    return answer
