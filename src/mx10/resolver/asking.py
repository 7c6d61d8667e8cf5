"""One question to one server: who is asked and how, the question as octets, and which octets are a response to it.

A response is believed only if it answers the question asked: with our id, as a response, and with our question in it
(RFC 5452 section 9.1). How it travels is told in ``transports``, ``stream`` and ``https``; what it says is read in
``reading``.
"""

import os
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, make_query, parse
from mx10.dns.wirename import WireError, fold

if TYPE_CHECKING:
    import ssl

MAX_MESSAGE: Final = 65535
"""Octets of a DNS message at most."""
PADDING_BLOCK: Final = 128
"""Encrypted questions are filled up to a multiple of this many octets (RFC 8467 section 4.1), so that their length
tells nothing."""

_PADDING: Final = 12


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


def query(name: bytes, rrtype: int, asking: Asking, *, ident: int, padded: bool = False) -> tuple[bytes, Question]:
    """A question as octets, and as the value that ``believable`` compares with.

    Args:
        ident: its id.
        padded: filled up to a length that tells nothing.
    """

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


def believable(packet: bytes, question: Question, ident: int) -> Message | None:
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


def reason(error: BaseException) -> str:
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
