"""``mx10 lookup`` through a resolver, Unbound, over UDP, TCP and TLS: what it says of data and of absences is what dig
sees.

Its absences come in two kinds: what it looked up without authority and with an SOA record, its own data with authority
and without one. Neither may be taken for the emptiness of a lame server, which has none of both. Absences with neither,
believed for the RA bit alone, Unbound does not give: tests/resolver/test_forwarder.py has them.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mx10.cli import main
from peers import MissingPeerError
from peers.unbound import Unbound
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers
Capture = pytest.CaptureFixture[str]

ZONE = """
$ORIGIN resolved.example.
$TTL 1h
@       SOA   ns hostmaster 1 1h 15m 14d 5m
@       NS    ns
@       MX    10 mx1
@       MX    20 mx2
ns      A     127.0.0.1
mx1     A     192.0.2.1
mx1     AAAA  2001:db8::1
mx2     A     192.0.2.2
www     CNAME web
web     CNAME mx1
dangle  CNAME nothing
old     DNAME new
a.new   MX    5 mx1
*.wild  MX    7 mx2
a.b.ent A     192.0.2.3
"""


class Resolver(Unbound):
    """With data of its own: absences without SOA records."""

    settings = (
        'local-zone: "local.example." static',
        'local-data: "local.example. MX 10 mx.local.example."',
        'local-zone: "nodata.example." always_nodata',
        'local-zone: "nxdomain.example." always_nxdomain',
        'local-zone: "refused.example." refuse',
    )


APEX = "resolved.example"
QUESTIONS = [
    *((APEX, kind) for kind in ("MX", "A", "SOA", "TXT")),
    *((f"mx1.{APEX}", kind) for kind in ("A", "AAAA", "MX")),
    *((f"www.{APEX}", kind) for kind in ("A", "AAAA", "MX", "CNAME")),
    *((f"{name}.{APEX}", "MX") for name in ("dangle", "a.old", "x.old", "old", "x.wild", "wild", "b.ent", "nothing")),
    *(("local.example", kind) for kind in ("MX", "A", "AAAA")),
    ("x.local.example", "MX"),
    ("nodata.example", "MX"),
    ("nxdomain.example", "MX"),
    ("refused.example", "MX"),
]
RESULTS = {("NOERROR", True): "ok", ("NOERROR", False): "nodata", ("NXDOMAIN", False): "nxdomain"}


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    if not shutil.which("dig"):
        cannot_run("dig is not there: apt-get install bind9-dnsutils")
    folder: Path = tmp_path_factory.mktemp("zones")
    (folder / f"{APEX}.zone").write_text(ZONE)
    try:
        with Resolver(folder) as server:
            yield server
    except MissingPeerError as error:
        cannot_run(str(error))


def dig(unbound: Unbound, *arguments: str) -> list[str]:
    command = ["dig", f"@{unbound.address}", "-p", str(unbound.port), "+tries=1", "+time=4", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("way", ["", "--tcp", "--tls"])
def test_as_dig_sees_it(unbound: Unbound, way: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(unbound.certificate))
    port = unbound.tls_port if way == "--tls" else unbound.port
    words = [f"@{unbound.address}:{port}", *([way] if way else [])]
    words += ["--tls-hostname", unbound.hostname] if way == "--tls" else []
    for name, kind in QUESTIONS:
        main(["lookup", "--short", name, kind, *words])
        short = dig(unbound, "+short", name, kind)
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(short), (name, kind)
        main(["lookup", "--json", name, kind, *words])
        found = json.loads(capsys.readouterr().out)
        status = next(line for line in dig(unbound, name, kind) if "status:" in line).split("status: ")[1].split(",")[0]
        answer = dig(unbound, "+noall", "+answer", name, kind)
        has_data = any(line.split()[3] == kind for line in answer)
        assert found["status"] == RESULTS.get((status, has_data), "failure"), (name, kind, found)
        assert found["rcode"] == status


def test_exchangers_have_their_addresses(unbound: Unbound, capsys: Capture) -> None:
    assert main(["lookup", "--json", APEX, f"@{unbound.address}:{unbound.port}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["addresses"]) for one in found["exchangers"]] == [
        (f"mx1.{APEX}", ["192.0.2.1", "2001:db8::1"]),
        (f"mx2.{APEX}", ["192.0.2.2"]),
    ]
