"""The milter protocol as octets (version 6, as libmilter of Sendmail 8.14 and later and Postfix speak it). No I/O.

A packet is its length (4 octets), a letter, and data. The MTA speaks; the filter answers where it did not say that it
would not. At the end of a message it may change things before it says what is to happen.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from mx10.relay.door.filters.edits import edit_of
from mx10.relay.door.filters.values import Edit, EditKind, FilterError, Verdict
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import CommandError, parse_mail, parse_rcpt
from mx10.values import value_class

VERSION: Final = 6
OLDEST: Final = 2
"""The oldest version that is spoken: that of Sendmail 8.13 and older."""
ACTIONS: Final = 0x7F | 0x80
"""What we let filters do: add and change fields, the body, recipients and the sender; quarantine."""
CHUNK: Final = 65535
"""Octets of a body in one packet."""
MAX_PACKET: Final = 1 << 20
"""Octets of a packet that is read."""
MAX_CHANGES: Final = 10_000
"""Changes of one message."""
MAX_BODY: Final = 32 << 20
"""Octets of a body that a filter puts in the place of another; it is held in memory."""
_MAX_TEXT: Final = 300
"""Characters of a filter's reply that a client is told."""

# What a filter may not want to see (SMFIP_NO...), and what it will not answer (SMFIP_NR_...).
SKIPS: Final = {"C": 0x1, "H": 0x2, "M": 0x4, "R": 0x8, "B": 0x10, "L": 0x20, "N": 0x40, "T": 0x200}
SILENT: Final = {
    "C": 0x1000,
    "H": 0x2000,
    "M": 0x4000,
    "R": 0x8000,
    "T": 0x10000,
    "L": 0x80,
    "N": 0x40000,
    "B": 0x80000,
}
SKIP: Final = 0x400
LEADING_SPACE: Final = 0x100000
UNKNOWN: Final = 0x100 | 0x20000
"""Commands that nobody knows are never sent: filters may want that, too, or answer nothing."""
OFFERED: Final = sum(SKIPS.values()) | sum(SILENT.values()) | SKIP | LEADING_SPACE | UNKNOWN

_ANY_SCRIPT: Final = frozenset({"SMTPUTF8"})
_LINE_ENDS: Final = re.compile(rb"\r?\n|\r")
_REPLY: Final = re.compile(r"([45]\d\d)(?: ([45]\.\d{1,3}\.\d{1,3}))?(?: (.*))?", re.DOTALL)
REJECTED: Final = Reply.of(550, "5.7.1", "a filter here does not want this message; ask the recipient another way")
LATER: Final = Reply.of(451, "4.7.1", "a filter here does not want this message now; send it again later")


@value_class
class Negotiated:
    """What was agreed on. ``steps``: flags of what is not sent, not answered, and how."""

    version: int
    actions: int
    steps: int

    def wants(self, letter: str) -> bool:
        """Whether a command is to be sent."""
        return not self.steps & SKIPS.get(letter, 0)

    def answers(self, letter: str) -> bool:
        """Whether a command is answered."""
        return not self.steps & SILENT.get(letter, 0)


def packet(letter: str, data: bytes = b"") -> bytes:
    """A packet."""
    return (len(data) + 1).to_bytes(4, "big") + letter.encode() + data


def negotiation() -> bytes:
    """Our offer."""
    return packet("O", b"".join(number.to_bytes(4, "big") for number in (VERSION, ACTIONS, OFFERED)))


def negotiated(letter: str, data: bytes) -> Negotiated:
    """What a filter made of it.

    Raises:
        FilterError: nothing that we offered.
    """
    if letter != "O" or len(data) < 12:
        raise FilterError("it does not speak the milter protocol")
    version, actions, steps = (int.from_bytes(data[at : at + 4], "big") for at in (0, 4, 8))
    if not OLDEST <= version <= VERSION:
        raise FilterError(f"it speaks version {version} of the milter protocol; {OLDEST} to {VERSION} are known")
    if actions & ~ACTIONS & 0xFF or steps & ~OFFERED & 0xFFFFF:
        raise FilterError("it wants more than was offered")
    return Negotiated(version, actions, steps & OFFERED)


def macros(letter: str, values: dict[str, str]) -> bytes:
    """What else there is to know with a command."""
    data = letter.encode()
    for name, value in values.items():
        if value:
            data += text(name if len(name) == 1 else f"{{{name}}}") + text(value)
    return packet("D", data)


def text(value: str | bytes) -> bytes:
    """A text with a NUL behind it."""
    octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return octets.replace(b"\0", b"?") + b"\0"


def connect(name: str, address: str, port: int) -> bytes:
    """Who is there."""
    family = b"6" if ":" in address else b"4"
    shown = f"IPv6:{address}" if ":" in address else address
    return packet("C", text(name) + family + port.to_bytes(2, "big") + text(shown))


class Packets:
    """Puts packets together from octets."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The packets that are whole now: letter, data.

        Raises:
            FilterError: one is too long, or empty.
        """
        buffer, at, found = self._buffer + data, 0, []
        while len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if not 1 <= length <= MAX_PACKET:
                raise FilterError(f"it sent a packet of {length} octets: this is not the milter protocol")
            if len(buffer) - at - 4 < length:
                break
            found.append((chr(buffer[at + 4]), buffer[at + 5 : at + 4 + length]))
            at += 4 + length
        self._buffer = buffer[at:]
        return found


@dataclass(slots=True)
class Changes:
    """What a filter changes at the end of a message, as it comes."""

    is_whole: bool = False
    """Values have the white space before them."""
    allowed: int = ACTIONS
    held: str = ""
    edits: list[Edit] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    replaced: bool = False
    sender: str | None = None
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    _count: int = 0
    _size: int = 0

    def take(self, letter: str, data: bytes) -> bool:
        """One of them.

        Returns:
            Whether it was one.

        Raises:
            FilterError: it cannot be done, or is not what was agreed on.
        """
        needed = {"h": 0x1, "i": 0x1, "m": 0x10, "b": 0x2, "+": 0x4, "2": 0x80, "-": 0x8, "q": 0x20, "e": 0x40}
        if letter not in needed:
            return False
        self._count += 1
        if self._count > MAX_CHANGES:
            raise FilterError(f"it wants more than {MAX_CHANGES} changes")
        if not self.allowed & (needed[letter] | (0x10 if letter == "i" else 0)):
            raise FilterError("it wants a change that it did not ask for when it began")
        if letter == "h":
            name, value = _strings(data, 2)
            self.edits.append(edit_of("add", 0, name, value, is_whole=self.is_whole))
        elif letter in "im":
            if len(data) < 4:
                raise FilterError("it sent half a change")
            name, value = _strings(data[4:], 2)
            index = int.from_bytes(data[:4], "big")
            kind: EditKind = "insert" if letter == "i" else "change"
            self.edits.append(edit_of(kind, index, name, value, is_whole=self.is_whole))
        elif letter == "b":
            self._size += len(data)
            if self._size > MAX_BODY:
                raise FilterError(f"it wants a body of more than {MAX_BODY >> 20} MiB")
            self.replaced = True
            self.body.append(data)
        elif letter == "q":
            self.held = _shown(data) or "a filter put it aside"
        elif letter == "e":
            self.sender = sender_of(data)
        else:
            (self.removed if letter == "-" else self.added).append(recipient_of(data))
        return True

    def verdict(self) -> Verdict:
        """All of it, for a message that is taken."""
        # Lines end in CR LF, and in nothing else: what hides behind a bare LF, the next host may take for a command.
        body = _LINE_ENDS.sub(b"\r\n", b"".join(self.body)) if self.replaced else None
        return Verdict(
            held=self.held,
            edits=tuple(self.edits),
            body=body,
            sender=self.sender,
            added=tuple(self.added),
            removed=tuple(self.removed),
        )


def refusal(letter: str, data: bytes) -> Reply:
    """What a client is told after ``r``, ``t`` or ``y``."""
    if letter == "r":
        return REJECTED
    if letter == "t":
        return LATER
    whole = data.split(b"\0")[0].decode("utf-8", "replace")
    lines = [line for line in whole.replace("\r\n", "\n").split("\n") if line]
    match = _REPLY.fullmatch(lines[0].replace("-", " ", 1) if lines and lines[0][3:4] == "-" else (lines or [""])[0])
    if match is None:
        return REJECTED
    code, enhanced = int(match[1]), match[2]
    if enhanced is None or enhanced[0] != match[1][0]:
        enhanced = f"{match[1][0]}.7.1"
    said = [match[3] or "", *(line[4:].removeprefix(f"{match[2]} ") for line in lines[1:])]
    # libmilter wants a percent sign twice.
    told = " ".join(filter(None, said)).replace("%%", "%")[:_MAX_TEXT]
    return Reply.of(code, enhanced, told or (REJECTED if code >= 500 else LATER).text)


def _strings(data: bytes, count: int) -> list[bytes]:
    parts = data.split(b"\0")
    if len(parts) < count + 1:
        raise FilterError("it sent half a change")
    return parts[:count]


def recipient_of(data: bytes) -> str:
    """An address that a filter named, as those of clients are.

    Raises:
        FilterError: it cannot be one.
    """
    path = _path(data)
    try:
        return parse_rcpt(f"TO:<{path}>", _ANY_SCRIPT, smtputf8=True).recipient
    except CommandError as error:
        raise FilterError(f"it named a recipient that cannot be one: {path[:60]!r} ({error})") from None


def sender_of(data: bytes) -> str:
    """The same for a sender; empty: nobody.

    Raises:
        FilterError: it cannot be one.
    """
    path = _path(data)
    try:
        return parse_mail(f"FROM:<{path}> SMTPUTF8", _ANY_SCRIPT).reverse_path
    except CommandError as error:
        raise FilterError(f"it named a sender that cannot be one: {path[:60]!r} ({error})") from None


def _path(data: bytes) -> str:
    path = data.split(b"\0")[0].decode("utf-8", "replace").strip()
    return path.removeprefix("<").removesuffix(">")


def _shown(data: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in data.split(b"\0")[0].decode("utf-8", "replace"))[
        :200
    ]
