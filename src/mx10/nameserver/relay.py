"""The worker's way to the steward: what is more than a question is handed in at the desk, and what comes back is
passed on.

A worker answers on meanwhile. How much it hands in at the same time is limited; what exceeds that, or finds nobody at
the desk, gets SERVFAIL: the client tries again.
"""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from struct import Struct
from typing import Any, Final, Literal

from mx10.dns import rrtypes as rr
from mx10.dns.message import QR, RD
from mx10.logs import get_logger
from mx10.nameserver.counters import Counters
from mx10.nameserver.desk import hand_in
from mx10.nameserver.rate import Rate

MOST_WAITING: Final = 2000
"""Operations from datagrams that may wait for that: a secondary with thousands of zones asks for all their serials at
once, and where it gets SERVFAIL it does not ask again for minutes."""
MOST_DATAGRAMS: Final = 200
"""Operations from datagrams that one worker has at the desk at the same time."""
MOST_STREAMS: Final = 200
"""The same for streams."""
DATAGRAM_SECONDS: Final = 30.0
"""How long an operation that came by datagram may take: by then its client gave up."""
NOTIFY_SECONDS: Final = 5.0
"""How long a NOTIFY waits for a steward that is being replaced. Many who send it take any answer for one, SERVFAIL too,
and would not come again; who gets none does (RFC 1996 section 3.6)."""
_AGAIN_SECONDS: Final = 0.25

_OPERATIONS: Final = frozenset({rr.Opcode.NOTIFY, rr.Opcode.UPDATE})
_TRANSFERS: Final = frozenset({rr.AXFR, rr.IXFR})
_TSIG: Final = b"\0\xfa\0\xff\0\0\0\0"
"""Type, class and TTL of a TSIG record."""
_PORT: Final = Struct("!H")
_CONTROL: Final = Struct("=Qii")

log = get_logger("nameserver")


def is_operation(packet: bytes) -> bool:
    """Whether a request is the steward's: NOTIFY, UPDATE, a transfer, or anything that is signed."""
    if len(packet) < 12 or packet[2] & 0x80:
        return False
    opcode = packet[2] >> 3 & 0xF
    if opcode in _OPERATIONS:
        return True
    if opcode != rr.Opcode.QUERY:
        return False
    # The record is last; whether what looks like one is one is seen at the desk.
    return (packet[10:12] != b"\0\0" and _TSIG in packet[12:]) or is_transfer(packet)


def is_transfer(packet: bytes) -> bool:
    """Whether a question asks for a transfer."""
    at = 12
    while at < len(packet) and packet[at]:
        at += packet[at] + 1
    return int.from_bytes(packet[at + 1 : at + 3], "big") in _TRANSFERS


class Relay:
    """Hands operations in.

    Args:
        path: of the desk's socket.
        rate: messages a second of one client.
        clock: seconds, never going back.
    """

    def __init__(self, path: str, rate: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters()
        self._path = path
        self._rate = Rate(rate)
        self._clock = clock
        self._datagrams: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MOST_DATAGRAMS)
        self._streams = 0
        self._failed = False

    def datagram(self, packet: bytes, client: tuple[Any, ...], reply: Callable[[bytes], None]) -> None:
        """Have a datagram's operation done.

        Args:
            client: its socket address.
            reply: sends a response to it.
        """
        self.counters.operations += 1
        if not self._rate.admits(client[0], self._clock()):
            # Not even an error: the address may be forged.
            self.counters.operations_refused += 1
            return
        if len(self._datagrams) >= MOST_DATAGRAMS + MOST_WAITING:
            reply(_servfail(packet))
            return
        task = asyncio.ensure_future(self._one(packet, client, reply))
        self._datagrams.add(task)
        task.add_done_callback(self._datagrams.discard)

    async def _one(self, packet: bytes, client: tuple[Any, ...], reply: Callable[[bytes], None]) -> None:
        notify = packet[2] >> 3 & 0xF == rr.Opcode.NOTIFY
        try:
            # The place first: waiting takes connections to the desk as well.
            async with asyncio.timeout(DATAGRAM_SECONDS), self._places:
                if notify:
                    await self._wait_for_steward()
                async with aclosing(self._responses(packet, client, "udp", silent=notify)) as responses:
                    async for response in responses:
                        # One datagram answers one: a transfer over UDP is cut off by whoever makes it (RFC 1995).
                        reply(response)
                        return
        except TimeoutError:
            return

    async def _wait_for_steward(self) -> None:
        for _ in range(int(NOTIFY_SECONDS / _AGAIN_SECONDS)):
            try:
                _, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                writer.transport.abort()
                return

    async def stream(
        self, message: bytes, client: tuple[Any, ...], transport: Literal["tcp", "tls"]
    ) -> AsyncGenerator[bytes, None]:
        """Have a stream's operation done: the responses."""
        self.counters.operations += 1
        if not self._rate.admits(client[0], self._clock()):
            self.counters.operations_refused += 1
            yield _servfail(message)
            return
        if self._streams >= MOST_STREAMS:
            yield _servfail(message)
            return
        self._streams += 1
        try:
            async with aclosing(self._responses(message, client, transport)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._streams -= 1

    async def _responses(
        self,
        message: bytes,
        client: tuple[Any, ...],
        transport: Literal["udp", "tcp", "tls"],
        *,
        silent: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """What comes back; ``silent``: nothing where nobody is at the desk, instead of SERVFAIL."""
        begun = False
        try:
            async with aclosing(hand_in(self._path, message, client[0], client[1], transport)) as responses:
                async for response in responses:
                    begun = True
                    yield response
            self._failed = False
        except OSError as error:
            if not self._failed:
                # Once, not for each: the steward is being replaced, or was never there.
                self._failed = True
                log.error("nobody is at the steward's desk; SERVFAIL meanwhile", desk=self._path, cause=str(error))
            if not begun and not silent:
                yield _servfail(message)


def _servfail(message: bytes) -> bytes:
    flags = int.from_bytes(message[2:4], "big")
    return message[:2] + (QR | flags & (0x7800 | RD) | rr.Rcode.SERVFAIL).to_bytes(2, "big") + bytes(8)


def client_of(address: bytes, family: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """A socket address as Python has it, from the octets the kernel wrote (struct sockaddr_in and sockaddr_in6)."""
    port: int = _PORT.unpack_from(address, 2)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(family, address[4:8]), port
    scope = int.from_bytes(address[24:28], "little")
    return socket.inet_ntop(family, address[8:24]), port, 0, scope


def control_of(octets: bytes) -> list[tuple[int, int, bytes]]:
    """The control message (struct cmsghdr) that makes the address a datagram came to that of its response; none where
    the kernel wrote none."""
    length, level, kind = _CONTROL.unpack_from(octets)
    return [(level, kind, octets[_CONTROL.size : length])] if _CONTROL.size < length <= len(octets) else []
