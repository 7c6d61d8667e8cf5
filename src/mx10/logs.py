"""The log, on standard error: for reading on a terminal, as JSON objects otherwise.

structlog does it, and only here. It was chosen because an event is a value, its parts named, until the last moment:
the same call reads well and can be searched. Only services log; a command that answers and ends prints.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

_WEIGHTS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OF_LIBRARIES: Final = 20
"""Lines a second of what libraries log; the rest is counted."""
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}

Event = MutableMapping[str, Any]


@dataclass(slots=True)
class _Output:
    """Where the process's log goes, and how. Held here and not in structlog, whose own belongs to who embeds us.

    ``stream`` is None for standard error as it is when something is logged: it may be another by then.
    """

    level: str = "info"
    format: str = "auto"
    stream: TextIO | None = None

    def file(self) -> TextIO:
        return self.stream if self.stream is not None else sys.stderr

    def msg(self, text: str) -> None:
        """Write one event; structlog calls this by the name of its level.

        Where nobody reads the log any more, or the disk is full, the service goes on without it.
        """
        file = self.file()
        with suppress(OSError):
            file.write(text + "\n")
            file.flush()

    debug = info = warning = error = critical = msg


_OUTPUT: Final = _Output()


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:  # noqa: A002  # its name
    """Say what is logged, and how; a service calls it once, as it starts.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least weighty that is logged.
        format: ``human``, ``json``, or ``auto``: human on a terminal, JSON otherwise.
        stream: standard error by default.
    """
    _OUTPUT.level, _OUTPUT.format, _OUTPUT.stream = level, format, stream
    if not logging.root.handlers:  # whoever embeds us may have said already where these go
        logging.root.addHandler(_LIBRARIES)


def get_logger(part: str) -> Any:
    """A logger for one part of mx10: ``debug``, ``info``, ``warning``, ``error`` and ``exception(event, **values)``.

    It may be made before ``configure`` is called, and follows it.

    Args:
        part: ``nameserver``, ``lab``: it stands in every line.
    """
    return structlog.wrap_logger(
        _OUTPUT,
        processors=[_drop_light, _add_time, structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        part=part,
    )


def lines() -> Callable[[str], None] | None:
    """Writes whole lines of JSON, for who makes many of them; None where they are for reading, or nobody wants any of
    everyday weight."""
    if _WEIGHTS["info"] < _WEIGHTS[_OUTPUT.level] or _is_readable():
        return None
    return _OUTPUT.msg


class _Libraries(logging.Handler):
    """What libraries log by Python's own logging, in our form. Limited: asyncio has a line for each client that goes at
    the wrong moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        second = int(time.monotonic())
        left_out = 0
        if second != self._second:
            left_out = max(0, self._told - _OF_LIBRARIES)
            self._second, self._told = second, 0
        self._told += 1
        if self._told > _OF_LIBRARIES:
            return
        values: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        if left_out:
            values["left_out_before"] = left_out
        tell = get_logger(record.name.partition(".")[0])
        (tell.error if record.levelno >= logging.ERROR else tell.warning)(record.getMessage(), **values)


_LIBRARIES: Final = _Libraries()


def _drop_light(_logger: object, method: str, event: Event) -> Event:
    if _WEIGHTS[method] < _WEIGHTS[_OUTPUT.level]:
        raise structlog.DropEvent
    event["level"] = method
    return event


def _render(logger: object, method: str, event: Event) -> str:
    return _human_line(event, colour=_OUTPUT.file().isatty()) if _is_readable() else _json_line(event)


def _is_readable() -> bool:
    return _OUTPUT.format == "human" or (_OUTPUT.format == "auto" and _OUTPUT.file().isatty())


def _add_time(_logger: object, _method: str, event: Event) -> Event:
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _json_line(event: Event) -> str:
    """``{"time": …, "level": …, "part": …, "event": …, …}``, in ASCII: a log may pass through anything."""
    first = {key: event.pop(key) for key in ("time", "level", "part", "event") if key in event}
    return json.dumps({**first, **event}, default=str)


def _human_line(event: Event, *, colour: bool) -> str:
    """``12:30:01 warning nameserver  worker died  worker=1 pid=4711``."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    # Indented, so that no line of it looks like an event.
    exception = "".join(f"\n    {_printable(text)}" for text in event.pop("exception", "").splitlines())
    time, level = str(event.pop("time"))[11:19], str(event.pop("level"))
    head = f"{time} {paint(f'{level:<7}', _COLOURS[level])} {event.pop('part', 'mx10')}"
    line = f"{head}  {_printable(str(event.pop('event', '')))}{_values(event, paint)}"
    return line + exception


def _values(event: Mapping[str, Any], paint: Callable[[str, str], str]) -> str:
    pairs = [f"{paint(key + '=', '2')}{_quoted(str(value))}" for key, value in event.items()]
    return "  " + " ".join(pairs) if pairs else ""


def _quoted(text: str) -> str:
    return _printable(text if text and " " not in text and '"' not in text else json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """Without control characters: what is logged may come from a stranger, and must neither forge a line nor drive a
    terminal.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
