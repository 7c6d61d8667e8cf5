"""The log: one line an event, for people or for programs, that nobody outside can forge."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from mx10.logs import configure, get_logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    configure()


def test_json_where_no_terminal_is() -> None:
    out = io.StringIO()
    log = get_logger("nameserver")
    configure(stream=out)
    log.info("worker ready", worker=1, listening=["127.0.0.1:53"])
    event = json.loads(out.getvalue())
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "part": "nameserver",
        "event": "worker ready",
        "worker": 1,
        "listening": ["127.0.0.1:53"],
    }


def test_readable_and_coloured_on_a_terminal() -> None:
    out = Terminal()
    configure(stream=out)
    get_logger("nameserver").warning("worker died", worker=1, cause="signal 9")
    assert "\x1b[33mwarning\x1b[0m nameserver  worker died" in out.getvalue()


def test_readable_without_colours() -> None:
    out = io.StringIO()
    configure("debug", "human", out)
    get_logger("lab").debug("zone loaded", zone="münchen.example", cause="signal 9", empty="")
    assert out.getvalue()[9:] == 'debug   lab  zone loaded  zone=münchen.example cause="signal 9" empty=""\n'


def test_less_weighty_events_are_left_out() -> None:
    out = io.StringIO()
    configure("warning", "json", out)
    get_logger("lab").info("no")
    get_logger("lab").error("yes")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["yes"]


@pytest.mark.parametrize("format_", ["human", "json"])
def test_what_strangers_send_makes_no_line_and_moves_no_cursor(format_: str) -> None:
    out = io.StringIO()
    configure("info", format_, out)
    get_logger("nameserver").info("bad\nline\x1b[2J", name="a\nb c\x9b31m", other="\u202e\udcff")
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()


@pytest.mark.parametrize("format_", ["human", "json"])
def test_exceptions_are_told(format_: str) -> None:
    out = io.StringIO()
    configure("info", format_, out)
    try:
        raise ValueError("this one")
    except ValueError:
        get_logger("nameserver").exception("worker failed")
    assert "ValueError: this one" in out.getvalue()


def test_standard_error_as_it_is_when_something_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    get_logger("lab").info("here")
    assert json.loads(capsys.readouterr().err)["event"] == "here"


def test_the_log_of_a_program_that_embeds_us_is_left_alone() -> None:
    configure(stream=io.StringIO())
    get_logger("lab").info("here")
    assert not structlog.is_configured()


def test_what_libraries_log_is_in_our_form_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("mx10.logs.time.monotonic", lambda: now)
    monkeypatch.setattr(logging.root, "handlers", [])
    out = io.StringIO()
    configure(stream=out)
    configure(stream=out)
    for _ in range(50):
        logging.getLogger("asyncio").warning("socket.send() raised %s.", "exception")
    now = 1001.0
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("asyncio").exception("a callback failed")
    *flood, last = map(json.loads, out.getvalue().splitlines())
    assert len(flood) == 20
    assert (flood[0]["part"], flood[0]["event"]) == ("asyncio", "socket.send() raised exception.")
    assert (last["level"], last["left_out_before"], "ValueError" in last["exception"]) == ("error", 30, True)


def test_a_log_that_nobody_reads_stops_no_service() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w", encoding="utf-8") as gone:
        configure(stream=gone)
        get_logger("test").info("nobody hears this")
