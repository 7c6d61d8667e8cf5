"""What is worth knowing about a route besides its hosts: every kind of note, with its weight and its source.

``docs/route.md`` lists them all. A code is part of the JSON that others read: one may be added, none may change its
meaning.
"""

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["info", "warning"]


@dataclass(frozen=True, slots=True)
class Note:
    """``code``: kebab-case, for programs; ``text``: for people; ``source``: the rule behind it, may be empty."""

    code: str
    severity: Severity
    text: str
    source: str = ""


_KINDS: Final[dict[str, tuple[Severity, str]]] = {
    # About the domain
    "domain-is-alias": ("info", "RFC 5321 section 5.1"),
    "implicit-mx": ("info", "RFC 5321 section 5.1"),
    "null-mx-not-alone": ("warning", "RFC 7505 section 3"),
    "null-mx-preference": ("warning", "RFC 7505 section 3"),
    "duplicate-exchanger": ("warning", "RFC 5321 section 5.1"),
    "too-many-exchangers": ("warning", "RFC 5321 section 5.1"),
    "dotless-domain": ("warning", "RFC 7085"),
    "no-ipv4": ("warning", "RFC 3974 section 4.1"),
    "shared-address": ("info", ""),
    # About an exchanger
    "exchanger-is-alias": ("warning", "RFC 2181 section 10.3"),
    "exchanger-is-address": ("warning", "RFC 5321 section 5.1"),
    "exchanger-is-root": ("warning", "RFC 7505 section 3"),
    "exchanger-is-localhost": ("warning", "RFC 6761 section 6.3"),
    "exchanger-is-dotless": ("warning", "RFC 7085"),
    "exchanger-not-a-hostname": ("warning", "RFC 5321 section 2.3.5"),
    "no-such-name": ("warning", "RFC 5321 section 5.1"),
    "no-address": ("warning", "RFC 5321 section 5.1"),
    "not-public": ("warning", "RFC 6890"),
    "address-unknown": ("warning", "RFC 5321 section 5.1"),
    "family-unknown": ("info", "RFC 3974 section 3"),
    "alias-chain": ("warning", "RFC 1034 section 3.6.2"),
    "too-many-addresses": ("warning", "RFC 5321 section 5.1"),
    "this-host": ("info", "RFC 5321 section 5.1"),
    "not-better-than-this-host": ("info", "RFC 5321 section 5.1"),
    # About the question
    "host-unknown": ("warning", ""),
    "this-host-not-an-exchanger": ("info", ""),
    "down": ("info", ""),
    "down-in-part": ("info", ""),
    "down-not-an-exchanger": ("warning", ""),
}


def note(code: str, text: str) -> Note:
    """A note of one of the kinds above."""
    severity, source = _KINDS[code]
    return Note(code, severity, text, source)


def kinds() -> dict[str, tuple[Severity, str]]:
    """Every code with its severity and source, for the documentation and its test."""
    return dict(_KINDS)
