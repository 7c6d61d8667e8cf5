"""The lab as dig sees it: each nameserver at its address, the recursive address, and the way down from the root."""

import shutil
import subprocess
from itertools import pairwise

import pytest

from mx10.config import ZoneSettings
from mx10.dns.wirename import to_text
from mx10.lab import ZONES
from mx10.lab.guide import examples
from mx10.lab.plan import ANSWER, all_addresses, make_plan
from mx10.lab.server import DELIBERATE
from mx10.zones.folder import ZoneFolder
from tests.cli.test_lab import running
from tests.conftest import cannot_run
from tests.lab.conftest import free_port

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def port() -> int:
    if not shutil.which("dig"):
        cannot_run("dig is not there: apt-get install bind9-dnsutils")
    return free_port()


def dig(port: int, address: str, *arguments: str) -> str:
    command = ["dig", f"@{address}", "-p", str(port), "+tries=1", "+time=4", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout


def test_each_nameserver_at_its_address(port: int) -> None:
    folder = ZoneFolder(ZONES, ZoneSettings(tolerate=DELIBERATE))
    folder.load()
    plan = make_plan(folder.zones)
    with running(port):
        for address in all_addresses(plan.places):
            place = plan.places[address]
            if place.manner != ANSWER and place.manner.name != "slow":
                continue
            for apex in place.zones:
                for protocol in ("+notcp", "+tcp"):
                    said = dig(port, address, "+norecurse", protocol, to_text(apex), "SOA")
                    assert "status: NOERROR" in said, said
                    assert " aa" in said, said
                    assert "ANSWER: 1" in said, said


def test_the_recursive_address(port: int) -> None:
    with running(port):
        said = dig(port, "127.53.0.53", "backup.example", "MX")
        assert "flags: qr rd ra;" in said
        assert "10 primary.backup.example." in said
        assert dig(port, "127.53.0.53", "+short", "-x", "127.25.1.1") == "mail.single.example.\n"
        failed = dig(port, "127.53.0.53", "lame.test", "MX")
        assert "status: SERVFAIL" in failed
        assert "EDE: 22 (No Reachable Authority)" in failed
        many = dig(port, "127.53.0.53", "many.test", "MX")
        assert "Truncated, retrying in TCP mode" in many
        assert "ANSWER: 40" in many
        for each in examples(ZONES):
            if each.domain.isascii() and each.kind == "usual":
                assert "MX" in dig(port, "127.53.0.53", each.domain, "MX", "+noall", "+answer"), each


@pytest.mark.parametrize(
    ("domain", "way"),
    [
        ("single.example", ["127.53.0.1", "127.53.1.3", "127.53.2.1"]),
        ("example.com", ["127.53.0.1", "127.53.1.5", "ns1.hosting.example."]),
        ("google.com", ["127.53.0.1", "127.53.1.5", "127.53.2.11"]),
    ],
)
def test_the_way_down_from_the_root(port: int, domain: str, way: list[str]) -> None:
    """Each server on the way points to the next: by its address, or by its name where it may not know the address."""
    with running(port):
        for here, there in pairwise(way):
            said = dig(port, here, "+norecurse", domain, "MX")
            assert "ANSWER: 0" in said
            assert " aa" not in said
            assert there in said
        if there[0].isdigit():
            assert "ANSWER: " in (said := dig(port, there, "+norecurse", domain, "MX"))
            assert " aa" in said
