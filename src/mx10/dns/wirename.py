"""Domain names as they travel: uncompressed wire form, the one form names have inside mx10.

A name is ``bytes``: each label with its length before it, and the root's zero octet last (RFC 1035 section 3.1). As a
key it is *folded*: ASCII letters in lower case (RFC 4343). Folding is plain ``bytes.lower``: a length octet is at most
63 and no letter is below 65.

What people type (IDN, missing dots) is the business of ``mx10.names``; this file knows octets, and the escapes of
master files.
"""

from collections.abc import Iterable
from typing import Final

ROOT: Final = b"\0"
MAX_NAME: Final = 255
"""Octets of a name, length octets and root included (RFC 1035 section 2.3.4)."""
MAX_LABEL: Final = 63
"""Octets of one label (RFC 1035 section 2.3.4)."""

_MOST_POINTERS: Final = 127
"""Pointers in one name: a name of 255 octets has no more labels, and a pointer to a pointer saves nobody an octet."""

_ESCAPED: Final = frozenset(b'"().;@$\\')


class WireError(ValueError):
    """A message that does not parse: what is wrong, and at which octet."""


class NameSyntaxError(ValueError):
    """A domain name that cannot be: what is wrong with its text."""


def fold(name: bytes) -> bytes:
    """The name in lower case, as tables keep it (RFC 4343 section 3)."""
    return name.lower()


def labels(name: bytes) -> list[bytes]:
    """The labels of a wire name from the left, without the root: ``b"\\3www\\2eu\\0"`` gives ``[b"www", b"eu"]``."""
    found = []
    at = 0
    while length := name[at]:
        at += 1
        found.append(name[at : at + length])
        at += length
    return found


def from_labels(parts: Iterable[bytes]) -> bytes:
    """A wire name made of labels, root appended.

    Raises:
        NameSyntaxError: a label is empty or longer than 63 octets, or the name longer than 255.
    """
    wire = bytearray()
    for label in parts:
        if not 0 < len(label) <= MAX_LABEL:
            raise NameSyntaxError(
                f"a label has {len(label)} octets; at most 63 are allowed" if label else "a label is empty"
            )
        wire.append(len(label))
        wire += label
    wire.append(0)
    if len(wire) > MAX_NAME:
        raise NameSyntaxError(f"the name has {len(wire)} octets on the wire; at most 255 are allowed")
    return bytes(wire)


def parent(name: bytes) -> bytes:
    """The name without its leftmost label; the root is its own parent."""
    return name[name[0] + 1 :] if name[0] else name


def ancestors(name: bytes) -> Iterable[bytes]:
    """The name itself, its parent, and so on up to and with the root."""
    while name[0]:
        yield name
        name = name[name[0] + 1 :]
    yield name


def is_under(name: bytes, apex: bytes) -> bool:
    """Whether ``name`` is ``apex`` or below it; both folded."""
    excess = len(name) - len(apex)
    if excess < 0 or not name.endswith(apex):
        return False
    # The octets agree; now the cut must fall between two labels and not inside one.
    at = 0
    while at < excess:
        at += name[at] + 1
    return at == excess


def order_key(name: bytes, apex: bytes = ROOT) -> bytes:
    """Octets that sort as DNSSEC sorts names (RFC 4034 section 6.1): labels from the right, each ended by a zero.

    What is below a name begins with the name's key. Within labels 0 and 1 are written as 1 1 and 1 2, so that nothing
    but an end is zero.

    Args:
        name: folded, at or below ``apex``.
        apex: what the key leaves out; its own key is empty.
    """
    parts = labels(name[: len(name) - len(apex)] + b"\0")
    parts.reverse()
    if b"\0" in (joined := b"".join(parts)) or b"\1" in joined:
        parts = [part.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1") for part in parts]
    return b"".join([part + b"\0" for part in parts])


def from_order_key(key: bytes, apex: bytes = ROOT) -> bytes:
    """The folded name that has a key; the inverse of ``order_key``."""
    parts = key.split(b"\0")[-2::-1]
    if b"\1" in key:
        parts = [part.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1") for part in parts]
    return b"".join([bytes((len(part),)) + part for part in parts]) + apex


def from_text(text: str, origin: bytes | None = None) -> bytes:
    """A name as master files write it (RFC 1035 section 5.1): ``\\.`` and ``\\DDD`` escapes, relative unless it ends in
    a dot.

    Args:
        text: ASCII text; ``@`` stands for the origin.
        origin: what a relative name is completed with; without one, every name is taken as absolute.

    Raises:
        NameSyntaxError: empty, an empty label, a label over 63 or a name over 255 octets, a bad escape, or not ASCII.
    """
    if text == "@" and origin is not None:
        return origin
    if text == ".":
        return ROOT
    if not text:
        raise NameSyntaxError("the name is empty")
    if "\\" not in text:
        try:
            parts = text.encode("ascii").split(b".")
        except UnicodeEncodeError:
            raise NameSyntaxError(
                "the name is not ASCII; write the A-label (xn--…) of an internationalised name"
            ) from None
        absolute = not parts[-1]
        if absolute:
            parts.pop()
    else:
        parts, absolute = _split_escaped(text)
    wire = from_labels(parts)
    if absolute or origin is None:
        return wire
    wire = wire[:-1] + origin
    if len(wire) > MAX_NAME:
        raise NameSyntaxError(f"the name has {len(wire)} octets with its origin; at most 255 are allowed")
    return wire


def _split_escaped(text: str) -> tuple[list[bytes], bool]:
    """Labels of a text with escapes, and whether it ended in an (unescaped) dot."""
    parts: list[bytes] = []
    label = bytearray()
    at = 0
    absolute = False
    while at < len(text):
        char = text[at]
        at += 1
        absolute = char == "."
        if absolute:
            parts.append(bytes(label))
            label.clear()
        elif char != "\\":
            if ord(char) > 127:
                raise NameSyntaxError("the name is not ASCII; write octets above 127 as \\DDD")
            label.append(ord(char))
        elif text[at : at + 1].isdigit():
            digits = text[at : at + 3]
            if len(digits) < 3 or not (digits.isascii() and digits.isdigit()) or int(digits) > 255:
                raise NameSyntaxError(f"the escape \\{digits} is not \\DDD with a number from 000 to 255")
            label.append(int(digits))
            at += 3
        elif at < len(text) and ord(text[at]) < 128:
            label.append(ord(text[at]))
            at += 1
        else:
            raise NameSyntaxError("a backslash stands before nothing it can escape")
    if not absolute:
        parts.append(bytes(label))
    return parts, absolute


def to_text(name: bytes, final_dot: bool = True) -> str:
    """A wire name as master files write it, octets outside printable ASCII as ``\\DDD`` (RFC 4343 section 2.1)."""
    if name == ROOT:
        return "."
    text = ".".join(map(_label_to_text, labels(name)))
    return text + "." if final_dot else text


def _label_to_text(label: bytes) -> str:
    if label.replace(b"-", b"").replace(b"_", b"").isalnum():
        return label.decode("ascii")
    return "".join(
        f"\\{chr(octet)}" if octet in _ESCAPED else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"
        for octet in label
    )


def read(message: bytes, offset: int) -> tuple[bytes, int]:
    """The name at an offset of a message, compression undone (RFC 1035 section 4.1.4).

    A pointer must point before the name that holds it: that is what "a prior occurrence" means, and it makes loops
    impossible. There may be 127 of them: a long chain of pointers to pointers, walked again for each of many names,
    would take seconds.

    Returns:
        The wire name with its case kept, and the offset behind it.

    Raises:
        WireError: the name runs out of the message, is longer than 255 octets, or has a pointer or label type that
            cannot be.
    """
    pieces: list[bytes] = []
    total = 1
    pointers = 0
    after = -1
    at = start = offset
    try:
        while length := message[at]:
            if length <= MAX_LABEL:
                total += length + 1
                if total > MAX_NAME:
                    raise WireError(f"the name at octet {offset} is longer than 255 octets")
                end = at + length + 1
                pieces.append(message[at:end])
                at = end
            elif length >= 0xC0:
                target = (length & 0x3F) << 8 | message[at + 1]
                if after < 0:
                    after = at + 2
                if target >= start:
                    raise WireError(f"the compression pointer at octet {at} does not point backwards")
                pointers += 1
                if pointers > _MOST_POINTERS:
                    raise WireError(f"the name at octet {offset} has more than {_MOST_POINTERS} compression pointers")
                at = start = target
            else:
                raise WireError(f"the label at octet {at} has the unknown type {length >> 6:02b}")
    except IndexError:
        raise WireError(f"the name at octet {offset} runs past the end of the message") from None
    pieces.append(ROOT)
    return b"".join(pieces), at + 1 if after < 0 else after
