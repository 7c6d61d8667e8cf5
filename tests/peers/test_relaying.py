"""Mail through a relay, from smtp-source to a host that puts some off and refuses some: mx10's, and Postfix, which the
benchmarks set beside it. Each of both ends of the benchmarks is tested by the way."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.common import compiled
from peers.mx10_relaying import RelayingMx10
from peers.postfix_relaying import RelayingPostfix
from peers.relaying import Relay
from peers.server import find_program, free_port
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

MESSAGES = 100


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    for program, package in (("postfix", "postfix"), ("smtp-source", "postfix"), ("gcc", "gcc libc6-dev")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            cannot_run(f"{program} is not installed: apt-get install {package}")
    if os.geteuid() != 0:
        cannot_run("Postfix starts only as root")


@pytest.fixture
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    with request.param(free_port()) as started:
        yield started


@pytest.mark.parametrize("relay", [RelayingPostfix, RelayingMx10], indirect=True)
@pytest.mark.parametrize("timed", [False, True])
def test_all_go_on_and_the_refused_are_reported(relay: Relay, timed: bool, tmp_path: Path) -> None:
    sink = [str(compiled(tmp_path, "sink")), str(relay.next_hop), str(MESSAGES)]
    with subprocess.Popen(sink, stdout=subprocess.PIPE, text=True) as taking:
        try:
            if timed:
                mailer = str(compiled(tmp_path, "mailer"))
                said = _output(mailer, str(relay.port), str(MESSAGES), "5", "4096")
                times = json.loads(said)
                assert 0 < times["p50"] <= times["p99"] <= times["max"]
            else:
                ends = ["-f", "sender@bench.test", "-t", "@example.org", f"127.0.0.1:{relay.port}"]
                _output(find_program("smtp-source", "postfix"), "-N", "-d", "-s", "5", "-m", str(MESSAGES), *ends)
            counted, _ = taking.communicate(timeout=60)
        finally:
            taking.kill()
    assert json.loads(counted) == {"accepted": 88, "put_off": 10, "refused": 2, "reports": 2}
    used = relay.usage()
    assert used.seconds > 0
    assert used.memory > 1 << 20


def test_a_relay_without_a_nameserver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There are zones, but nobody is to ask for them.
    monkeypatch.setenv("MX10_NAMESERVER__ZONE_DIR", str(tmp_path))
    monkeypatch.setenv("MX10_NAMESERVER__LISTEN", "[]")
    with RelayingMx10(free_port()) as relay:
        _output(find_program("smtp-source", "postfix"), "-m", "1", "-t", "ada@example.org", f"127.0.0.1:{relay.port}")
        assert "worker ready" not in (relay.work / "log").read_text()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
