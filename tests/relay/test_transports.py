"""Ways that somebody chose: how they are written, whom they are for, and what is wrong with those that are wrong."""

from pathlib import Path

import pytest

from mx10.dns.message import Record
from mx10.dns.rrtypes import AAAA, A
from mx10.relay.courier.transports import (
    Kind,
    Transport,
    TransportError,
    addresses_of,
    parse_transports,
    plan_for_transport,
    read_secret,
)
from mx10.relay.courier.values import TlsPolicy
from mx10.resolver.answer import Answer, Status
from mx10.routing import Result


def one(way: str) -> Transport:
    found = parse_transports([f"* {way}"]).of("example.org")
    assert found is not None
    return found


def test_the_closest_rule_counts() -> None:
    rules = parse_transports(
        [
            "* smtp://smarthost.example:587",
            ".example.org smtp://192.0.2.1",
            "a.example.org smtp://192.0.2.2",
            ".b.example.org smtp://192.0.2.3",
            "[192.0.2.9] mx:",
        ]
    )
    assert [
        getattr(rules.of(domain), "host", None) for domain in ("a.example.org", "x.b.example.org", "b.example.org")
    ] == [
        "192.0.2.2",
        "192.0.2.3",
        "192.0.2.1",
    ]
    assert getattr(rules.of("example.org"), "host", None) == "smarthost.example"
    assert getattr(rules.of("[192.0.2.9]"), "kind", None) is Kind.MX
    assert parse_transports([]).of("example.org") is None


def test_a_domain_in_any_script() -> None:
    assert parse_transports(["bücher.example smtp://192.0.2.1"]).of("xn--bcher-kva.example") is not None


def test_a_smarthost() -> None:
    found = one("smtp://Mail.Example.net:587 tls=verified credentials=/etc/mx10/smarthost")
    assert (found.kind, found.host, found.port, found.tls) == (Kind.SMTP, "mail.example.net", 587, TlsPolicy.VERIFIED)
    assert found.credentials == Path("/etc/mx10/smarthost")


def test_defaults() -> None:
    assert (one("smtp://mail.example").port, one("smtp://mail.example").tls) == (25, TlsPolicy.OPPORTUNISTIC)
    found = one("smtps://mail.example")
    assert (found.port, found.tls, found.implicit_tls) == (465, TlsPolicy.VERIFIED, True)
    assert one("smtp://mail.example credentials=/x").tls is TlsPolicy.VERIFIED
    assert one("smtp://[2001:db8::1]:2525").host == "2001:db8::1"
    assert (one("mx:").kind, one("mx:").host) == (Kind.MX, "")
    assert one("mx:hub.example tls=encrypted").host == "hub.example"


def test_another_policy_is_another_next_hop() -> None:
    """Connections are shared by key: one in the clear must not serve who demands TLS."""
    assert one("smtp://mail.example").key != one("smtp://mail.example tls=encrypted").key


def test_ways_without_smtp() -> None:
    found = one("lmtp:/run/lmtp")
    assert (found.kind, found.path, found.tls) == (Kind.LMTP, "/run/lmtp", TlsPolicy.NEVER)
    assert (one("lmtp://127.0.0.1:2424").kind, one("lmtp://127.0.0.1:2424").port) == (Kind.LMTP, 2424)
    assert one("maildir:/var/mail/{domain}/{local}").kind is Kind.MAILDIR
    found = one("https://hooks.example/in?token=hunter2 secret=/etc/hook")
    assert (found.kind, found.url, found.secret) == (
        Kind.WEBHOOK,
        "https://hooks.example/in?token=hunter2",
        Path("/etc/hook"),
    )
    assert "hunter2" not in found.key


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("example.org", "write a domain and a way"),
        ("exa mple smtp://x.example", "is no way"),
        ("* gopher://x.example", "is no way"),
        ("* smtp://", "write mail.example.net:587"),
        ("* smtp://mail.example:99999", "is no host with a port"),
        ("* smtp://user:secret@mail.example", "credentials="),
        ("* smtp://mail.example/path", "is no host with a port"),
        ("* smtp://mail.example tls=maybe", "never, opportunistic"),
        ("* smtp://mail.example tls=never tls=never", "said twice"),
        ("* smtp://mail.example color=red", "credentials=…"),
        ("* smtp://mail.example tls=never credentials=/x", "only where the connection is encrypted"),
        ("* smtp://mail.example credentials=here", "whole path"),
        ("* lmtp://127.0.0.1 tls=verified", "means nothing here"),
        ("* mx:192.0.2.1", "write smtp://192.0.2.1"),
        ("* maildir:var/mail", "begins with /"),
        ("* maildir:/var/{user}", "nothing else"),
        ("* maildir:/var/{local", "nothing else"),
        ("* maildir:/var/../etc/{local}", "no .. in it"),
        ("* http://hooks.example/", "write https"),
        ("* https://me:pw@hooks.example/", "secret="),
        ("* 'smtp://x", "quotation"),
    ],
)
def test_what_is_wrong_is_said(text: str, mend: str) -> None:
    with pytest.raises(TransportError, match=mend):
        parse_transports([text])


def test_two_ways_for_one_domain() -> None:
    with pytest.raises(TransportError, match="another way"):
        parse_transports(["example.org mx:", "EXAMPLE.org smtp://192.0.2.1"])


# ---------------------------------------------------------------- secrets


def test_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b" correct horse \n")
    path.chmod(0o640)
    assert read_secret(path) == b" correct horse "


@pytest.mark.parametrize(
    ("content", "mode", "mend"),
    [(b"horse\n", 0o644, "chmod 640"), (b"\n", 0o600, "holds nothing"), (b"x" * 5000, 0o600, "more than 4096")],
)
def test_a_secret_that_cannot_be_used(tmp_path: Path, content: bytes, mode: int, mend: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(TransportError, match=mend):
        read_secret(path)


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot be read"):
        read_secret(tmp_path / "nowhere")


# ---------------------------------------------------------------- where it is


class Names:
    """A resolver that knows one host."""

    def __init__(self, records: dict[int, list[bytes]], *, fails: frozenset[int] = frozenset()) -> None:
        self._records = records
        self._fails = fails

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        if rrtype in self._fails:
            return Answer(name, rrtype, Status.FAILURE, reason="no answer from 192.0.2.53")
        records = tuple(Record(name, rrtype, 1, 60, data) for data in self._records.get(rrtype, []))
        return Answer(name, rrtype, Status.OK if records else Status.NODATA, records)


async def test_both_families_are_targets() -> None:
    found = await addresses_of("mail.example", Names({A: [b"\x7f\0\0\1"], AAAA: [bytes(15) + b"\1"]}))
    plan = plan_for_transport(one("smtp://mail.example:2525"), *found, chance=None)
    assert [(each.text, each.port, each.host) for each in plan.targets] == [
        ("::1", 2525, "mail.example"),
        ("127.0.0.1", 2525, "mail.example"),
    ]


async def test_a_smarthost_that_cannot_be_looked_up_returns_no_mail() -> None:
    for names in (Names({}), Names({}, fails=frozenset({A, AAAA}))):
        found = await addresses_of("mail.example", names)
        plan = plan_for_transport(one("smtp://mail.example"), *found, chance=None)
        assert plan.targets == ()
        assert plan.verdict is not None
        assert plan.verdict.result is Result.TEMPORARY


async def test_an_address_is_not_looked_up() -> None:
    assert await addresses_of("127.0.0.9", Names({})) == ([b"\x7f\0\0\x09"], "")


def test_a_unix_socket() -> None:
    (target,) = plan_for_transport(one("lmtp:/run/lmtp"), [], "", chance=None).targets
    assert (target.socket, target.lmtp, str(target)) == ("/run/lmtp", True, "/run/lmtp")
