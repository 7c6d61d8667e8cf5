"""DKIM: the example of RFC 8463, signatures of every form, and what is none. Messages signed by dkimpy are in
tests/peers/test_dkim_peers.py."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from mx10.mailauth.body import BodyHash
from mx10.mailauth.dkim import MAX_SIGNATURES, Dkim, DkimResult, Verifier, split_header
from tests.mailauth.signing import ED25519, RSA, ed25519_record, rsa_record, signed
from tests.mailauth.signing import _body as canonical_body
from tests.mailauth.zones import Zones

HEADER = "From: Ann  <ann@example.org>\r\nTo:bob@example.net\r\nSubject: a \t folded\r\n  subject\r\nX-More: 1\r\n"
BODY = b"Hello  \t there \r\n\r\n line two\r\n\r\n\r\n"
NOW = 1_800_000_000


async def verified(message: bytes, key: str = "", *, zone: str = "", size: int = 65536) -> list[Dkim]:
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = Verifier(header + b"\r\n", NOW)
    for at in range(0, len(body), size):
        verifier.feed(body[at : at + size])
    return await verifier.finish(Zones(f"sel._domainkey.example.org TXT {key or rsa_record()}\n{zone}"))


async def one(message: bytes, key: str = "") -> tuple[str, str]:
    (found,) = await verified(message, key)
    return str(found.result), found.reason


# RFC 8463 appendix A.3.
RFC8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC8463_KEY = (
    "brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)


async def test_the_example_of_the_rfc() -> None:
    (found,) = await verified(RFC8463, zone=RFC8463_KEY)
    assert found == Dkim(DkimResult.PASS, "football.example.com", "brisbane", "", "/gCrinpc")
    (found,) = await verified(RFC8463.replace(b"dinner", b"lunch"), zone=RFC8463_KEY)
    assert found.result is DkimResult.FAIL


@pytest.mark.parametrize("form", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("body", [BODY, b"", b"\r\n\r\n", b"no end", b" \r\n", b"a\r\n" * 40_000, b"\t x\r\n \r\n"])
@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
async def test_every_form(form: str, body: bytes, algorithm: str) -> None:
    key, record = (RSA, rsa_record()) if algorithm == "rsa" else (ED25519, ed25519_record())
    message = signed(HEADER, body, key=key, form=form)
    for size in (65536, 1) if len(body) < 100 else (65536, 7777):
        (found,) = await verified(message, record, size=size)
        assert found.result is DkimResult.PASS, found
        assert found.domain == "example.org"


async def test_what_was_changed_is_seen() -> None:
    message = signed(HEADER, BODY)
    assert await one(message) == ("pass", "")
    assert await one(message.replace(b"line two", b"line 2")) == ("fail", "the body is not what was signed")
    other = "the header is not what was signed, or by another key"
    assert await one(message.replace(b"bob@", b"eve@")) == ("fail", other)
    assert (await one(message.replace(b"X-More: 1", b"X-More: 2")))[0] == "pass"
    # RFC 6376 section 3.4.2: blanks and line ends do not count.
    assert (await one(message.replace(b"Ann  <", b"Ann <").replace(b"Hello  \t", b"Hello ")))[0] == "pass"
    key = rsa.generate_private_key(65537, 2048)
    assert await one(message, rsa_record(key)) == ("fail", other)
    # A field that is signed twice cannot be added (section 5.4.2).
    message = signed(HEADER, BODY, names="from:from:to:subject")
    assert (await one(message))[0] == "pass"
    assert (await one(message.replace(b"X-More: 1", b"From: eve@x.example")))[0] == "fail"


async def test_a_part_of_the_body() -> None:
    whole = len(canonical_body(BODY, "relaxed"))
    assert (await one(signed(HEADER, BODY, length=whole)))[0] == "pass"
    part = "a part of the body is not signed (l=)"
    assert await one(signed(HEADER, BODY, length=5)) == ("policy", part)
    assert await one(signed(HEADER, BODY, length=whole) + b"and more\r\n") == ("policy", part)
    more = signed(HEADER, BODY, length=whole).replace(f"l={whole}".encode(), b"l=99999")
    assert await one(more) == ("permerror", "more of the body was signed than there is")


@pytest.mark.parametrize(
    ("tag", "instead", "result", "reason"),
    [
        ("v=1", "v=2", "permerror", "another version"),
        ("v=1; ", "", "permerror", "the tag v= is missing"),
        ("a=rsa-sha256", "a=rsa-sha1", "policy", "SHA-1"),
        ("a=rsa-sha256", "a=rsa-sha512", "permerror", "algorithm is not known"),
        ("a=rsa-sha256", "a=ed25519-sha256", "permerror", "for another algorithm"),
        ("d=example.org", "d=exa mple", "permerror", "its domain is none"),
        ("d=example.org", "d=org", "permerror", "one label"),
        ("d=example.org", "d=example.org; i=@example.com", "permerror", "not of its domain"),
        ("s=sel", "s=other", "permerror", "there is no such key"),
        ("s=sel", "s=a@b", "permerror", "its selector is none"),
        ("s=sel", "s=sel; x=1700000000", "policy", "it has expired"),
        ("s=sel", "s=sel; t=9; x=8", "permerror", "expired before it was made"),
        ("s=sel", "s=sel; x=soon", "permerror", "the tag x= is no number"),
        ("s=sel", "s=sel; q=carrier/pigeon", "permerror", "not in the DNS"),
        ("s=sel", "s=sel; s=sel", "permerror", "stands there twice"),
        ("c=relaxed/relaxed", "c=lax", "permerror", "canonical form is not known"),
        ("h=from:to", "h=to", "permerror", "From is not signed"),
        ("bh=", "bh=!", "permerror", "the tag bh= is not base64"),
        ("s=sel", "s=sel; nonsense", "permerror", "'nonsense' is no tag"),
    ],
)
async def test_signatures_that_are_none(tag: str, instead: str, result: str, reason: str) -> None:
    message = signed(HEADER, BODY)
    assert tag.encode() in message
    found = await one(message.replace(tag.encode(), instead.encode(), 1))
    assert found[0] == result
    assert reason in found[1]


@pytest.mark.parametrize(
    ("key", "result", "reason"),
    [
        ("!", "temperror", "cannot be looked up now"),
        ("v=DKIM2; p=x", "permerror", "another version"),
        ("p=x; v=DKIM1", "permerror", "another version"),
        ("v=DKIM1; k=rsa", "permerror", "its key is empty"),
        ("v=DKIM1; p=", "permerror", "withdrawn"),
        ("v=DKIM1; p=AAAA", "permerror", "its key is none"),
        ("v=DKIM1; p=!", "permerror", "not base64"),
        ("nonsense", "permerror", "cannot be read"),
        (rsa_record(more="h=sha1; "), "permerror", "another hash"),
        (rsa_record(more="s=tlsrpt; "), "permerror", "not for mail"),
        (rsa_record(more="t=y; "), "neutral", "trying signatures out"),
        (rsa_record(rsa.generate_private_key(65537, 1024)), "fail", "another key"),
        (ed25519_record(), "permerror", "another algorithm"),
        (rsa_record().replace("v=DKIM1; k=rsa; ", ""), "pass", ""),
    ],
)
async def test_keys(key: str, result: str, reason: str) -> None:
    found = await one(signed(HEADER, BODY), key)
    assert found[0] == result
    assert reason in found[1]


async def test_short_keys_and_subdomains() -> None:
    short = rsa.generate_private_key(65537, 1024)
    assert (await one(signed(HEADER, BODY, key=short), rsa_record(short)))[0] == "pass"
    below = signed(HEADER, BODY, more="i=@sub.example.org; ")
    assert (await one(below))[0] == "pass"
    assert await one(below, rsa_record(more="t=s; ")) == ("permerror", "its key is not for subdomains")


async def test_several_signatures() -> None:
    message = signed(HEADER, BODY)
    twice = message[: message.index(b"From:")] + signed(HEADER, BODY, form="simple/simple")
    assert [each.result for each in await verified(twice)] == ["pass", "pass"]
    many = message[: message.index(b"From:")] * 20 + message
    assert len(await verified(many)) == MAX_SIGNATURES
    assert await verified(b"From: a@b.example\r\n\r\nhello") == []


def test_fields() -> None:
    assert [(each.name, each.raw) for each in split_header(b"A : 1\r\n 2\r\nbad\r\nB:3\r\n\r\n")] == [
        (b"a", b"A : 1\r\n 2\r\n"),
        (b"b", b"B:3\r\n"),
    ]


@given(st.lists(st.sampled_from([b" ", b"\t", b"a", b"\r\n", b"\r\n\r\n", b"  ", b"b c"]), max_size=30), st.data())
def test_bodies_in_pieces(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    for form in ("simple", "relaxed"):
        found = BodyHash(relaxed=form == "relaxed")
        rest = body
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            found.feed(rest[:size])
            rest = rest[size:]
        found.finish()
        canonical = canonical_body(body, form)
        assert (found.digest, found.size) == (hashlib.sha256(canonical).digest(), len(canonical))


@given(st.binary(max_size=300), st.binary(max_size=50))
async def test_whatever_comes(header: bytes, body: bytes) -> None:
    verifier = Verifier(b"DKIM-Signature: " + header, NOW)
    verifier.feed(body)
    for each in await verifier.finish(Zones("")):
        assert each.result is not DkimResult.PASS


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=3))
async def test_a_signature_that_was_damaged(at: int, octets: bytes) -> None:
    message = bytearray(signed(HEADER, BODY))
    at %= len(message)
    message[at : at + len(octets)] = octets
    for each in await verified(bytes(message)):
        assert each.result in DkimResult
