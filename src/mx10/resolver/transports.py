"""How a question travels to one server and its response back: UDP, TCP, TLS (RFC 7858), HTTPS (RFC 8484).

A response is believed only if it answers the question asked: from the address and port asked, with our id, as a
response, and with our question in it to the letter (RFC 5452 section 9.1; the letters of a name are mixed at random for
UDP, "0x20"). Anything else is passed over, and only so much of it, until the time is up. What it says is read
elsewhere.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from mx10.config.settings import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, make_query, parse
from mx10.dns.wirename import WireError, fold

if TYPE_CHECKING:
    import ssl

WRONG_PACKETS: Final = 64
"""Datagrams that do not answer the question that are passed over before the exchange is given up."""
PADDING_BLOCK: Final = 128
"""Encrypted questions are filled up to a multiple of this many octets (RFC 8467 section 4.1), so that their length
tells nothing."""

_HTTP_SHARE: Final = 0.9
_PADDING: Final = 12
_FIRST_PORT: Final = 1024
_SIZE: Final = 65535


class Transport(StrEnum):
    """How to ask."""

    UDP = "udp"
    """UDP first, TCP where an answer does not fit."""
    TCP = "tcp"
    TLS = "tls"
    HTTPS = "https"


DEFAULT_PORTS: Final = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853, Transport.HTTPS: 443}


class TransportError(Exception):
    """No response that can be believed: why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A nameserver to ask.

    Attributes:
        address: an IP address.
        hostname: the name its certificate must bear, over HTTPS also the host of the URL; the address itself if None.
        path: of the URL, for HTTPS.
        verify: whether its certificate is checked at all.
    """

    address: str
    port: int = 53
    transport: Transport = Transport.UDP
    hostname: str | None = None
    path: str = "/dns-query"
    verify: bool = True

    def __str__(self) -> str:
        if self.transport is Transport.HTTPS:
            host = self.hostname or (f"[{self.address}]" if ":" in self.address else self.address)
            return f"https://{host}{'' if self.port == 443 else f':{self.port}'}{self.path}"
        if self.port == DEFAULT_PORTS[self.transport]:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Asking:
    """The bits and sizes that go along with a question; see ``dns.message.make_query``."""

    rd: bool = True
    ad: bool = False
    cd: bool = False
    do: bool = False
    edns: bool = True
    payload: int = 1232


def mixed_case(name: bytes) -> bytes:
    """The name with each letter's case chosen at random: some bits more that an attacker has to guess ("0x20")."""
    bits = secrets.randbits(len(name))
    return bytes(
        octet ^ 0x20 if bits >> i & 1 and (65 <= octet <= 90 or 97 <= octet <= 122) else octet
        for i, octet in enumerate(name)
    )


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
        self._stream: _Stream | None = None
        self._opening: asyncio.Lock | None = None
        self._http: Any = None

    async def ask(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        """One question, one response.

        Args:
            name: folded wire name.
            seconds: for the whole exchange, a repetition over TCP included.

        Raises:
            TimeoutError: nothing believable came in time.
            TransportError: the server cannot be reached, its certificate is wrong, or it does not speak DNS.
        """
        if self.server.transport is Transport.HTTPS and self._http is None:
            # Not at the expense of the server's time.
            self._http = _http_client(self.server)
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(name, rrtype, seconds, asking)
        except (OSError, EOFError) as error:
            # TimeoutError is an OSError too, and is what a time-out looks like to the caller.
            if isinstance(error, TimeoutError):
                raise
            raise TransportError(f"{self.server}: {_reason(error)}") from error

    async def _ask(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        response = await self._once(name, rrtype, seconds, asking)
        # A server from before EDNS says FORMERR or NOTIMP, without an OPT record: asked plainly, it can answer (RFC
        # 6891 section 7).
        old = response.rcode in (rr.Rcode.FORMERR, rr.Rcode.NOTIMP) and response.edns is None
        plain = replace(asking, edns=False)
        return await self._once(name, rrtype, seconds, plain) if old and asking.edns else response

    async def _once(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        match self.server.transport:
            case Transport.UDP:
                response = await _ask_udp(self.server, name, rrtype, asking)
                if response is not None and not response.tc:
                    return response
                return await self._ask_stream(name, rrtype, asking)
            case Transport.HTTPS:
                return await self._ask_https(name, rrtype, seconds, asking)
            case _:
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

    async def _open_stream(self) -> "_Stream":
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._stream is None or self._stream.closed:
                self._stream = await _Stream.open(self.server)
            return self._stream

    async def _ask_https(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        import httpx

        server = self.server
        # The id is 0, so that equal questions are equal to caches (RFC 8484 section 4.1).
        query, question = _query(name, rrtype, asking, ident=0, padded=True)
        headers = {
            "content-type": "application/dns-message",
            "accept": "application/dns-message",
            # A compressed answer could be far longer than it looks.
            "accept-encoding": "identity",
        }
        # The connection goes to the address that was chosen; the name is for the certificate and the URL.
        host = f"[{server.address}]" if ":" in server.address else server.address
        extensions = {}
        if server.hostname is not None:
            headers["host"] = server.hostname + ("" if server.port == 443 else f":{server.port}")
            extensions["sni_hostname"] = server.hostname
        url = f"https://{host}:{server.port}{server.path}"
        body = bytearray()
        try:
            async with self._http.stream(
                "POST",
                url,
                content=query,
                headers=headers,
                extensions=extensions,
                # A little before the caller's time is up: a connection that is given up by httpx itself is closed.
                timeout=seconds * _HTTP_SHARE,
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise TransportError(f"{server}: HTTP status {response.status_code} {response.reason_phrase}")
                if response.headers.get("content-type", "").partition(";")[0].strip() != "application/dns-message":
                    raise TransportError(f"{server}: the answer is not of type application/dns-message")
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > _SIZE:
                        raise TransportError(f"{server}: the answer is longer than a DNS message can be")
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError as error:
            raise TransportError(f"{server}: {_reason(error)}") from error
        message = _believable(bytes(body), question, 0)
        if message is None:
            raise TransportError(f"{server}: the answer is not to the question asked")
        return message

    async def close(self) -> None:
        """Close what is open."""
        if self._stream is not None:
            await self._stream.close()
        if self._http is not None:
            await self._http.aclose()


def _http_client(server: Server) -> Any:
    import httpx

    verify = tls_context(server) if server.verify else False
    return httpx.AsyncClient(http2=True, verify=verify, trust_env=False)


def _query(name: bytes, rrtype: int, asking: Asking, *, ident: int, padded: bool = False) -> tuple[bytes, Question]:
    def made(options: tuple[tuple[int, bytes], ...]) -> bytes:
        return make_query(
            name,
            rrtype,
            id=ident,
            rd=asking.rd,
            ad=asking.ad,
            cd=asking.cd,
            do=asking.do,
            payload=asking.payload,
            edns=asking.edns,
            options=options,
        )

    query = made(())
    if padded and asking.edns:
        query = made(((_PADDING, bytes(-(len(query) + 4) % PADDING_BLOCK)),))
    return query, Question(name, rrtype, rr.IN)


def _believable(packet: bytes, question: Question, ident: int) -> Message | None:
    """The response, if these octets are one to that question; the case of the name does not count here."""
    try:
        message = parse(packet)
    except WireError:
        return None
    if message.id != ident or not message.qr or message.opcode != rr.Opcode.QUERY:
        return None
    asked = message.question
    if asked is None:
        # A server that could not read the question cannot repeat it either.
        return message if message.rcode in (rr.Rcode.FORMERR, rr.Rcode.NOTIMP) else None
    same = fold(asked.name) == fold(question.name) and asked.type == question.type and asked.klass == question.klass
    return message if same else None


async def _ask_udp(server: Server, name: bytes, rrtype: int, asking: Asking) -> Message | None:
    """One datagram there, and the first believable one back; None where the question has to be repeated over TCP,
    because the server did not keep the case of its letters."""
    mixed = mixed_case(name)
    ident = secrets.randbits(16)
    query, question = _query(mixed, rrtype, asking, ident=ident)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in server.address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        _bind_anywhere(sock)
        # Connected: the kernel passes on what comes from that address and port, and nothing else.
        sock.connect((server.address, server.port))
        sock.send(query)
        for _ in range(WRONG_PACKETS):
            packet = await loop.sock_recv(sock, _SIZE)
            kept = packet[12 : 12 + len(mixed)] == mixed
            if kept:
                # Other names in the packet point into this one: with its own letters back, they all have theirs.
                packet = packet[:12] + name + packet[12 + len(mixed) :]
            message = _believable(packet, question, ident)
            if message is not None:
                return message if kept or message.question is None else None
    raise TransportError(f"{server}: {WRONG_PACKETS} packets came, none of which answers the question")


def _bind_anywhere(sock: socket.socket) -> None:
    """Bind to a port chosen at random from all that may be (RFC 5452 section 9.2); if it is taken three times, the
    kernel chooses."""
    for _ in range(3):
        try:
            sock.bind(("", secrets.randbelow(65536 - _FIRST_PORT) + _FIRST_PORT))
        except OSError:
            continue
        return


class _Stream:
    """One connection on which several questions wait for their answers at once (RFC 7766 section 6.2.1.1)."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._waiting: dict[int, tuple[Question, asyncio.Future[Message]]] = {}
        self._reading = asyncio.create_task(self._read(reader))
        self.used = False
        """Whether it carried an answer already."""

    @classmethod
    async def open(cls, server: Server) -> "_Stream":
        tls = tls_context(server) if server.transport is Transport.TLS else None
        name = (server.hostname or server.address) if tls is not None else None
        reader, writer = await asyncio.open_connection(
            server.address, server.port, ssl=tls, server_hostname=name, limit=2 * _SIZE
        )
        return cls(server, reader, writer)

    @property
    def closed(self) -> bool:
        return self._reading.done()

    async def ask(self, name: bytes, rrtype: int, asking: Asking) -> Message:
        if self.closed:
            raise EOFError("the server closed the connection")
        ident = secrets.randbits(16)
        while ident in self._waiting:
            ident = secrets.randbits(16)
        query, question = _query(name, rrtype, asking, ident=ident, padded=self._server.transport is Transport.TLS)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = question, answer
        try:
            self._writer.write(len(query).to_bytes(2, "big") + query)
            await self._writer.drain()
            return await answer
        finally:
            del self._waiting[ident]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        error: Exception = EOFError("the server closed the connection")
        try:
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                self._take(packet)
        except asyncio.IncompleteReadError:
            pass
        except OSError as caught:
            error = caught
        finally:
            # Nothing is left to say; a server that does not answer the farewell of TLS would be waited for.
            self._writer.transport.abort()
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)

    def _take(self, packet: bytes) -> None:
        question, answer = self._waiting.get(int.from_bytes(packet[:2], "big"), (None, None))
        if question is None or answer is None or answer.done():
            return
        message = _believable(packet, question, int.from_bytes(packet[:2], "big"))
        if message is None:
            answer.set_exception(TransportError(f"{self._server}: the answer is not to the question asked"))
        else:
            self.used = True
            answer.set_result(message)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def tls_context(server: Server) -> "ssl.SSLContext":
    """The rules of TLS for a server: its certificate is checked against the system's authorities, unless told
    otherwise."""
    import ssl

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.transport is Transport.TLS:
        context.set_alpn_protocols(["dot"])
    if not server.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: BaseException) -> str:
    """What went wrong, in words, without Python's own decoration."""
    # Libraries wrap the error that tells what happened: it is the one deepest within.
    within: BaseException | None = error
    while within is not None:
        error = within if isinstance(within, OSError) else error
        within = within.__cause__ or within.__context__
    verify: str = getattr(error, "verify_message", "")
    if verify:
        return f"its certificate cannot be believed: {verify}"
    number = getattr(error, "errno", None)
    # Those of OpenSSL and of the resolver are numbers of their own.
    if isinstance(error, ConnectionError | TimeoutError) or type(error) is OSError:
        return os.strerror(number) if number and number > 0 else str(error) or type(error).__name__
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
