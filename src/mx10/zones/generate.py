"""$GENERATE: many like records from one line, as BIND defines it (BIND 9 Administrator Reference Manual, section "BIND
Primary File Extension").

``$`` is the number of the turn, ``${offset,width,base}`` the same with an offset added, padded to a width, in base d,
o, x, X, or n and N: the digits of the hexadecimal number from the last to the first with dots between, as names under
ip6.arpa want them. ``$$`` is a dollar sign.
"""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?")
_SIGN: Final = re.compile(r"(\\.)|\$(?:(\$)|\{([^}]*)\}|(\{))?", re.DOTALL)
_FORM: Final = re.compile(r"([+-]?[0-9]{1,10})(?:,([0-9]{1,3})(?:,([doxXnN]))?)?")
_MAX_WIDTH: Final = 255
_MAX_SIGNS: Final = 64
"""Places for the number in one template: far more than names and data have labels to fill."""
_MAX_NUMBER: Final = 2**31 - 1


class GenerateError(ValueError):
    """A range or template that cannot be: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Number:
    offset: int
    width: int
    base: str

    def text(self, turn: int) -> str:
        value = turn + self.offset
        if self.base == "d":
            # As C prints it: the width counts the sign.
            return f"{value:0{self.width}d}"
        if value < 0:
            raise GenerateError(f"{turn} and the offset {self.offset} make a number below 0")
        if self.base in "nN":
            return _nibbles(value, self.width, upper=self.base == "N")
        return f"{value:0{self.width}{self.base}}"


def _nibbles(value: int, width: int, upper: bool) -> str:
    """Hexadecimal digits from the last to the first; ``width`` counts digits and dots, so an even one leaves a dot at
    the end."""
    written: list[str] = []
    while value or width > 0 or not written:
        digit = f"{value & 15:x}"
        written.append(digit.upper() if upper else digit)
        value >>= 4
        width -= 1
        if value or width > 0:
            written.append(".")
            width -= 1
    return "".join(written)


def numbers(text: str) -> range:
    """The turns of ``start-stop`` or ``start-stop/step``.

    Raises:
        GenerateError: it is not of that form, stop is before start, or the step is 0.
    """
    match = _RANGE.fullmatch(text)
    if not match:
        raise GenerateError(f"{text[:60]!a} is not a range")
    start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if stop < start:
        raise GenerateError(f"the range {text} ends before it begins")
    if not step:
        raise GenerateError("the step is 0")
    if stop > _MAX_NUMBER or step > _MAX_NUMBER:
        raise GenerateError(f"the range {text} has a number above {_MAX_NUMBER}")
    return range(start, stop + 1, step)


class Template:
    r"""A text with places for the number; escapes (``\$``) are left for whoever reads the result.

    Raises:
        GenerateError: a ``${…}`` that is not ``${offset,width,base}``, or too many of them.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        parts: list[str | _Number] = []
        at = 0
        for match in _SIGN.finditer(text):
            parts.append(text[at : match.start()])
            at = match.end()
            escape, dollar, form, unclosed = match.groups()
            if unclosed:
                raise GenerateError("a ${ is not closed")
            if escape:
                parts.append(escape)
            elif dollar:
                parts.append("$")
            else:
                parts.append(_Number(0, 0, "d") if form is None else _number(form))
        parts.append(text[at:])
        if sum(isinstance(part, _Number) for part in parts) > _MAX_SIGNS:
            raise GenerateError(f"there are more than {_MAX_SIGNS} $ in it")
        self._parts = parts

    def text(self, turn: int) -> str:
        """The text of one turn.

        Raises:
            GenerateError: an offset makes a number below 0 where the base cannot write it.
        """
        return "".join([part if isinstance(part, str) else part.text(turn) for part in self._parts])


def _number(form: str) -> _Number:
    match = _FORM.fullmatch(form)
    if not match:
        raise GenerateError(f"${{{form[:60]}}} is not ${{offset,width,base}} with base d, o, x, X, n or N")
    offset, width = int(match[1]), int(match[2] or 0)
    if width > _MAX_WIDTH or abs(offset) > _MAX_NUMBER:
        raise GenerateError(f"${{{form}}} has a width above {_MAX_WIDTH} or an offset above {_MAX_NUMBER}")
    return _Number(offset, width, match[3] or "d")
