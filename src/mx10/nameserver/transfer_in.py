"""Asking a primary: for the serial of a zone, over UDP or a stream, and for the zone or its changes, over TCP or TLS
(RFC 5936, RFC 1995, RFC 9103).

What comes is read by ``dns.transfer``; what is done with it is the business of ``following``. Over TLS a primary is who
it should be by its public key, or by a name an authority vouches for; where neither is given, the connection is only
protected from those who listen (RFC 9103 section 9.3.1), and a TSIG key is what protects the zone.
"""

import asyncio
import hmac
import secrets
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Protocol

from mx10.config import FollowingSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import TC, Message, Question, Record, encode, make_query, parse
from mx10.dns.transfer import (
    SOA_TAIL,
    Outcome,
    TransferError,
    TransferLimits,
    TransferReader,
    TransferRefusedError,
)
from mx10.dns.tsig import Asker, TsigError, TsigKey
from mx10.dns.wirename import WireError, fold
from mx10.nameserver import memory
from mx10.nameserver.primaries import Primary, public_key_digest

LARGE: Final = 4 << 20
"""Octets from which on a transfer waits until no other is as large."""
LARGE_SECONDS: Final = 900.0
"""How long it may take from then on: others wait for it."""
GIVE_BACK_SECONDS: Final = 1.0
"""How long after a large transfer its memory is given back to the system."""

_UDP_TRIES: Final = 3
_WRONG_PACKETS: Final = 64
"""Datagrams that do not answer the question that are passed over before another is sent."""
_LENGTH: Final = struct.Struct("!H")


class PrimaryTroubleError(Exception):
    """A primary could not be asked, or did not answer as it should: why."""


class Seal(Protocol):
    """Signs one request, and verifies the responses to it in their order."""

    def sign(self, request: bytes) -> bytes:
        """The request with its signature."""

    def verify(self, response: bytes) -> bytes:
        """A response without its signature.

        Raises:
            TransferError: it is not signed as it must be.
        """

    def finish(self) -> None:
        """See that the last response was signed (RFC 8945 section 5.3.1).

        Raises:
            TransferError: it was not.
        """


class NoSeal:
    """Where no key is set."""

    def sign(self, request: bytes) -> bytes:
        return request

    def verify(self, response: bytes) -> bytes:
        return response

    def finish(self) -> None:
        return


class TsigSeal:
    """With a key (RFC 8945)."""

    def __init__(self, key: TsigKey) -> None:
        self._asker = Asker(key, time.time)

    def sign(self, request: bytes) -> bytes:
        return self._asker.sign(request)

    def verify(self, response: bytes) -> bytes:
        try:
            return self._asker.verify(response)
        except TsigError as error:
            raise TransferError(str(error)) from error

    def finish(self) -> None:
        try:
            self._asker.finish()
        except TsigError as error:
            raise TransferError(str(error)) from error


def seal_with(keys: Mapping[bytes, TsigKey], name: bytes | None) -> Seal:
    """What signs a conversation.

    Args:
        name: of the key, folded; None for a conversation without.

    Raises:
        KeyError: there is no such key.
    """
    return NoSeal() if name is None else TsigSeal(keys[name])


async def ask_soa(primary: Primary, apex: bytes, seal: Seal, settings: FollowingSettings) -> bytes:
    """The data of a zone's SOA record, as the primary has it.

    Args:
        apex: the zone, folded.

    Raises:
        PrimaryTroubleError: it cannot be reached, is silent, or is no authority for the zone.
    """
    ident = secrets.randbits(16)
    request = seal.sign(make_query(apex, rr.SOA, id=ident, rd=False))
    try:
        async with asyncio.timeout(settings.answer_seconds):
            response = None
            if not primary.tls:
                response = await _ask_udp(primary, apex, ident, request, settings.answer_seconds / _UDP_TRIES)
            if response is None:
                async with connected(primary, settings) as (reader, writer):
                    writer.write(_LENGTH.pack(len(request)) + request)
                    await writer.drain()
                    response = await _next(reader)
        response = seal.verify(response)
        seal.finish()
        return _soa(parse(response), apex, ident)
    except (OSError, EOFError, WireError, TransferError) as error:
        raise PrimaryTroubleError(f"{primary}: {_reason(error)}") from error


def _soa(message: Message, apex: bytes, ident: int) -> bytes:
    """The SOA data in a response.

    Raises:
        TransferError: there is none.
    """
    if message.id != ident or not message.qr:
        raise TransferError("what came does not answer the question")
    if message.rcode:
        raise TransferRefusedError(message.rcode)
    for record in message.answer:
        if (
            fold(record.name) == apex
            and record.type == rr.SOA
            and record.klass == rr.IN
            and len(record.rdata) > SOA_TAIL
        ):
            if not message.aa:
                raise TransferError("it is no authority for the zone (the answer lacks AA)")
            return record.rdata
    raise TransferError("it is no authority for the zone (the answer has no SOA record)")


async def _ask_udp(primary: Primary, apex: bytes, ident: int, request: bytes, seconds: float) -> bytes | None:
    """The first datagram that answers; None where it is cut off and the question has to be asked over TCP."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in primary.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        # Connected: the kernel passes on what comes from that address and port, and nothing else.
        sock.connect((primary.address, primary.port))
        while True:
            await loop.sock_sendall(sock, request)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    for _ in range(_WRONG_PACKETS):
                        packet = await loop.sock_recv(sock, 0xFFFF)
                        # What is there already is received without waiting: a flood must not keep all others from
                        # their turn, nor the time from being up.
                        await asyncio.sleep(0)
                        if len(packet) >= 12 and _LENGTH.unpack_from(packet)[0] == ident and _asks(packet, apex):
                            return None if packet[2] << 8 & TC else packet


def _asks(packet: bytes, apex: bytes) -> bool:
    """Whether a response repeats the question for the zone's SOA (RFC 5452 section 9.1)."""
    try:
        question = parse(packet).question
    except WireError:
        return bool(packet[2] << 8 & TC)
    return question is None or (fold(question.name) == apex and question.type == rr.SOA)


async def fetch(
    primary: Primary,
    apex: bytes,
    soa: bytes | None,
    seal: Seal,
    settings: FollowingSettings,
    limits: TransferLimits,
    large: asyncio.Lock,
    room: AsyncExitStack,
) -> Outcome:
    """The zone, or its changes since ours.

    Args:
        apex: the zone, folded.
        soa: the data of the SOA record we have, to ask for changes (IXFR); None asks for the whole zone (AXFR).
        large: held while a transfer is larger than ``LARGE``, by ``room``, until the caller has stored it.

    Raises:
        TransferRefusedError: the primary answered with a response code.
        TransferError: what came is no transfer of that zone.
        PrimaryTroubleError: the primary cannot be reached, or the connection ended before the transfer.
    """
    ident = secrets.randbits(16)
    request = seal.sign(_request(apex, soa, ident))
    serial = None if soa is None else int.from_bytes(soa[-SOA_TAIL : 4 - SOA_TAIL], "big")
    transfer = TransferReader(apex, ident=ident, serial=serial, limits=limits)
    try:
        async with (
            asyncio.timeout(settings.transfer_seconds) as limit,
            connected(primary, settings) as (reader, writer),
        ):
            writer.write(_LENGTH.pack(len(request)) + request)
            holds = False
            done = False
            while not done:
                async with asyncio.timeout(settings.idle_seconds):
                    response = await _next(reader)
                done = transfer.feed(seal.verify(response))
                if transfer.octets > LARGE and not holds and not done:
                    # A while after all is stored, or dropped: until then names here and there hold it.
                    room.callback(asyncio.get_running_loop().call_later, GIVE_BACK_SECONDS, memory.give_back)
                    await room.enter_async_context(large)
                    holds = True
                    end = asyncio.get_running_loop().time() + LARGE_SECONDS
                    limit.reschedule(min(end, limit.when() or end))
                # Others have their turn, however fast the primary sends.
                await asyncio.sleep(0)
            seal.finish()
    except (OSError, EOFError) as error:
        raise PrimaryTroubleError(f"{primary}: {_reason(error)}") from error
    return transfer.outcome()


def _request(apex: bytes, soa: bytes | None, ident: int) -> bytes:
    if soa is None:
        return encode(Message(ident, 0, Question(apex, rr.AXFR)))
    # The SOA we have stands in the authority section (RFC 1995 section 3).
    return encode(Message(ident, 0, Question(apex, rr.IXFR), authority=(Record(apex, rr.SOA, rr.IN, 0, soa),)))


async def _next(reader: asyncio.StreamReader) -> bytes:
    """The next message of a stream."""
    try:
        return await reader.readexactly(_LENGTH.unpack(await reader.readexactly(2))[0])
    except asyncio.IncompleteReadError:
        raise EOFError("the connection was closed before the end") from None


@asynccontextmanager
async def connected(
    primary: Primary, settings: FollowingSettings
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a primary, over TLS if so set.

    Raises:
        OSError: it cannot be reached, or its certificate is another than wanted.
    """
    context = _tls(primary, settings) if primary.tls else None
    name = (primary.hostname or primary.address) if context is not None else None
    async with asyncio.timeout(settings.idle_seconds):
        reader, writer = await asyncio.open_connection(
            primary.address, primary.port, ssl=context, server_hostname=name, limit=1 << 18
        )
    try:
        if primary.pin:
            _check_pin(primary, writer.get_extra_info("ssl_object"))
        yield reader, writer
    finally:
        # Nothing is left to say; the farewell of TLS would be waited for.
        writer.transport.abort()


def _tls(primary: Primary, settings: FollowingSettings) -> ssl.SSLContext:
    """The rules of TLS for a primary: version 1.3 (RFC 9103 section 7.1), and whom to believe."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise OSError(f"following.ca_file {settings.ca_file} cannot be read: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["dot"])
    if not primary.hostname:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_pin(primary: Primary, tls: ssl.SSLObject) -> None:
    try:
        digest = public_key_digest(tls.getpeercert(binary_form=True) or b"")
    except ValueError:
        digest = b""
    if not hmac.compare_digest(digest, primary.pin):
        raise ConnectionError("the public key of its certificate is not the one pinned")


def _reason(error: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if verify := getattr(error, "verify_message", ""):
        return f"its certificate cannot be believed: {verify}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
