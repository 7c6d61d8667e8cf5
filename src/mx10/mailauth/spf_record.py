"""Records of SPF as text (RFC 7208 section 12): mechanisms, modifiers, and macros. Pure.

A record is read as a whole before anything of it is looked at: one mistake anywhere makes all of it an error (section
4.6).
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from urllib.parse import quote

MAX_RECORD: Final = 16_384
"""Characters of a record that is read. A usual one has 100."""
MAX_TERMS: Final = 500
MAX_NAME: Final = 253
"""Characters of a name; of a longer one, labels are taken off at the left (section 7.3)."""

_MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9._-]*)([:/].*)?", re.DOTALL)
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_CIDR: Final = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?\Z")
_MACRO: Final = re.compile(r"%(?:\{([slodiphcrtvSLODIPHCRTV])([0-9]*)([rR]?)([.\-+,/_=]*)\}|([%_-]))")
_TOP: Final = re.compile(r"(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?\Z")
_KINDS: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})
_RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_UNRESERVED: Final = "-._~"


class SpfSyntaxError(ValueError):
    """A record that is none: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One of a record.

    Attributes:
        result: if it matches.
        spec: the domain, with macros; empty: the current one.
        prefixes: how many bits of an IPv4 and an IPv6 address count.
        network: of ip4 and ip6.
    """

    result: str
    kind: str
    spec: str = ""
    prefixes: tuple[int, int] = (32, 128)
    network: IPv4Network | IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record. ``redirect``, ``exp``: with macros; None: it has none."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None
    exp: str | None = None


def is_record(text: bytes) -> bool:
    """Whether a TXT record is one of SPF (section 4.5)."""
    return text[:6].lower() == b"v=spf1" and text[6:7] in (b"", b" ")


def parse_record(data: bytes) -> Record:
    """A record.

    Raises:
        SpfSyntaxError: it is none.
    """
    if len(data) > MAX_RECORD:
        raise SpfSyntaxError(f"the record has more than {MAX_RECORD} octets")
    if not data.isascii():
        raise SpfSyntaxError("the record is not ASCII")
    terms = [each for each in data[6:].decode().split(" ") if each]
    if len(terms) > MAX_TERMS:
        raise SpfSyntaxError(f"the record has more than {MAX_TERMS} terms")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in terms:
        if modifier := _MODIFIER.fullmatch(term):
            name, value = modifier[1].lower(), modifier[2]
            if name in ("redirect", "exp"):
                if name in modifiers:
                    raise SpfSyntaxError(f"{name}= stands there twice")
                check_domain_spec(value, term)
                modifiers[name] = value
            else:
                check_macros(value, term)
        else:
            mechanisms.append(_mechanism(term))
    return Record(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    match = _MECHANISM.fullmatch(term)
    if match is None or match[2].lower() not in _KINDS:
        raise SpfSyntaxError(f"{_shown(term)} is no mechanism")
    result, kind, rest = _RESULTS[match[1] or "+"], match[2].lower(), match[3] or ""
    if kind == "all":
        if rest:
            raise SpfSyntaxError(f"{_shown(term)}: all takes no argument")
        return Mechanism(result, kind)
    if kind in ("ip4", "ip6"):
        return Mechanism(result, kind, network=_network(kind, rest, term))
    prefixes = (32, 128)
    if kind in ("a", "mx"):
        cidr = _CIDR.search(rest)
        assert cidr is not None
        prefixes = int(cidr[1] or 32), int(cidr[2] or 128)
        if prefixes[0] > 32 or prefixes[1] > 128:
            raise SpfSyntaxError(f"{_shown(term)}: an address has no so many bits")
        rest = rest[: cidr.start()]
    if rest and not rest.startswith(":"):
        raise SpfSyntaxError(f"{_shown(term)}: what stands behind the / is no number of bits")
    if rest or kind in ("include", "exists"):
        check_domain_spec(rest[1:], term)
    return Mechanism(result, kind, rest[1:], prefixes)


def _network(kind: str, rest: str, term: str) -> IPv4Network | IPv6Network:
    text = rest[1:]
    address, slash, bits = text.partition("/")
    if slash and not re.fullmatch("0|[1-9][0-9]{0,2}", bits):
        raise SpfSyntaxError(f"{_shown(term)}: what stands behind the / is no number of bits")
    try:
        network = ip_network(text, strict=False) if rest.startswith(":") and "%" not in address else None
    except ValueError:
        network = None
    if network is None or (network.version == 4) is not (kind == "ip4"):
        raise SpfSyntaxError(f"{_shown(term)} names no IPv{kind[2]} network")
    return network


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


# ---------------------------------------------------------------- macros


@dataclass(frozen=True, slots=True)
class Macros:
    """What macros stand for (section 7.2).

    Attributes:
        sender: of the letters s, l, o: with "postmaster" where it had no local part.
        domain: the one that is looked at.
        address: of the client, 4 or 16 octets.
        name: the client's, validated; of the letter p.
        receiver: our name; of the letter r.
        now: seconds since 1970; of the letter t.
    """

    sender: str
    domain: str
    helo: str
    address: bytes
    name: str = "unknown"
    receiver: str = "unknown"
    now: int = 0

    def value(self, letter: str) -> str:
        """Of one letter, in lower case."""
        local, _, domain = self.sender.rpartition("@")
        values = {
            "s": self.sender,
            "l": local,
            "o": domain,
            "d": self.domain,
            "i": _dotted(self.address),
            "p": self.name,
            "v": "in-addr" if len(self.address) == 4 else "ip6",
            "h": self.helo,
            "c": _readable(self.address),
            "r": self.receiver,
            "t": str(self.now),
        }
        return values[letter]


def _dotted(address: bytes) -> str:
    return ".".join(str(octet) for octet in address) if len(address) == 4 else ".".join(address.hex().upper())


def _readable(address: bytes) -> str:
    if len(address) == 4:
        return _dotted(address)
    from ipaddress import IPv6Address

    return str(IPv6Address(address))


def check_macros(text: str, term: str, *, explaining: bool = False) -> None:
    """See that macros are well written. ``explaining``: in an explanation, which has some more and spaces.

    Raises:
        SpfSyntaxError: they are not.
    """
    at = 0
    for match in _MACRO.finditer(text):
        _check_literal(text[at : match.start()], term, explaining=explaining)
        if match[1]:
            if match[2] and int(match[2][:4]) == 0:
                raise SpfSyntaxError(f"{_shown(term)}: a macro that keeps 0 parts")
            if match[1].lower() in "crt" and not explaining:
                raise SpfSyntaxError(f"{_shown(term)}: {match[0]} is for explanations only")
        at = match.end()
    _check_literal(text[at:], term, explaining=explaining)


def _check_literal(text: str, term: str, *, explaining: bool) -> None:
    lowest = " " if explaining else "!"
    if "%" in text or any(not lowest <= char <= "~" for char in text):
        raise SpfSyntaxError(f"{_shown(term)} has a % that begins no macro, or a character that may not stand there")


def check_domain_spec(text: str, term: str) -> None:
    """See that a domain is well written: it ends in a macro, or in a dot and a label that is no number.

    Raises:
        SpfSyntaxError: it is not.
    """
    check_macros(text, term)
    if not text:
        raise SpfSyntaxError(f"{_shown(term)} names no domain")
    last = next(reversed(list(_MACRO.finditer(text))), None)
    if last is not None and last.end() == len(text) and last[1]:
        return
    end = text[last.end() if last is not None else 0 :]
    head, dot, top = end.removesuffix(".").rpartition(".")
    del head
    if not dot or not _TOP.match(top):
        raise SpfSyntaxError(f"{_shown(term)}: the domain does not end in a label")


def expand(text: str, macros: Macros) -> str:
    """A text with its macros filled in. What it was read from was checked."""

    def one(match: re.Match[str]) -> str:
        if match[5]:
            return {"%": "%", "_": " ", "-": "%20"}[match[5]]
        value = macros.value(match[1].lower())
        delimiters = match[4] or "."
        parts = re.split(f"[{re.escape(delimiters)}]", value)
        if match[3]:
            parts.reverse()
        if match[2]:
            parts = parts[-min(int(match[2][:4]), len(parts)) :]
        found = ".".join(parts)
        return quote(found, safe=_UNRESERVED) if match[1].isupper() else found

    return _MACRO.sub(one, text)


def shortened(name: str) -> str:
    """A name that is not too long: labels are taken off at the left (section 7.3)."""
    name = name.removesuffix(".")
    while len(name) > MAX_NAME:
        _, dot, rest = name.partition(".")
        if not dot:
            return ""
        name = rest
    return name
