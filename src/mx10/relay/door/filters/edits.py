"""Changing a message: its header as filters want it, its body as it came or anew. Only the header is held in memory."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final

from mx10.relay.courier.values import Content
from mx10.relay.door.filters.values import Edit, EditKind, FilterError
from mx10.relay.door.header import MAX_HEADER

_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_LINE_ENDS: Final = re.compile(rb"\r*\n|\r")
MAX_VALUE: Final = 1 << 16
"""Octets of one field that a filter writes."""


def edit_of(kind: EditKind, index: int, name: bytes, value: bytes, *, is_whole: bool = False) -> Edit:
    """A change as a filter wants it, seen through.

    Raises:
        FilterError: a header cannot have such a field.
    """
    text = name.decode("ascii", "replace")
    if not _NAME.fullmatch(text):
        raise FilterError(f"it wants a header field {name[:40]!r}, which is no name of one")
    if len(value) > MAX_VALUE or b"\0" in value:
        raise FilterError(f"it wants a header field {text} with {len(value)} octets, or with a NUL")
    # Filters write lines as they are inside of a host; a line that is not indented would be a field of its own.
    lines = [line for line in _LINE_ENDS.split(value) if line.strip()]
    folded = [line if at == 0 or line[:1] in b" \t" else b"\t" + line for at, line in enumerate(lines)]
    return Edit(kind, index, text, b"\r\n".join(folded), is_whole)


async def split(content: Content) -> tuple[list[bytes], int]:
    """The fields of a message, and where its body begins.

    Returns:
        Fields with their line ends, as they stand there; how many octets come before the body.

    Raises:
        FilterError: the header is too long.
        OSError: the content cannot be read.
    """
    head = b""
    async with aclosing(content.chunks()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            head += chunk
            end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n") + 2
            if head.startswith(b"\r\n") or end > 1:
                return fields_of(head[:end]), end + 2
            if len(head) > MAX_HEADER + 4:
                raise FilterError("the header is too long")
    return fields_of(head), len(head)


def fields_of(head: bytes) -> list[bytes]:
    """The fields of a header, each with the lines that belong to it."""
    fields: list[bytes] = []
    for line in _lines(head):
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1] += line
        else:
            fields.append(line)
    return fields


def _lines(head: bytes) -> list[bytes]:
    """At CR LF alone."""
    parts = head.split(b"\r\n")
    lines = [part + b"\r\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def name_and_value(field: bytes) -> tuple[bytes, bytes]:
    """A field's name and what stands behind the colon, without the last line end. A line without a colon has none."""
    name, colon, value = field.partition(b":")
    if not colon:
        return b"", field.removesuffix(b"\r\n")
    return name.strip(), value.removesuffix(b"\r\n")


def apply(fields: Iterable[bytes], edits: Iterable[Edit]) -> list[bytes]:
    """The fields after changes, which are made one after the other."""
    now = list(fields)
    if now and not now[-1].endswith(b"\r\n"):
        now[-1] += b"\r\n"
    for edit in edits:
        written = edit.name.encode() + (b":" if edit.is_whole else b": ") + edit.value + b"\r\n"
        if edit.kind == "add":
            now.append(written)
        elif edit.kind == "insert":
            now.insert(min(edit.index, len(now)), written)
        else:
            wanted = edit.name.lower().encode()
            places = [at for at, field in enumerate(now) if name_and_value(field)[0].lower() == wanted]
            if edit.kind == "remove":
                number = edit.index - 1 if edit.index > 0 else edit.index
                for gone in reversed(places) if not edit.index else places[number:][:1]:
                    del now[gone]
                continue
            at = places[edit.index - 1] if 1 <= edit.index <= len(places) else None
            if at is None:
                if edit.value:
                    now.append(written)
            elif edit.value:
                now[at] = written
            else:
                del now[at]
    return now


class Edited:
    """A message with another header, and the body of another.

    Args:
        skip: octets of the other that come before its body.
    """

    __slots__ = ("_head", "_original", "_skip", "size")

    def __init__(self, fields: Iterable[bytes], original: Content, skip: int) -> None:
        self._head = b"".join(fields) + b"\r\n"
        self._original = original
        self._skip = skip
        self.size = len(self._head) + original.size - skip

    async def chunks(self) -> AsyncIterator[bytes]:
        """Header first.

        Raises:
            OSError: the original cannot be read.
        """
        yield self._head
        left = self._skip
        async for chunk in self._original.chunks():
            if left >= len(chunk):
                left -= len(chunk)
                continue
            yield chunk[left:] if left else chunk
            left = 0
