"""DNS over HTTPS: what of an HTTP response is believed. The way there is asked against BIND in tests/peers."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message
from mx10.resolver.asking import Asking, Server, Transport, TransportError
from mx10.resolver.https import Https
from tests.resolver.hostile import response
from tests.resolver.internet import name, record

NAME = name("mail.example.")
RIGHT = record("mail.example. A 192.0.2.1")
SERVER = Server("192.0.2.53", 443, Transport.HTTPS, "dns.example", "/q", verify=False)
TYPE = "application/dns-message"


def right(query: Message) -> Message:
    return response(query, [RIGHT])


async def ask(handler: Callable[[httpx.Request], httpx.Response], server: Server = SERVER) -> Message:
    https = Https(server)
    await https.close()
    https._client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    try:
        return await https.ask(NAME, rr.A, 1.0, Asking())
    finally:
        await https.close()


def reply(octets: bytes, status: int = 200, kind: str = TYPE, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={"content-type": kind, **headers}, stream=httpx.ByteStream(octets))


def answering(
    change: Callable[[Message], Message] = right, status: int = 200, kind: str = TYPE, **headers: str
) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        return reply(m.encode(change(m.parse(request.content))), status, kind, **headers)

    return handler


async def test_rfc8484_4_1_the_request() -> None:
    """POST, the media type, and an id of 0 for caches; to the address that was chosen, in the name of the server."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answering()(request)

    assert (await ask(handler)).answer == (RIGHT,)
    (request,) = seen
    assert (request.method, str(request.url), request.headers["host"]) == (
        "POST",
        "https://192.0.2.53/q",
        "dns.example",
    )
    assert request.headers["content-type"] == request.headers["accept"] == TYPE
    query = m.parse(request.content)
    assert query.id == 0
    assert len(request.content) % 128 == 0, "padded (RFC 8467)"
    assert query.question
    assert query.question.name == NAME, "equal questions are equal to caches: no mixed letters"


@pytest.mark.parametrize(
    ("age", "ttl"),
    [("0", 3600), ("600", 3000), ("4000", 0), ("999999999", 0), ("", 3600), ("x", 3600), ("-5", 3600), ("1e3", 3600)],
)
async def test_rfc8484_5_1_ttls_count_the_time_in_a_cache(age: str, ttl: int) -> None:
    found = await ask(answering(age=age))
    assert [one.ttl for one in found.answer] == [ttl]


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answering(status=404), "HTTP status 404"),
        (answering(status=500), "HTTP status 500"),
        (answering(status=302, location="https://elsewhere.example/"), "HTTP status 302"),
        (answering(kind="text/html"), "not of type application/dns-message"),
        (answering(lambda query: replace(right(query), id=1)), "not to the question asked"),
        (answering(lambda query: replace(right(query), flags=0)), "not to the question asked"),
        (
            answering(lambda query: replace(right(query), question=m.Question(name("other.example."), rr.A))),
            "not to the question asked",
        ),
        (lambda _: reply(b"\xff" * 30), "not to the question"),
        (lambda _: reply(b""), "not to the question asked"),
        (lambda _: reply(bytes(70000)), "longer than"),
    ],
)
async def test_what_is_no_answer(handler: Callable[[httpx.Request], httpx.Response], words: str) -> None:
    with pytest.raises(TransportError, match=words) as caught:
        await ask(handler)
    assert str(caught.value).startswith("https://dns.example/q: ")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ReadTimeout("slow"), TimeoutError),
        (httpx.ConnectError("refused"), TransportError),
        (httpx.RemoteProtocolError("nonsense"), TransportError),
        (httpx.InvalidURL("no"), TransportError),
    ],
)
async def test_failures_of_the_way(error: Exception, expected: type[Exception]) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(expected):
        await ask(handler)
