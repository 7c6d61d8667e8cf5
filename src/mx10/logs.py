"""The log, on standard error: for reading on a terminal, as JSON objects otherwise.

structlog does it, and only here. It was chosen because an event is a value, its parts named, until the last moment:
the same call reads well and can be searched. Only services log; a command that answers and ends prints.
"""

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import structlog

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}

Event = MutableMapping[str, Any]


def get_logger(part: str) -> Any:
    """A logger for one part of mx10, with ``debug``, ``info``, ``warning``, ``error`` and ``exception(event,
    **values)``.

    It may be made before ``configure`` is called, and then follows it.

    Args:
        part: ``nameserver``, ``lab``: it stands in every line.
    """
    return structlog.get_logger(part=part)


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:  # noqa: A002  # the setting's name
    """Say what is logged, and how; a service calls it once, as it starts.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least weighty that is logged.
        format: ``human``, ``json``, or ``auto``: human on a terminal, JSON otherwise.
        stream: standard error by default.
    """
    out = stream if stream is not None else sys.stderr
    readable = format == "human" or (format == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_time,
            structlog.processors.format_exc_info,
            _Human(colour=out.isatty()) if readable else _json_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _add_time(_logger: object, _method: str, event: Event) -> Event:
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _json_line(_logger: object, _method: str, event: Event) -> str:
    """``{"time": …, "level": …, "part": …, "event": …, …}``, in ASCII: a log may pass through anything."""
    first = {key: event.pop(key) for key in ("time", "level", "part", "event") if key in event}
    return json.dumps({**first, **event}, default=str)


class _Human:
    """``12:30:01 warning nameserver  worker died  worker=1 pid=4711``."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _logger: object, _method: str, event: Event) -> str:
        exception = event.pop("exception", "")
        time, level = str(event.pop("time"))[11:19], str(event.pop("level"))
        head = f"{time} {self._paint(f'{level:<7}', _COLOURS.get(level, '0'))} {event.pop('part', 'mx10')}"
        line = f"{head}  {_printable(str(event.pop('event', '')))}{_values(event, self._paint)}"
        return f"{line}\n{exception}" if exception else line

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _values(event: Mapping[str, Any], paint: Any) -> str:
    pairs = [f"{paint(key + '=', '2')}{_quoted(str(value))}" for key, value in event.items()]
    return "  " + " ".join(pairs) if pairs else ""


def _quoted(text: str) -> str:
    return _printable(text if text and " " not in text and '"' not in text else json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """Without control characters: what is logged may come from a stranger, and must neither forge a line nor drive a
    terminal.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
