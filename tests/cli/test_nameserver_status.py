"""``mx10 nameserver status``, with a desk in a thread."""

import argparse
import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.cli.context import Context
from mx10.cli.nameserver import status
from mx10.cli.text import Style
from mx10.config import Config, NameserverSettings
from mx10.nameserver import overview
from mx10.nameserver.counters import Counters
from mx10.nameserver.desk import Desk
from mx10.nameserver.steward import Household


def context(folder: Path, workers: int = 1) -> Context:
    settings = replace(NameserverSettings(), run_dir=folder, workers=workers)
    return Context(Config(nameserver=settings), {}, None, False, Style(False))


def run(here: Context, *argv: str) -> int:
    parser = argparse.ArgumentParser()
    status.configure(parser)
    return status.run(parser.parse_args(argv), here)


def until_there(path: Path) -> None:
    """Wait for a desk that opens."""
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Context]]:
    """``serving(workers=2)``: a desk to which one worker reported."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    done = asyncio.Event()
    tasks: list[Future[None]] = []

    def start(workers: int = 1) -> Context:
        here = context(tmp_path, workers)
        household = Household(here.config, Desk(dict), {b"\7example\0": b""})
        household.tally.sums("transfers_out", "x", "outcome", lambda: {"axfr": 2, "ixfr": 0})
        seen = overview.plug_in(household)
        seen.take(json.dumps(Counters().report(0, (12, 3400), 0) | {"udp": 1234}).encode())
        tasks.append(asyncio.run_coroutine_threadsafe(household.run(tmp_path / "mx10.sock", done.wait()), loop))
        until_there(tmp_path / "mx10.sock")
        return here

    yield start
    loop.call_soon_threadsafe(done.set)
    for task in tasks:
        task.result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def test_as_text(serving: Callable[..., Context], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(serving()) == 0
    out = capsys.readouterr().out
    assert out.startswith("mx10 0.")
    assert "1,234" in out
    assert str(os.getpid()) in out
    assert "zones from files: 1" in out
    assert "no store" in out


def test_as_json_and_a_missing_worker(serving: Callable[..., Context], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(serving(workers=2), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["workers_configured"] == 2
    (worker,) = found["workers"]
    assert (worker["questions"], worker["cache_entries"]) == (1234, 12)
    assert found["services"]["transfers_out"] == {"axfr": 2, "ixfr": 0}


def test_no_server_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(context(tmp_path)) == 3
    assert "start `mx10 serve`" in capsys.readouterr().err
    (tmp_path / "mx10.sock").write_text("no socket")
    assert run(context(tmp_path)) == 3
    assert "no server answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (273_600, "3 d 4 h")]
)
def test_times(seconds: float, text: str) -> None:
    assert status._time(seconds) == text
