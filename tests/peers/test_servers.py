"""The peers themselves: each starts, answers for its zones, sees a changed zone, and leaves nothing behind."""

import time
from pathlib import Path

import pytest

from peers import (
    AUTHORITATIVE,
    Echo,
    MissingPeerError,
    Mx10,
    NoAnswerError,
    PeerError,
    Server,
    ask,
    ask_many,
    ask_tcp,
    question,
)
from peers.asking import serial_of
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

ZONE = "$TTL 60\n@ SOA ns1 host {serial} 7200 3600 1209600 300\n@ NS ns1\n@ MX 10 mx\nns1 A 192.0.2.1\nmx A 192.0.2.2\n"


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    """A folder with two zones."""
    folder = tmp_path / "zones"
    folder.mkdir()
    for name in ("one.example", "two.example"):
        (folder / f"{name}.zone").write_text(ZONE.format(serial=1))
    return folder


def started(kind: type[Server], zones: Path) -> Server:
    """A server that answers; the test ends here if it is not installed."""
    try:
        return kind(zones).start()
    except MissingPeerError as error:
        cannot_run(str(error))


@pytest.mark.parametrize("kind", [*AUTHORITATIVE, Mx10], ids=lambda kind: kind.name)
def test_a_server_answers_reloads_and_is_gone(kind: type[Server], zones: Path) -> None:
    with started(kind, zones) as server:
        wire = question("one.example", "SOA", ident=7, payload=1232)
        assert serial_of(ask(server.address, server.port, wire)) == 1
        assert serial_of(ask_tcp(server.address, server.port, wire)) == 1
        assert all(ask_many(server.address, server.port, [question("one.example", "MX")] * 100))
        assert server.memory() > 1 << 20
        assert server.cpu_seconds() > 0
        assert any(digit in server.version() for digit in "0123456789")
        (zones / "one.example.zone").write_text(ZONE.format(serial=2))
        server.reload("one.example")
        deadline = time.monotonic() + 10
        while serial_of(ask(server.address, server.port, wire)) != 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        processes = server.processes()
        work = server.work
        assert processes
    assert not [number for number in processes if _runs(number)]
    assert not work.exists()
    with pytest.raises(NoAnswerError):
        ask(server.address, server.port, wire, timeout=0.2)


def test_the_echo_gives_back_what_it_got(zones: Path) -> None:
    with started(Echo, zones) as server:
        answer = ask(server.address, server.port, question("one.example", "MX", ident=9))
    assert answer[12:] == question("one.example", "MX")[12:]
    assert answer[2] & 0x80


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.example.zone").write_text("this is no zone\n")
    server = AUTHORITATIVE[0](tmp_path, limit=1.0)
    try:
        with pytest.raises((PeerError, MissingPeerError), match=r"broken\.example|apt-get"):
            server.start()
    finally:
        server.stop()


def test_a_missing_server_names_its_package(zones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(MissingPeerError, match="apt-get install nsd"):
        AUTHORITATIVE[0](zones).start()


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
