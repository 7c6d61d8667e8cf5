"""Padding of responses on encrypted transports."""

import pytest

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query, parse
from mx10.dns.wirename import from_text
from mx10.nameserver.padding import BLOCK, OPTION, asks_for_padding, padded
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from tests.nameserver.test_transfers import APEX, a, a_zone

NAME = from_text("www.one.example.")


@pytest.fixture
def responder() -> Responder:
    return Responder(ZoneTable({APEX: a_zone(www=a(7)).pack()}), NameserverSettings(nsid="here"))


@pytest.mark.parametrize("name", ["www.one.example.", "none.one.example.", "other.test."])
@pytest.mark.parametrize("options", [(), ((3, b""),), ((OPTION, b""),)])
def test_a_response_is_padded(name: str, options: tuple[tuple[int, bytes], ...], responder: Responder) -> None:
    plain = responder.tcp(make_query(from_text(name), rr.A, id=5, options=options))
    assert plain is not None
    response = padded(plain)
    assert len(response) % BLOCK == 0
    one, other = parse(plain), parse(response)
    assert one.edns is not None
    assert other.edns is not None
    assert (one.answer, one.authority, one.rcode) == (other.answer, other.authority, other.rcode)
    assert other.edns.options[:-1] == one.edns.options
    assert other.edns.options[-1][0] == OPTION
    assert not any(other.edns.options[-1][1])
    # Once is enough.
    assert padded(response) == response


def test_what_cannot_be_padded_stays(responder: Responder) -> None:
    plain = responder.tcp(make_query(NAME, rr.A, id=5, edns=False))
    assert plain is not None
    assert padded(plain) == plain
    assert padded(b"no message") == b"no message"


@pytest.mark.parametrize(
    ("options", "asks"), [((), False), (((OPTION, b""),), True), (((3, b""), (OPTION, bytes(40))), True)]
)
def test_who_asks_for_it(options: tuple[tuple[int, bytes], ...], asks: bool) -> None:
    assert asks_for_padding(make_query(NAME, rr.A, id=5, options=options)) is asks


def test_octets_that_look_like_it() -> None:
    assert not asks_for_padding(make_query(from_text("a\\000\\012b.test."), rr.A, id=5))
    assert not asks_for_padding(b"\0" * 12 + b"\0\x0c")
