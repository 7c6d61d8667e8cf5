"""``mx10 lookup`` beside dig, asking BIND over UDP, TCP, TLS and HTTPS: what both print is the same, to the letter."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mx10.cli import main
from peers import MissingPeerError, free_port
from peers.bind_encrypted import BindEncrypted
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers
Capture = pytest.CaptureFixture[str]

APEX = "encrypted.example"
ZONE = r"""
$ORIGIN encrypted.example.
$TTL 1h
@        SOA   ns hostmaster 2026010101 1h 15m 14d 5m
@        NS    ns
@        MX    20 mx2
@        MX    10 MX1
@        MX    10 mx.elsewhere.example.
@        TXT   "v=spf1 mx -all" "second \"string\" with \\ and \195\188"
@        TXT   ""
@        CAA   0 issue "ca.example.net; policy=ev"
@        HINFO "PC" "Linux 6"
ns       A     127.0.0.1
mx1      A     192.0.2.1
mx1      A     192.0.2.2
mx1      AAAA  2001:db8::1
mx2      AAAA  2001:db8:0:0:1::
mx2      SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
mx2      LOC   52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
_25._tcp.mx1 TLSA 3 1 1 0c72ac70b745ac19998811b131d662c9ac69dbdbe7cb23e5b514b56664c5d3d6
_smtp._tcp SRV 10 60 25 MX1
naptr    NAPTR 100 10 "S" "SIP+D2U" "!^.*$!sip:customer-service@example.com!" _sip._udp
uri      URI   10 1 "https://example.com/"
svc      HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1
child    NS    ns.child
child    DS    12345 13 2 49fd46e6c4b45c55d4ac69cbd3cd34ac1afe51de4b4ac1afe51de49fd46e6c4b
ns.child A     192.0.2.3
www      CNAME web
web      CNAME Host
host     A     192.0.2.4
dangling CNAME nothing
sub      DNAME tree
a.tree   MX    5 mx1
odd      TYPE65280 \# 4 C0000201
a\.b     A     192.0.2.5
sp\032ace TXT  "a label with a space"
rp       RP    admin.people text.people
afs      AFSDB 1 afs
big      TXT   "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
"""
BIG = "".join(f'big TXT "{number:03d} {"x" * 90}"\n' for number in range(40))
SIGNED = "signed.example"
SIGNED_ZONE = """
$ORIGIN signed.example.
$TTL 1h
@   SOA ns hostmaster 1 1h 15m 14d 5m
@   NS  ns
@   MX  10 mx
ns  A   127.0.0.1
mx  A   192.0.2.1
www CNAME mx
"""

QUESTIONS = [
    *((APEX, kind) for kind in ("SOA", "NS", "MX", "TXT", "CAA", "HINFO", "A", "SRV")),
    *((f"mx1.{APEX}", kind) for kind in ("A", "AAAA", "MX", "ANY")),
    *((f"mx2.{APEX}", kind) for kind in ("AAAA", "SSHFP", "LOC")),
    (f"_25._tcp.mx1.{APEX}", "TLSA"), (f"_smtp._tcp.{APEX}", "SRV"), (f"naptr.{APEX}", "NAPTR"), (f"uri.{APEX}", "URI"),
    (f"svc.{APEX}", "HTTPS"), (f"child.{APEX}", "DS"), (f"www.{APEX}", "A"), (f"WWW.{APEX}", "a"),
    (f"www.{APEX}", "CNAME"), (f"www.{APEX}", "MX"), (f"dangling.{APEX}", "MX"),
    (f"a.sub.{APEX}", "MX"), (f"sub.{APEX}", "DNAME"),
    (f"odd.{APEX}", "TYPE65280"), (f"a\\.b.{APEX}", "A"), (f"sp\\032ace.{APEX}", "TXT"), (f"rp.{APEX}", "RP"),
    (f"afs.{APEX}", "AFSDB"), (f"big.{APEX}", "TXT"), (f"nothing.{APEX}", "MX"), ("outside.test", "MX"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BindEncrypted]:
    for program, package in (("dig", "bind9-dnsutils"), ("dnssec-signzone", "bind9-utils"), ("openssl", "openssl")):
        if not shutil.which(program):
            cannot_run(f"{program} is not there: apt-get install {package}")
    folder = tmp_path_factory.mktemp("zones")
    (folder / f"{APEX}.zone").write_text(ZONE + BIG)
    (folder / f"{SIGNED}.zone").write_text(SIGNED_ZONE)
    sign(folder, tmp_path_factory.mktemp("keys"))
    try:
        with BindEncrypted(folder) as server:
            yield server
    except MissingPeerError as error:
        cannot_run(str(error))


def sign(folder: Path, keys: Path) -> None:
    """Sign the signed zone, in its place."""

    def order(*command: str) -> None:
        subprocess.run(command, cwd=keys, check=True, capture_output=True, timeout=30)

    order("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", SIGNED)
    order("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", SIGNED)
    file = str(folder / f"{SIGNED}.zone")
    order("dnssec-signzone", "-S", "-o", SIGNED, "-f", file, file)


def dig(bind: BindEncrypted, *arguments: str) -> list[str]:
    command = ["dig", f"@{bind.address}", "-p", str(bind.port), "+tries=1", "+time=4", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.splitlines()


def ours(capsys: Capture, *arguments: str) -> list[str]:
    capsys.readouterr()
    main(["lookup", *arguments])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("name", "kind"), QUESTIONS)
def test_short_is_what_dig_prints(bind: BindEncrypted, name: str, kind: str, capsys: Capture) -> None:
    expected = dig(bind, "+short", name, kind)
    assert ours(capsys, "--short", name, kind, f"@{bind.address}:{bind.port}") == expected


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind in QUESTIONS if kind != "ANY"])
def test_records_are_those_of_dig(bind: BindEncrypted, name: str, kind: str, capsys: Capture) -> None:
    """Owner, TTL, type and data of the record set; the aliases before it are in ``aliases``."""
    (found,) = map(json.loads, ours(capsys, "--json", name, kind, f"@{bind.address}:{bind.port}"))
    said = [line.split(None, 4) for line in dig(bind, "+noall", "+answer", name, kind)]
    expected = [(owner, int(ttl), kind, data) for owner, ttl, _, kind, data in said if kind == found["type"]]
    records = [(one["name"] + ".", one["ttl"], one["type"], one["data"]) for one in found["records"]]
    # Long data is in pieces there, and some of it in other letters; the test above sees to the form.
    assert [(*one[:3], plain(one[3])) for one in records] == [(*one[:3], plain(one[3])) for one in expected]
    status = next(line for line in dig(bind, name, kind) if "status:" in line)
    assert f"status: {found['rcode']}," in status


def plain(data: str) -> str:
    return data.lower().translate(dict.fromkeys(map(ord, ' "'))).replace(".00m", "m")


def test_reverse(bind: BindEncrypted, capsys: Capture) -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        expected = dig(bind, "-x", address)
        asked = next(line for line in expected if line.startswith(";") and "PTR" in line).split()[0].strip(";.")
        (found,) = map(json.loads, ours(capsys, "--json", address, f"@{bind.address}:{bind.port}"))
        assert (found["name"], found["type"]) == (asked, "PTR")


@pytest.mark.parametrize("way", ["--tcp", "--tls", "--https"])
@pytest.mark.parametrize("named", [True, False], ids=["hostname", "address"])
def test_every_transport(
    bind: BindEncrypted, way: str, named: bool, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(bind.certificate))
    port = {"--tcp": bind.port, "--tls": bind.tls_port, "--https": bind.https_port}[way]
    words = [way, f"@{bind.address}:{port}", *(["--tls-hostname", bind.hostname] if named and way != "--tcp" else [])]
    for name, kind in QUESTIONS:
        assert ours(capsys, "--short", name, kind, *words) == dig(bind, "+short", name, kind), (name, kind)


@pytest.mark.parametrize(("way", "dig_way"), [("--tls", "+tls"), ("--https", "+https")])
def test_as_dig_asks(bind: BindEncrypted, way: str, dig_way: str, capsys: Capture) -> None:
    """dig can do both too; it checks no certificate unless told to."""
    port = bind.tls_port if way == "--tls" else bind.https_port
    command = ["dig", f"@{bind.address}", "-p", str(port), dig_way, "+short", APEX, "MX"]
    expected = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    assert expected
    assert ours(capsys, "--short", APEX, way, "--insecure", f"@{bind.address}:{port}") == expected


@pytest.mark.parametrize("way", ["--tls", "--https"])
@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_certificate_that_cannot_be_believed(
    bind: BindEncrypted, way: str, wrong: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [APEX, way, f"@{bind.address}:{bind.tls_port if way == '--tls' else bind.https_port}"]
    if wrong == "name":
        monkeypatch.setenv("SSL_CERT_FILE", str(bind.certificate))
        words += ["--tls-hostname", "other.example"]
    assert main(["lookup", *words]) == 3
    assert "its certificate cannot be believed" in capsys.readouterr().out


def test_another_path(bind: BindEncrypted, capsys: Capture) -> None:
    words = ["--https", "--insecure", "--https-path", "/other", f"@{bind.address}:{bind.https_port}"]
    assert main(["lookup", APEX, *words]) == 3
    assert "HTTP status 404" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind"), [(SIGNED, "MX"), (f"www.{SIGNED}", "A"), (SIGNED, "DNSKEY"), (SIGNED, "RRSIG"), (SIGNED, "NSEC")]
)
def test_signatures(bind: BindEncrypted, name: str, kind: str, capsys: Capture) -> None:
    server = f"@{bind.address}:{bind.port}"
    assert ours(capsys, "--short", name, kind, server, "--dnssec") == dig(bind, "+short", "+dnssec", name, kind)
    assert ours(capsys, "--short", name, kind, server) == dig(bind, "+short", name, kind)


def test_signatures_of_an_absence(bind: BindEncrypted, capsys: Capture) -> None:
    (found,) = map(json.loads, ours(capsys, "--json", "--dnssec", f"no.{SIGNED}", f"@{bind.address}:{bind.port}"))
    assert found["status"] == "nxdomain"
    assert {one["data"].split()[0] for one in found["signatures"]} == {"SOA", "NSEC"}
    text = "\n".join(ours(capsys, "--dnssec", SIGNED, f"@{bind.address}:{bind.port}"))
    assert f"MX signed by {SIGNED}, key " in text
    assert "not authenticated" in text


def test_nobody_at_the_port(bind: BindEncrypted, capsys: Capture) -> None:
    assert main(["lookup", APEX, f"@{bind.address}:{free_port()}"]) == 3
    assert "Connection refused" in capsys.readouterr().out
