"""How a question travels to one server and its response back: over UDP, and over whatever else was asked for.

Over UDP anybody may send something that looks like a response. One is believed only from the address and port asked,
with our id and with our question in it to the letter (RFC 5452 section 9.1); the letters of a name are mixed at random
for that ("0x20"). Anything else is passed over, and only so much of it, until the time is up.
"""

import asyncio
import secrets
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mx10.config.settings import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message
from mx10.resolver.asking import (
    MAX_MESSAGE,
    Asking,
    Server,
    Transport,
    TransportError,
    believable,
    mixed_case,
    query,
    reason,
)

if TYPE_CHECKING:
    from mx10.resolver.https import Https
    from mx10.resolver.stream import Stream

WRONG_PACKETS: Final = 64
"""Datagrams that do not answer the question that are passed over before the exchange is given up."""

_FIRST_PORT: Final = 1024
_ZONE_DIGITS: Final = 10


async def ask_server(
    address: str, port: int, name: bytes, rrtype: int, seconds: float, settings: ResolverSettings
) -> Message:
    """Ask an authoritative server by UDP, and by TCP where the answer does not fit. One datagram, no repetition.

    Raises:
        TimeoutError: nothing believable came in time.
        TransportError: the server cannot be reached, or does not speak DNS.
    """
    exchange = Exchanger(Server(address, port))
    try:
        return await exchange.ask(name, rrtype, seconds, Asking(rd=False, payload=settings.edns_payload))
    finally:
        await exchange.close()


class Exchanger:
    """Asks one server. Streams are kept open between questions; ``close`` ends them.

    Args:
        server: whom to ask, and how.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        # The last one takes questions; those before it were given up, and may yet answer what they were asked.
        self._streams: list[Stream] = []
        self._opening: asyncio.Lock | None = None
        self._https: Https | None = None

    async def ask(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        """One question, one response.

        Args:
            name: folded wire name.
            seconds: for the whole exchange, a repetition over TCP included.

        Raises:
            TimeoutError: nothing believable came in time.
            TransportError: the server cannot be reached, its certificate is wrong, or it does not speak DNS.
        """
        if self.server.transport is Transport.HTTPS and self._https is None:
            # Not at the expense of the server's time.
            from mx10.resolver.https import Https

            self._https = Https(self.server)
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(name, rrtype, seconds, asking)
        except (OSError, EOFError) as error:
            # TimeoutError is an OSError too, and is what a time-out looks like to the caller.
            if isinstance(error, TimeoutError):
                raise
            raise TransportError(f"{self.server}: {reason(error)}") from error

    async def _ask(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        response = await self._once(name, rrtype, seconds, asking)
        # A server from before EDNS says FORMERR or NOTIMP: asked plainly, it can answer (RFC 6891 section 7). It should
        # do so without an OPT record, but some send the question back as it came, with the code in it.
        old = response.rcode == rr.Rcode.FORMERR or (response.rcode == rr.Rcode.NOTIMP and response.edns is None)
        plain = replace(asking, edns=False)
        return await self._once(name, rrtype, seconds, plain) if old and asking.edns else response

    async def _once(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        if self.server.transport is Transport.UDP:
            answer = await _ask_udp(self.server, name, rrtype, asking)
            if answer is not None and not answer.tc:
                return answer
        if self._https is not None:
            return await self._https.ask(name, rrtype, seconds, asking)
        return await self._ask_stream(name, rrtype, asking)

    async def _ask_stream(self, name: bytes, rrtype: int, asking: Asking) -> Message:
        for fresh in (False, True):
            stream = await self._open_stream()
            try:
                return await stream.ask(name, rrtype, asking)
            except (OSError, EOFError) as error:
                if isinstance(error, TimeoutError) or fresh or not stream.used:
                    raise
                # A server may close an idle stream at any time (RFC 7766 section 6.2.3): ask again on a new one.
        raise AssertionError("unreachable")

    async def _open_stream(self) -> "Stream":
        from mx10.resolver.stream import Stream

        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            for stream in [one for one in self._streams if one.closed and not one.waited_for]:
                self._streams.remove(stream)
                await stream.close()
            if not self._streams or self._streams[-1].closed:
                self._streams.append(await Stream.open(self.server))
            return self._streams[-1]

    async def close(self) -> None:
        """Close what is open."""
        await asyncio.gather(*(stream.close() for stream in self._streams))
        if self._https is not None:
            await self._https.close()


async def _ask_udp(server: Server, name: bytes, rrtype: int, asking: Asking) -> Message | None:
    """One datagram there, and the first believable one back; None where the question has to be repeated over TCP,
    because the server did not keep the case of its letters."""
    mixed = mixed_case(name)
    ident = secrets.randbits(16)
    octets, question = query(mixed, rrtype, asking, ident=ident)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in server.address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        _bind_anywhere(sock)
        # Connected: the kernel passes on what comes from that address and port, and nothing else.
        sock.connect(_endpoint(server))
        sock.send(octets)
        for _ in range(WRONG_PACKETS):
            packet = await loop.sock_recv(sock, MAX_MESSAGE)
            kept = packet[12 : 12 + len(mixed)] == mixed
            if kept:
                # Other names in the packet point into this one: with its own letters back, they all have theirs.
                packet = packet[:12] + name + packet[12 + len(mixed) :]
            message = believable(packet, question, ident)
            if message is not None:
                return message if kept or message.question is None else None
    raise TransportError(f"{server}: {WRONG_PACKETS} packets came, none of which answers the question")


def _endpoint(server: Server) -> tuple[str, int] | tuple[str, int, int, int]:
    """A server's address for a socket. One of a link, as a router announces it (``fe80::1%eth0``), needs the number of
    the interface beside it (RFC 4007 section 6)."""
    address, _, zone = server.address.partition("%")
    if not zone:
        return address, server.port
    number = zone.isascii() and zone.isdigit() and len(zone) < _ZONE_DIGITS
    return address, server.port, 0, int(zone) if number else socket.if_nametoindex(zone)


def _bind_anywhere(sock: socket.socket) -> None:
    """Bind to a port chosen at random from all that may be (RFC 5452 section 9.2); if it is taken three times, the
    kernel chooses."""
    for _ in range(3):
        try:
            sock.bind(("", secrets.randbelow(65536 - _FIRST_PORT) + _FIRST_PORT))
        except OSError:
            continue
        return
