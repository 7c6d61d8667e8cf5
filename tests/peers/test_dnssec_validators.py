"""What we sign and answer, before those who believe nothing: Unbound, BIND and delv validate every kind of answer,
under a trust anchor of ours.

Our server has all zones; the validators ask nobody else.
"""

import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.zones.dnssec import keys as dnskeys
from mx10.zones.dnssec.policy import Denial
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.text import to_text
from mx10.zones.zone import Zone
from peers import MissingPeerError, Mx10, NoAnswerError, ask, ask_tcp, question
from peers.asking import rcode_and_aa
from peers.bind import Bind
from peers.server import Server, find_program
from peers.unbound import Unbound
from tests.conftest import cannot_run
from tests.zones.dnssec.shapes import arrangement, key_set, zone_from

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

PLAIN = """\
www A 192.0.2.2
@ MX 10 mail
mail A 192.0.2.3
a.b.ent TXT "below names without records"
*.wild TXT "wild"
host.wild A 192.0.2.4
*.cw CNAME www
alias CNAME www
dangling CNAME nothing
old DNAME new
x.new A 192.0.2.5
away CNAME www.plain.test.
plain NS ns1
secure NS ns1
secure DS 12345 13 2 {fake}
deep.unsigned NS ns1
"""
SIGNED: dict[str, tuple[int, Denial]] = {
    "nsec.test": (13, "nsec"),
    "nsec3.test": (13, "nsec3"),
    "optout.test": (13, "nsec3-opt-out"),
    "ed25519.test": (15, "nsec3"),
    "rsa.test": (8, "nsec"),
}
QUESTIONS = [
    ("www", "A", "NOERROR"),
    ("@", "MX", "NOERROR"),
    ("@", "DNSKEY", "NOERROR"),
    ("@", "SOA", "NOERROR"),
    ("www", "MX", "NOERROR"),
    ("nothing", "A", "NXDOMAIN"),
    ("a.b.nothing", "A", "NXDOMAIN"),
    ("zzz", "TXT", "NXDOMAIN"),
    ("b.ent", "A", "NOERROR"),
    ("ent", "TXT", "NOERROR"),
    ("x.b.ent", "TXT", "NXDOMAIN"),
    ("x.wild", "TXT", "NOERROR"),
    ("x.y.wild", "TXT", "NOERROR"),
    ("x.wild", "MX", "NOERROR"),
    ("x.host.wild", "TXT", "NXDOMAIN"),
    ("x.cw", "A", "NOERROR"),
    ("alias", "A", "NOERROR"),
    ("alias", "MX", "NOERROR"),
    ("dangling", "A", "NXDOMAIN"),
    ("x.old", "A", "NOERROR"),
    ("y.old", "A", "NXDOMAIN"),
    ("secure", "DS", "NOERROR"),
    ("old", "DNAME", "NOERROR"),
]
OPEN_UNDER_OPT_OUT = {
    "nothing", "a.b.nothing", "zzz", "x.b.ent", "x.host.wild", "dangling", "y.old", "x.wild", "x.y.wild", "x.cw",
}  # fmt: skip
"""Names whose absence opt-out leaves open: there might be insecure delegations (RFC 5155 section 9.2: no AD bit)."""
NUMBERS = {
    "A": rr.A, "MX": rr.MX, "TXT": rr.TXT, "DNSKEY": rr.DNSKEY, "SOA": rr.SOA, "DS": rr.DS, "DNAME": rr.DNAME,
}  # fmt: skip


def signed(text: str, name: str, algorithm: int, denial: Denial) -> Zone:
    zone = zone_from(text, name + ".")
    return sign_zone(zone, arrangement(algorithm, "csk", denial), int(time.time()), random.Random(1).random)


def ds_lines(name: str, algorithm: int) -> str:
    [dnskey] = key_set(algorithm, "csk").publish
    digest = dnskeys.ds(from_text(name + "."), dnskey)
    return f"{name}. DS {rdata.to_text(rr.DS, digest)}\n"


def tampered(text: str) -> str:
    """One address in the zone is another than the one that was signed."""
    assert "192.0.2.2\n" in text
    return text.replace("192.0.2.2\n", "192.0.2.222\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mx10]:
    folder: Path = tmp_path_factory.mktemp("zones")
    fake = "ab" * 32
    top = ""
    for name, (algorithm, denial) in SIGNED.items():
        (folder / f"{name}.zone").write_text(to_text(signed(PLAIN.format(fake=fake), name, algorithm, denial)))
        top += f"{name}. NS ns1\n" + ds_lines(name, algorithm)
    bogus = signed(PLAIN.format(fake=fake), "bogus.test", 13, "nsec")
    (folder / "bogus.test.zone").write_text(tampered(to_text(bogus)))
    top += "bogus.test. NS ns1\n" + ds_lines("bogus.test", 13)
    (folder / "plain.test.zone").write_text(to_text(zone_from("www A 192.0.2.9\n", "plain.test.")))
    for name in SIGNED:
        (folder / f"plain.{name}.zone").write_text(to_text(zone_from("www A 192.0.2.9\n", f"plain.{name}.")))
        (folder / f"deep.unsigned.{name}.zone").write_text(
            to_text(zone_from("www A 192.0.2.9\n", f"deep.unsigned.{name}."))
        )
    top += "plain.test. NS ns1\n"
    (folder / "test.zone").write_text(to_text(signed(top, "test", 13, "nsec3")))
    with Mx10(folder) as running:
        yield running


def trust_anchor() -> str:
    """The key of ``test.`` as a DNSKEY record."""
    [dnskey] = key_set(13, "csk").publish
    return rdata.to_text(rr.DNSKEY, dnskey)


class ValidatingUnbound(Unbound):
    """Unbound that validates, and asks our server for everything below ``test.``."""

    def __init__(self, folder: Path, upstream: Server) -> None:
        super().__init__(folder, wait_for=["nsec.test"])
        self.upstream = upstream

    def configure(self) -> None:
        super().configure()
        path = self.work / "unbound.conf"
        text = path.read_text().replace('module-config: "iterator"', 'module-config: "validator iterator"')
        anchor = f'  trust-anchor: "test. DNSKEY {trust_anchor()}"\n  do-not-query-localhost: no\n'
        anchor += '  local-zone: "test." nodefault\n  ede: yes\n  aggressive-nsec: no\n'
        text = text.replace("remote-control:", anchor + "remote-control:")
        for file in self.upstream.files:
            text += (
                f'stub-zone:\n  name: "{file.absolute}"\n  stub-addr: {self.upstream.address}@{self.upstream.port}\n'
            )
        path.write_text(text)


class ValidatingBind(Bind):
    """BIND that validates, and asks our server for everything below ``test.``."""

    def __init__(self, folder: Path, upstream: Server) -> None:
        super().__init__(folder, wait_for=["nsec.test"])
        self.upstream = upstream

    def configure(self) -> None:
        super().configure()
        path = self.work / "named.conf"
        text = path.read_text().replace("recursion no;", "recursion yes; allow-recursion { 127.0.0.1; };")
        text = text.replace("dnssec-validation no;", "dnssec-validation yes;")
        text += f'zone "test" {{ type forward; forward only; forwarders {{ {self.upstream.address} port '
        text += f"{self.upstream.port}; }}; }};\n"
        flags, protocol, algorithm, *key = trust_anchor().split()
        text += f'trust-anchors {{ "test." static-key {flags} {protocol} {algorithm} "{"".join(key)}"; }};\n'
        path.write_text(text)

    def answers(self, wire: bytes, timeout: float = 0.5) -> bool:
        """Whether it finds something out: it has no zone of its own."""
        wire = wire[:2] + b"\1\0" + wire[4:]
        try:
            return rcode_and_aa(ask(self.address, self.port, wire, timeout=timeout))[0] == 0
        except NoAnswerError:
            return False


def absolute(owner: str, zone: str) -> str:
    return zone if owner == "@" else f"{owner}.{zone}"


def resolved(resolver: Server, name: str, rrtype: str) -> dns.message.Message:
    wire = question(name, NUMBERS[rrtype], ident=9, flags=0x0120, payload=1232, do=True)
    return dns.message.from_wire(ask_tcp(resolver.address, resolver.port, wire, timeout=8))


@pytest.fixture(scope="module", params=[ValidatingUnbound, ValidatingBind], ids=["unbound", "bind"])
def resolver(
    server: Mx10, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    try:
        with request.param(tmp_path_factory.mktemp("none"), server) as running:
            yield running
    except MissingPeerError as error:
        cannot_run(str(error))


@pytest.mark.parametrize("zone", SIGNED)
def test_resolvers_take_every_kind_of_answer_for_secure(resolver: Server, zone: str) -> None:
    wrong = []
    for owner, rrtype, rcode in QUESTIONS:
        answer = resolved(resolver, absolute(owner, zone), rrtype)
        secure = bool(answer.flags & dns.flags.AD)
        opted_out = zone == "optout.test" and owner in OPEN_UNDER_OPT_OUT
        if dns.rcode.to_text(answer.rcode()) != rcode or not (secure or opted_out):
            wrong.append(f"{owner} {rrtype}:\n{answer}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("zone", SIGNED)
@pytest.mark.parametrize("owner", ["www.plain", "www.deep.unsigned", "away"])
def test_resolvers_take_insecure_delegations_for_insecure(resolver: Server, zone: str, owner: str) -> None:
    answer = resolved(resolver, absolute(owner, zone), "A")
    assert answer.rcode() == dns.rcode.NOERROR, answer
    assert answer.answer
    assert not answer.flags & dns.flags.AD


def test_resolvers_see_what_was_tampered_with(resolver: Server) -> None:
    assert resolved(resolver, "www.bogus.test", "A").rcode() == dns.rcode.SERVFAIL
    assert resolved(resolver, "mail.bogus.test", "A").flags & dns.flags.AD


def delv(server: Server, folder: Path, name: str, rrtype: str) -> str:
    """What delv prints: it asks our server itself, for keys and DS sets too."""
    flags, protocol, algorithm, *key = trust_anchor().split()
    anchor = folder / "anchor"
    anchor.write_text(f'trust-anchors {{ "test." static-key {flags} {protocol} {algorithm} "{"".join(key)}"; }};\n')
    command = [
        find_program("delv", "bind9-dnsutils"), f"@{server.address}", "-p", str(server.port), "-a", str(anchor),
        "+root=test", name, rrtype,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("zone", SIGNED)
def test_delv_validates_fully(server: Server, tmp_path: Path, zone: str) -> None:
    wrong = []
    for owner, rrtype, _ in QUESTIONS:
        said = delv(server, tmp_path, absolute(owner, zone), rrtype)
        verdicts = set(re.findall(r"^; (?:negative response, )?(fully validated|unsigned answer)$", said, re.MULTILINE))
        good = {"fully validated"}
        if zone == "optout.test" and owner in OPEN_UNDER_OPT_OUT:
            good.add("unsigned answer")
        if not verdicts or not verdicts <= good:
            wrong.append(f"{owner} {rrtype}: {said}")
    assert not wrong, "\n".join(wrong)


def test_delv_sees_what_is_not_signed_and_what_was_tampered_with(server: Server, tmp_path: Path) -> None:
    assert "unsigned answer" in delv(server, tmp_path, "www.plain.nsec.test", "A")
    assert "unsigned answer" in delv(server, tmp_path, "www.plain.optout.test", "A")
    assert "resolution failed" in delv(server, tmp_path, "www.bogus.test", "A")
