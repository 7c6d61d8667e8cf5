"""Signed messages, against dnspython on the other side, and wrong in every way."""

import base64
import time
from dataclasses import replace

import dns.message
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query
from mx10.dns.rrtypes import Rcode
from mx10.dns.tsig import (
    ALGORITHMS,
    BADSIG,
    MOST_UNSIGNED,
    Answerer,
    Asker,
    KeyFileError,
    SignedRequest,
    TsigError,
    TsigKey,
    keys_from_text,
    read_request,
    refusal,
    split,
)
from mx10.dns.wirename import WireError, from_text

NOW = 1_800_000_000
KEY = TsigKey(from_text("transfer.example."), "hmac-sha256", b"0123456789abcdef0123456789abcdef")
KEYS = {KEY.name: KEY}
QUERY = make_query(from_text("example.com."), rr.SOA, id=77)


def clock() -> float:
    return NOW


def signed(query: bytes = QUERY, key: TsigKey = KEY, now: int = NOW) -> bytes:
    return Asker(key, lambda: now).sign(query)


def verified(message: bytes, now: float = NOW) -> SignedRequest:
    request = read_request(message, KEYS, now)
    assert isinstance(request, SignedRequest)
    return request


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_conversation_with_dnspython(algorithm: str) -> None:
    key = TsigKey(KEY.name, algorithm, KEY.secret)
    theirs = dns.tsig.Key("transfer.example.", KEY.secret, algorithm)
    ring = {theirs.name: theirs}
    asker = Asker(key, time.time)
    query = dns.message.from_wire(asker.sign(QUERY), keyring=ring)
    assert query.had_tsig
    response = dns.message.make_response(query)
    assert asker.verify(response.to_wire())[:2] == QUERY[:2]
    asker.finish()

    asking = dns.message.make_query("example.com.", "SOA")
    asking.use_tsig(theirs)
    request = read_request(asking.to_wire(), {key.name: key}, time.time())
    assert isinstance(request, SignedRequest)
    answer = bytearray(request.message)
    answer[2] |= 0x80
    wire = Answerer(request, time.time).sign(bytes(answer))
    assert dns.message.from_wire(wire, keyring=ring, request_mac=asking.mac).had_tsig


def test_a_transfer_of_many_messages() -> None:
    """RFC 8945 section 5.3.1."""
    asker = Asker(KEY, clock)
    answerer = Answerer(verified(asker.sign(QUERY)), clock)
    for number in range(5):
        response = QUERY[:2] + b"\x84\0" + QUERY[4:]
        assert asker.verify(answerer.sign(response)) == response, number
    asker.finish()


def test_some_messages_of_a_transfer_may_be_unsigned() -> None:
    asker = Asker(KEY, clock)
    request = verified(asker.sign(QUERY))
    answerer = Answerer(request, clock)
    response = QUERY[:2] + b"\x84\0" + QUERY[4:]
    asker.verify(answerer.sign(response))
    for _ in range(MOST_UNSIGNED):
        assert asker.verify(response) == response
    with pytest.raises(TsigError, match="last message"):
        asker.finish()
    # The next signature covers them all.
    answerer._before += response * MOST_UNSIGNED
    asker.verify(answerer.sign(response))
    asker.finish()
    for _ in range(MOST_UNSIGNED):
        asker.verify(response)
    with pytest.raises(TsigError, match="not signed"):
        asker.verify(response)


def test_unsigned_messages_that_were_changed() -> None:
    asker = Asker(KEY, clock)
    answerer = Answerer(verified(asker.sign(QUERY)), clock)
    response = QUERY[:2] + b"\x84\0" + QUERY[4:]
    asker.verify(answerer.sign(response))
    asker.verify(response[:3] + b"\1" + response[4:])
    answerer._before += response
    with pytest.raises(TsigError, match="wrong"):
        asker.verify(answerer.sign(response))


@pytest.mark.parametrize(
    ("message", "error", "rcode"),
    [
        (signed(key=TsigKey(from_text("other."), "hmac-sha256", b"x" * 32)), Rcode.BADKEY, Rcode.NOTAUTH),
        (signed(key=TsigKey(KEY.name, "hmac-sha512", KEY.secret)), Rcode.BADKEY, Rcode.NOTAUTH),
        (signed(key=TsigKey(KEY.name, "hmac-sha256", b"x" * 32)), BADSIG, Rcode.NOTAUTH),
        (signed(now=NOW - 301), Rcode.BADTIME, Rcode.NOTAUTH),
        (signed(now=NOW + 301), Rcode.BADTIME, Rcode.NOTAUTH),
        (signed()[:15] + b"X" + signed()[16:], BADSIG, Rcode.NOTAUTH),
    ],
)
def test_requests_signed_wrong(message: bytes, error: int, rcode: Rcode) -> None:
    with pytest.raises(TsigError) as caught:
        read_request(message, KEYS, NOW)
    assert (caught.value.error, caught.value.rcode) == (error, rcode)
    stripped, tsig = split(refusal(caught.value, NOW))
    response = m.parse(stripped)
    assert (response.qr, response.rcode) == (True, rcode)
    assert tsig is not None
    assert tsig.error == error
    # Only who has proven to have the key is signed to.
    assert bool(tsig.mac) == (error == Rcode.BADTIME)


def test_a_client_learns_the_time_of_the_server() -> None:
    asker = Asker(KEY, lambda: NOW - 1000)
    with pytest.raises(TsigError) as caught:
        read_request(asker.sign(QUERY), KEYS, NOW)
    with pytest.raises(TsigError, match="BADTIME"):
        asker.verify(refusal(caught.value, NOW))


def cut(message: bytes, size: int) -> bytes:
    """The MAC of a message shortened."""
    stripped, tsig = split(message)
    assert tsig is not None
    return replace(tsig, mac=tsig.mac[:size]).append_to(stripped)


@pytest.mark.parametrize(
    ("size", "rcode"), [(31, Rcode.NOTAUTH), (16, Rcode.NOTAUTH), (15, Rcode.FORMERR), (0, Rcode.FORMERR)]
)
def test_a_mac_cut_short(size: int, rcode: Rcode) -> None:
    """RFC 8945 section 5.2.2.1."""
    with pytest.raises(TsigError) as caught:
        read_request(cut(signed(), size), KEYS, NOW)
    assert caught.value.rcode == rcode
    assert caught.value.error == (Rcode.BADTRUNC if rcode == Rcode.NOTAUTH else 0)
    assert refusal(caught.value, NOW)


def test_an_unsigned_request_is_given_back() -> None:
    assert read_request(QUERY, KEYS, NOW) == QUERY


def test_responses_that_are_not_believed() -> None:
    def asker_and_response() -> tuple[Asker, bytes]:
        asker = Asker(KEY, clock)
        request = verified(asker.sign(QUERY))
        return asker, Answerer(request, clock).sign(QUERY[:2] + b"\x84\0" + QUERY[4:])

    asker, response = asker_and_response()
    with pytest.raises(TsigError, match="not signed"):
        asker.verify(split(response)[0])
    with pytest.raises(TsigError, match="wrong"):
        asker.verify(response[:3] + b"\1" + response[4:])
    with pytest.raises(TsigError, match="another key"):
        asker.verify(signed(key=TsigKey(from_text("other."), "hmac-sha256", KEY.secret)))
    with pytest.raises(TsigError, match="does not parse"):
        asker.verify(response + b"x")
    assert asker.verify(response)
    # The same again is a replay: it does not follow on the one before.
    with pytest.raises(TsigError, match="wrong"):
        asker.verify(response)


@given(st.binary(max_size=200))
def test_garbage(noise: bytes) -> None:
    for message in (noise, QUERY[:4] + b"\0\1\0\0\0\0\0\1" + noise):
        try:
            read_request(message, KEYS, NOW)
        except (TsigError, WireError) as error:
            if isinstance(error, TsigError):
                refusal(error, NOW)


@given(st.data())
def test_damaged_requests(data: st.DataObject) -> None:
    wire = bytearray(signed())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    try:
        request = read_request(bytes(wire), KEYS, NOW)
    except TsigError as error:
        refusal(error, NOW)
        return
    except WireError:
        return
    # The header's id is not signed; the one it was signed with is. Case in the names of keys does not count.
    assert request in (verified(signed()), bytes(wire))


# ---------------------------------------------------------------- keys


def test_the_file_of_tsig_keygen() -> None:
    secret = base64.b64encode(KEY.secret).decode()
    text = f'''# a comment
    key "Transfer.Example" {{ // another
        algorithm hmac-sha256; /* and
        another */
        secret "{secret}";
    }};
    key second. {{ secret "AAAA"; algorithm HMAC-MD5; }};
    '''
    keys = keys_from_text(text)
    assert keys[KEY.name] == KEY
    assert keys[from_text("second.")].algorithm == "hmac-md5.sig-alg.reg.int"
    assert keys_from_text(KEY.to_text()) == KEYS
    assert keys_from_text("") == {}
    assert "0123" not in repr(KEY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('key "a" {', "not closed"),
        ('key "a" { algorithm hmac-sha256; };', "no secret"),
        ('key "a" { secret "AAAA"; };', "no algorithm"),
        ('key "a" { algorithm rot13; secret "AAAA"; };', "no algorithm; take one"),
        ('key "a" {\n algorithm hmac-sha256;\n secret "A"; };', "line 3: the secret"),
        ('key "a" { algorithm hmac-sha256; secret ""; };', "is empty"),
        ('key "a..b" { algorithm hmac-sha256; secret "AAAA"; };', "no name"),
        ("options { };", "'options' stands where 'key'"),
        ('key "a { };', "close the quote"),
        ('key "a" { algorithm hmac-sha256 secret "AAAA"; };', "stands where ';'"),
        ('key a { algorithm hmac-sha1; secret "AAAA"; };' * 2, "twice"),
    ],
)
def test_what_is_no_file_of_keys(text: str, said: str) -> None:
    with pytest.raises(KeyFileError, match=said):
        keys_from_text(text)


@given(st.text(max_size=100))
def test_any_text_holds_keys_or_is_an_error(text: str) -> None:
    try:
        keys_from_text(text)
    except KeyFileError as error:
        assert str(error)
