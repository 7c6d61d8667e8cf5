"""The parts of following that need neither sockets nor a store: primaries as written, timers, changes as edits."""

import contextlib
import datetime
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import FollowingSettings
from mx10.dns import rrtypes as rr
from mx10.dns.transfer import Delta, Deltas
from mx10.dns.wirename import from_text
from mx10.nameserver.deltas import NotOurZoneError, edits_of
from mx10.nameserver.primaries import Primary, PrimaryError, primary_from_text, public_key_digest
from mx10.nameserver.timers import Following, after_failure, after_success, expired
from mx10.zones.zone import Node

PIN = "sha256/" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("text", "primary"),
    [
        ("192.0.2.1", Primary("192.0.2.1", 53)),
        ("192.0.2.1:5353", Primary("192.0.2.1", 5353)),
        ("2001:db8::1", Primary("2001:db8::1", 53)),
        ("[2001:db8::1]:5353#Key.Example", Primary("2001:db8::1", 5353, from_text("key.example."))),
        ("192.0.2.1+tls", Primary("192.0.2.1", 853, tls=True)),
        ("192.0.2.1#k+tls=ns.example", Primary("192.0.2.1", 853, from_text("k."), True, "ns.example")),
        (f"192.0.2.1:1853+tls={PIN}", Primary("192.0.2.1", 1853, None, True, "", bytes(32))),
    ],
)
def test_primaries_as_they_are_written(text: str, primary: Primary) -> None:
    assert primary_from_text(text) == primary
    assert primary_from_text(str(primary)) == primary


@pytest.mark.parametrize(
    "text",
    ["", "ns1.example.com", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1#", "192.0.2.1#a..b", "192.0.2.1+tlsx",
     "192.0.2.1+tls=", "192.0.2.1+tls=.", "192.0.2.1+tls=sha256/abc", "192.0.2.1+tls=a/b", "192.0.2.1+tls=sha256/%%"],
)  # fmt: skip
def test_what_is_no_primary_is_told_the_form(text: str) -> None:
    with pytest.raises(PrimaryError, match="no primary"):
        primary_from_text(text)


@given(st.text(max_size=60))
def test_any_text_is_a_primary_or_an_error(text: str) -> None:
    try:
        primary = primary_from_text(text)
    except PrimaryError:
        return
    assert primary_from_text(str(primary)) == primary


def test_the_digest_of_a_public_key() -> None:
    """As ``openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum`` says it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ns1.example")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=9))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    wanted = hashlib.sha256(key.public_key().public_bytes(serialization.Encoding.DER, form)).digest()
    assert public_key_digest(certificate) == wanted


@given(st.binary(max_size=100))
def test_what_is_no_certificate(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        public_key_digest(noise)


# ---------------------------------------------------------------- timers

SETTINGS = FollowingSettings()
NOW = 1_800_000_000_000


def soa(refresh: int, retry: int, expire: int, serial: int = 1) -> bytes:
    return b"\0\0" + b"".join(each.to_bytes(4, "big") for each in (serial, refresh, retry, expire, 60))


def test_a_success_begins_the_intervals_anew() -> None:
    state = after_success(Following(failures=3, trouble="x"), soa(3600, 600, 86400), NOW, 0.0, "192.0.2.1", SETTINGS)
    assert state == Following(NOW + 3_600_000, NOW + 86_400_000, NOW, 0, "", "192.0.2.1")
    late = after_success(state, soa(3600, 600, 86400), NOW, 1.0, "", SETTINGS)
    assert late.due == NOW + 3_240_000


def test_intervals_of_the_primary_are_bounded() -> None:
    state = after_success(Following(), soa(0, 0, 0), NOW, 0.0, "", SETTINGS)
    assert state.due == NOW + SETTINGS.refresh_min_seconds * 1000
    assert state.expires == NOW + SETTINGS.expire_min_seconds * 1000
    late = after_success(Following(), soa(2**32 - 1, 1, 2**32 - 1), NOW, 0, "", SETTINGS)
    assert late.due == NOW + 604_800_000
    # Whoever gives a zone up before asking again is asked when it would be given up.
    early = after_success(Following(), soa(86400, 1, 7200), NOW, 0, "", SETTINGS)
    assert early.due == early.expires == NOW + 7_200_000
    assert after_failure(state, soa(0, 0, 0), NOW, 0, "x", SETTINGS).due == NOW + SETTINGS.retry_min_seconds * 1000


def test_failures_are_retried_and_the_zone_expires() -> None:
    state = after_success(Following(), soa(3600, 600, 4000), NOW, 0.0, "", SETTINGS)
    now = NOW
    for _ in range(2):
        assert not expired(state, state.due - 1)
        now = state.due
        state = after_failure(state, soa(3600, 600, 4000), now, 0.0, "silence", SETTINGS)
    assert (state.failures, state.trouble) == (2, "silence")
    assert now == state.expires == NOW + 4_000_000
    assert expired(state, now)
    # It goes on being asked for.
    assert state.due == now + 600_000


def test_a_zone_never_fetched_is_asked_for_ever_less_often() -> None:
    state = Following()
    waits = []
    for _ in range(6):
        state = after_failure(state, None, NOW, 0.0, "x", FollowingSettings(retry_min_seconds=1))
        waits.append((state.due - NOW) // 1000)
    assert waits == [5, 10, 20, 40, 60, 60]
    assert not expired(state, NOW * 2)


@given(st.builds(Following, st.integers(0), st.integers(0), st.integers(0), st.integers(0), st.text(), st.text()))
def test_the_state_is_kept_over_a_restart(state: Following) -> None:
    assert Following.from_json(state.to_json()) == state


@pytest.mark.parametrize("text", ["", "x", "[]", '{"due":"soon","failures":true}', '{"newer":1}', "1e999"])
def test_a_state_of_another_version_is_asked_for_at_once(text: str) -> None:
    assert Following.from_json(text) == Following()


# ---------------------------------------------------------------- changes

APEX = from_text("example.com.")
WWW = from_text("www", APEX)
ZONE: dict[bytes, Node] = {
    APEX: {rr.SOA: (60, (b"one",)), rr.MX: (60, (b"\0\1" + WWW,))},
    WWW: {rr.A: (60, (b"aaaa", b"bbbb"))},
}
S1, S2, S3 = ((APEX, rr.SOA, 60, data) for data in (b"one", b"two", b"three"))


def look(owner: bytes) -> Node:
    return ZONE.get(owner, {})


def test_changes_are_taken_together() -> None:
    first = Delta((S1, (WWW, rr.A, 60, b"aaaa")), (S2, (WWW, rr.A, 60, b"cccc"), (WWW, rr.TXT, 5, b"\1x")))
    second = Delta((S2, (WWW, rr.TXT, 5, b"\1x"), (APEX, rr.MX, 60, b"\0\1" + WWW.upper())), (S3,))
    assert edits_of(Deltas(b"three", (first, second), 0), look) == {
        (APEX, rr.SOA): (60, (b"three",)),
        (APEX, rr.MX): None,
        (WWW, rr.A): (60, (b"bbbb", b"cccc")),
    }


def test_a_new_ttl_is_a_removal_and_an_addition() -> None:
    records = [(WWW, rr.A, 60, b"aaaa"), (WWW, rr.A, 60, b"bbbb")]
    added = tuple((owner, rrtype, 9, data) for owner, rrtype, _, data in records)
    edits = edits_of(Deltas(b"two", (Delta((S1, *records), (S2, *added)),), 0), look)
    assert edits[WWW, rr.A] == (9, (b"aaaa", b"bbbb"))


WRONG: list[Callable[[], Delta]] = [
    lambda: Delta((S1, (WWW, rr.A, 60, b"zzzz")), (S2,)),
    lambda: Delta((S1, (WWW, rr.A, 60, b"aaaa"), (WWW, rr.A, 60, b"aaaa")), (S2,)),
    lambda: Delta((S1,), (S2, (WWW, rr.A, 60, b"aaaa"))),
    lambda: Delta((S2,), (S3,)),
]


@pytest.mark.parametrize("made", WRONG)
def test_changes_of_another_zone_are_seen(made: Callable[[], Delta]) -> None:
    with pytest.raises(NotOurZoneError):
        edits_of(Deltas(b"two", (made(),), 0), look)
