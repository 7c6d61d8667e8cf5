"""Ways that somebody chose, instead of what MX records say: ``relay.transports`` in the configuration.

One text a rule: for whom, where to, and words that say how::

    *               smtp://smarthost.example.net:587 tls=verified credentials=/etc/mx10/smarthost
    example.org     smtp://192.0.2.10 tls=encrypted
    .example.org    mx:
    partner.example mx:hub.partner.example tls=verified
    lists.example   lmtp:/run/lmtp/socket
    home.example    maildir:/var/mail/{domain}/{local}/Maildir
    hooks.example   https://hooks.example/mail secret=/etc/mx10/hook

For whom: a domain, all below a domain and not itself (``.example.org``), or ``*``: all others. The closest counts.
Everything here is pure but ``read_secret`` and ``addresses_of``.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mx10.dns.rrtypes import AAAA, A
from mx10.names import DomainError, ascii_text, domain_from_text
from mx10.relay.courier.delivery import Plan
from mx10.relay.courier.splitting import shortened
from mx10.relay.courier.values import Target, TlsPolicy
from mx10.resolver.answer import Resolver, Status
from mx10.routing import Result, Verdict
from mx10.routing.addresses import from_text, to_text
from mx10.routing.decide import Chance
from mx10.values import value_class

MAX_SECRET: Final = 4096
"""Octets of a file with a secret."""

_PORTS: Final = {"smtp": 25, "smtps": 465, "lmtp": 24, "mx": 25}
_WORDS: Final = {
    "smtp": ("tls", "credentials"),
    "smtps": ("credentials",),
    "mx": ("tls",),
    "lmtp": (),
    "maildir": (),
    "https": ("secret",),
    "http": ("secret",),
}
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class TransportError(ValueError):
    """A rule, or a file it names, that cannot be used: what is wrong, and the mend."""


class Kind(StrEnum):
    """How a message is handed over."""

    MX = "mx"
    SMTP = "smtp"
    LMTP = "lmtp"
    MAILDIR = "maildir"
    WEBHOOK = "webhook"


@value_class
class Transport:
    """A way.

    Attributes:
        key: the name of the next hop, for the queue.
        host: a name with A-labels or an address as text; for ``MX``, the domain whose MX records count, empty: the
            recipient's own.
        path: of the Unix socket, or of the Maildir with ``{domain}`` and ``{local}`` in it.
        credentials: the file with user name and password.
        secret: the file with what signs a webhook's requests.
    """

    kind: Kind
    key: str
    host: str = ""
    port: int = 25
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    implicit_tls: bool = False
    credentials: Path | None = None
    path: str = ""
    url: str = ""
    secret: Path | None = None


class Transports:
    """All rules. Make them with ``parse_transports``."""

    def __init__(self, rules: dict[str, Transport]) -> None:
        self._rules = rules

    def of(self, domain: str) -> Transport | None:
        """The way of a domain (A-labels in lower case, or an address literal); None: what its MX records say."""
        rule = self._rules.get(domain)
        rest = domain
        while rule is None and not domain.startswith("["):
            _, dot, rest = rest.partition(".")
            if not dot:
                break
            rule = self._rules.get(f".{rest}")
        return rule if rule is not None else self._rules.get("*")

    def __len__(self) -> int:
        return len(self._rules)


def parse_transports(texts: Iterable[str]) -> Transports:
    """The rules of a configuration.

    Raises:
        TransportError: one of them is wrong; the message names it and says what to write.
    """
    rules: dict[str, Transport] = {}
    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise TransportError(f"{text!r}: {error}") from None
        if len(words) < 2:
            raise TransportError(f"{text!r} has no destination: write a domain and a way: example.org smtp://192.0.2.1")
        try:
            pattern = _pattern(words[0])
            transport = _transport(words[1], words[2:])
        except (TransportError, DomainError) as error:
            raise TransportError(f"{text!r}: {error}") from None
        if pattern in rules:
            raise TransportError(f"{text!r}: there is another way for {pattern} already; leave one")
        rules[pattern] = transport
    return Transports(rules)


def _pattern(text: str) -> str:
    if text == "*":
        return text
    if text.startswith("."):
        return f".{ascii_text(domain_from_text(text[1:]))}"
    packed = from_text(text) if text.startswith("[") else None
    if packed is not None:
        return f"[{'IPv6:' if len(packed) == 16 else ''}{to_text(packed)}]"
    return ascii_text(domain_from_text(text))


def _transport(way: str, words: Sequence[str]) -> Transport:
    scheme, colon, rest = way.partition(":")
    if not colon or scheme not in _WORDS:
        raise TransportError(f"{way!r} is no way: it begins with {':, '.join(_WORDS)}:")
    options = _options(words, scheme)
    if scheme in ("http", "https"):
        return _webhook(way, options)
    if scheme == "maildir":
        return _maildir(rest)
    if scheme == "lmtp" and rest.startswith("/") and not rest.startswith("//"):
        return Transport(Kind.LMTP, shortened(way), path=rest, tls=TlsPolicy.NEVER)
    if scheme == "mx" and not rest:
        host, port = "", 25
    else:
        host, port = _host_and_port(rest.removeprefix("//"), _PORTS[scheme])
    credentials = _file(options.get("credentials"), "credentials")
    default = TlsPolicy.VERIFIED if credentials is not None or scheme == "smtps" else TlsPolicy.OPPORTUNISTIC
    try:
        tls = TlsPolicy(options.get("tls", default))
    except ValueError:
        raise TransportError(f"tls={options['tls']} is none of {', '.join(TlsPolicy)}") from None
    if credentials is not None and tls in (TlsPolicy.NEVER, TlsPolicy.OPPORTUNISTIC):
        raise TransportError("a password goes only where the connection is encrypted: tls=verified or tls=encrypted")
    if scheme == "lmtp":
        tls = TlsPolicy.NEVER
    kind = {"mx": Kind.MX, "lmtp": Kind.LMTP}.get(scheme, Kind.SMTP)
    if kind is Kind.MX and host and from_text(host) is not None:
        raise TransportError(f"{host} is an address, which has no MX records: write smtp://{host}")
    # Other credentials, or another policy, are another way: they may not share a connection.
    key = shortened(" ".join([f"{scheme}://{host}:{port}" if host else "mx:", *sorted(words)]))
    return Transport(kind, key, host, port, tls, scheme == "smtps", credentials)


def _options(words: Sequence[str], scheme: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value or name not in _WORDS[scheme]:
            known = ", ".join(f"{each}=…" for each in _WORDS[scheme]) or "nothing"
            raise TransportError(f"{word!r} means nothing here: behind {scheme}: may stand {known}")
        if name in options:
            raise TransportError(f"{name} is said twice")
        options[name] = value
    return options


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, given = parts.hostname or "", parts.port
    except ValueError as error:
        raise TransportError(f"{text!r} is no host with a port: {error}") from None
    if not host or parts.path or parts.query or parts.fragment or given == 0:
        raise TransportError(f"{text!r} is no host with a port: write mail.example.net:587 or [2001:db8::1]:25")
    if parts.username is not None or parts.password is not None:
        raise TransportError("a password does not stand in the configuration: write credentials=/path/of/a/file")
    packed = from_text(host)
    return (to_text(packed) if packed is not None else ascii_text(domain_from_text(host))), given or port


def _maildir(path: str) -> Transport:
    if not path.startswith("/"):
        raise TransportError("the path of a Maildir begins with /")
    unknown = [name for name in _PLACEHOLDER.findall(path) if name not in ("domain", "local")]
    if unknown or "{" in _PLACEHOLDER.sub("", path) or "}" in _PLACEHOLDER.sub("", path):
        raise TransportError(
            "in the path of a Maildir {domain} and {local} stand for the recipient's, and nothing else"
        )
    if ".." in path.split("/"):
        raise TransportError("the path of a Maildir has no .. in it")
    return Transport(Kind.MAILDIR, shortened(f"maildir:{path}"), path=path, tls=TlsPolicy.NEVER)


def _webhook(url: str, options: dict[str, str]) -> Transport:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise TransportError(f"{url!r} is no address of the web: {error}") from None
    if not host:
        raise TransportError(f"{url!r} names no host")
    if parts.username is not None or parts.password is not None:
        raise TransportError("a password does not stand in the address: write secret=/path/of/a/file")
    packed = from_text(host)
    loopback = host == "localhost" or packed in (b"\x7f\0\0\1", bytes(15) + b"\1")
    if parts.scheme == "http" and not loopback:
        raise TransportError("mail goes to another host only encrypted: write https://…")
    return Transport(
        Kind.WEBHOOK,
        # What stands behind the question mark may be a secret: it is in no list of queues.
        shortened(
            f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?#{_digest(parts.query)}" if parts.query else "")
        ),
        host,
        url=url,
        secret=_file(options.get("secret"), "secret"),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _file(text: str | None, what: str) -> Path | None:
    if text is None:
        return None
    if not text.startswith("/"):
        raise TransportError(f"{what}={text}: write the whole path, from / on")
    return Path(text)


# ---------------------------------------------------------------- files with secrets


def read_secret(path: Path) -> bytes:
    """What stands in a file with a secret, without a last line end.

    Raises:
        TransportError: it cannot be read, others may read it, it is empty or too long.
    """
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise TransportError(f"{path} cannot be read: {error.strerror}; let the relay's user read it") from None
    if mode & 0o007:
        raise TransportError(f"{path} holds a secret and everybody may read it: chmod 640 {path}")
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data or len(data) > MAX_SECRET:
        raise TransportError(f"{path} holds {'nothing' if not data else f'more than {MAX_SECRET} octets'}")
    return data


# ---------------------------------------------------------------- where it is


async def addresses_of(host: str, resolver: Resolver) -> tuple[list[bytes], str]:
    """The addresses of a host given by name, or by its address.

    Returns:
        The addresses, IPv6 first; and where some could not be looked up, why.
    """
    packed = from_text(host)
    if packed is not None:
        return [packed], ""
    found: list[bytes] = []
    problem = ""
    name = domain_from_text(host)
    for rrtype, octets in ((AAAA, 16), (A, 4)):
        answer = await resolver.resolve(name, rrtype)
        if answer.status is Status.FAILURE:
            problem = answer.reason
        found += [record.rdata for record in answer.records if len(record.rdata) == octets]
    return found, problem


def plan_for_transport(
    transport: Transport, addresses: Sequence[bytes], problem: str, *, chance: Chance | None
) -> Plan:
    """The targets of a way over SMTP or LMTP to a host that somebody chose.

    A host without addresses is a mistake in a configuration, or an outage of the DNS: mail waits, and is not returned.

    Args:
        addresses, problem: as ``addresses_of`` gives them.
        chance: shuffles the addresses of each family.
    """
    base = Target(
        transport.host,
        b"",
        transport.port,
        tls=transport.tls,
        implicit_tls=transport.implicit_tls,
        credentials=transport.credentials,
        lmtp=transport.kind is Kind.LMTP,
    )
    if transport.path:
        return Plan((replace(base, host="localhost", address=b"\x7f\0\0\1", socket=transport.path),))
    if not addresses:
        reason = f"the address of {transport.host}, where this mail is to go, cannot be looked up"
        why = f"{reason}: {problem}" if problem else f"{reason}: it has none"
        return Plan((), Verdict(Result.TEMPORARY, 451, "4.4.3", why, "relay.transports"))
    families = [[each for each in addresses if len(each) == octets] for octets in (16, 4)]
    if chance is not None:
        for family in families:
            chance.shuffle(family)
    return Plan(tuple(replace(base, address=each) for family in families for each in family))
