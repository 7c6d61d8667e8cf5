"""Asking primaries that are honest, and primaries that are not, over sockets of loopback."""

import asyncio
import datetime
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mx10.config import FollowingSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record, encode
from mx10.dns.transfer import Deltas, Outcome, TransferError, TransferLimits, TransferRefusedError, WholeZone
from mx10.dns.wirename import from_text
from mx10.nameserver import memory, transfer_in
from mx10.nameserver.primaries import Primary, public_key_digest
from mx10.nameserver.transfer_in import NoSeal, PrimaryTroubleError, ask_soa, fetch
from tests.resolver.hostile import Behaviour, Hostile, Reply, silent, unused_port
from tests.streams import serving

APEX = from_text("example.com.")
SETTINGS = FollowingSettings(answer_seconds=0.6, idle_seconds=0.3, transfer_seconds=5)
LIMITS = TransferLimits(1000, 1 << 20)


def soa(serial: int) -> Record:
    return Record(APEX, rr.SOA, rr.IN, 60, b"\0\0" + serial.to_bytes(4, "big") + bytes(16))


def a(number: int) -> Record:
    return Record(from_text(f"host{number}", APEX), rr.A, rr.IN, 60, bytes((192, 0, 2, number & 255)))


def said(query: Message, *records: Record, rcode: int = 0, flags: int = m.QR | m.AA) -> Message:
    return Message(query.id, flags, query.question, records, rcode=rcode)


def honest(query: Message) -> Reply:
    assert query.question is not None
    if query.question.type == rr.SOA:
        return said(query, soa(3))
    if query.question.type == rr.IXFR and query.authority[0].rdata == soa(2).rdata:
        return said(query, soa(3), soa(2), a(1), soa(3), a(2), soa(3))
    return said(query, soa(3), a(1), a(2), soa(3))


async def transfer(
    primary: Primary,
    ours: Record | None = None,
    settings: FollowingSettings = SETTINGS,
    limits: TransferLimits = LIMITS,
) -> Outcome:
    async with AsyncExitStack() as room:
        data = None if ours is None else ours.rdata
        return await fetch(primary, APEX, data, NoSeal(), settings, limits, asyncio.Lock(), room)


def at(hostile: Hostile) -> Primary:
    return Primary("127.0.0.1", hostile.port)


async def test_an_honest_primary() -> None:
    async with Hostile(honest) as hostile:
        assert await ask_soa(at(hostile), APEX, NoSeal(), SETTINGS) == soa(3).rdata
        assert hostile.transports == ["udp"]
        assert isinstance(await transfer(at(hostile)), WholeZone)
        assert isinstance(await transfer(at(hostile), soa(2)), Deltas)
        assert isinstance(await transfer(at(hostile), soa(1)), WholeZone)


async def test_a_flood_of_datagrams_that_do_not_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(_sock: object, _size: int) -> bytes:
        return b"something that is there already, whenever it is asked for"

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_recv", always)
    async with Hostile(silent) as hostile:
        with pytest.raises(PrimaryTroubleError, match="no answer in time"):
            await ask_soa(at(hostile), APEX, NoSeal(), SETTINGS)


async def test_a_large_transfer_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_in, "LARGE", 50)
    monkeypatch.setattr(transfer_in, "LARGE_SECONDS", 0.1)

    def endless(query: Message) -> list[Reply]:
        return [said(query, soa(3), a(1)), said(query, a(2))]

    settings = replace(SETTINGS, idle_seconds=4)
    async with Hostile(endless) as hostile:
        with pytest.raises(PrimaryTroubleError, match="no answer in time"):
            async with asyncio.timeout(3):
                await transfer(at(hostile), settings=settings)


async def test_the_memory_of_a_large_transfer_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Event()
    monkeypatch.setattr(transfer_in, "LARGE", 50)
    monkeypatch.setattr(transfer_in, "GIVE_BACK_SECONDS", 0)
    monkeypatch.setattr(memory, "give_back", given.set)
    async with Hostile(lambda query: [said(query, soa(3), a(1)), said(query, a(2), soa(3))]) as hostile:
        await transfer(at(hostile))
    async with asyncio.timeout(2):
        await given.wait()


def test_memory_is_given_back_where_that_can_be() -> None:
    memory.give_back()


async def test_an_answer_that_does_not_fit_is_asked_for_over_tcp() -> None:
    async with Hostile(lambda query: said(query, flags=m.QR | m.AA | m.TC), tcp=honest) as hostile:
        assert await ask_soa(at(hostile), APEX, NoSeal(), SETTINGS) == soa(3).rdata
        assert hostile.transports == ["udp", "tcp"]


async def test_a_lost_datagram_is_sent_again() -> None:
    times = iter(range(9))
    async with Hostile(lambda query: honest(query) if next(times) else None) as hostile:
        assert await ask_soa(at(hostile), APEX, NoSeal(), SETTINGS) == soa(3).rdata


BAD_ANSWERS: list[tuple[Behaviour, str]] = [
    (silent, "no answer in time"),
    (lambda query: b"\0" * 40, "no answer in time"),
    (lambda query: said(replace(query, id=query.id ^ 1), soa(3)), "no answer in time"),
    (lambda query: said(query, rcode=rr.Rcode.REFUSED), "REFUSED"),
    (lambda query: said(query), "no SOA"),
    (lambda query: said(query, soa(3), flags=m.QR), "lacks AA"),
    (lambda query: said(query, replace(soa(3), name=from_text("example.net."))), "no SOA"),
    (lambda query: said(query, soa(3), flags=m.AA), "does not answer"),
]


@pytest.mark.parametrize(("behaviour", "words"), BAD_ANSWERS)
async def test_answers_that_give_no_serial(behaviour: Behaviour, words: str) -> None:
    async with Hostile(behaviour) as hostile:
        with pytest.raises(PrimaryTroubleError, match=words):
            await ask_soa(at(hostile), APEX, NoSeal(), SETTINGS)


async def test_nobody_there() -> None:
    nobody = Primary("127.0.0.1", unused_port())
    with pytest.raises(PrimaryTroubleError, match="Connection refused"):
        await ask_soa(nobody, APEX, NoSeal(), SETTINGS)
    with pytest.raises(PrimaryTroubleError, match=r"refused|failed"):
        await transfer(nobody)


def endless(query: Message) -> Iterator[Reply]:
    yield said(query, soa(3), a(0))
    for number in range(2000):
        yield said(query, a(number))


BAD_TRANSFERS: list[tuple[Behaviour, type[Exception], str]] = [
    (silent, PrimaryTroubleError, "no answer in time"),
    (lambda query: [said(query, soa(3), a(1)), b""], PrimaryTroubleError, "closed before the end"),
    (lambda query: [said(query, soa(3), a(1))], PrimaryTroubleError, "no answer in time"),
    (lambda query: said(query, rcode=rr.Rcode.REFUSED), TransferRefusedError, "REFUSED"),
    (lambda query: query.id.to_bytes(2, "big") + b"garbage, nothing but garbage", TransferError, "message 1"),
    (lambda query: [said(query, soa(3), a(1)), said(query, a(1), soa(4))], TransferError, "differs"),
    (endless, TransferError, "more than"),
]


@pytest.mark.parametrize(("behaviour", "kind", "words"), BAD_TRANSFERS)
async def test_transfers_that_bring_nothing(behaviour: Behaviour, kind: type[Exception], words: str) -> None:
    # Time runs out where it is to run out, and nowhere else, however busy the machine.
    patient = replace(SETTINGS, answer_seconds=10, idle_seconds=10, transfer_seconds=30)
    async with Hostile(behaviour) as hostile:
        with pytest.raises(kind, match=words):
            await transfer(at(hostile), settings=SETTINGS if words == "no answer in time" else patient)


async def test_a_transfer_that_trickles_is_ended() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"\x7f")
            await asyncio.sleep(0.05)
        writer.transport.abort()
        gone.set()

    gone = asyncio.Event()
    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        primary = Primary("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(PrimaryTroubleError, match="no answer in time"):
            await transfer(primary)
        await gone.wait()


async def test_of_large_transfers_one_at_a_time() -> None:
    big = [Record(from_text(f"h{i}", APEX), rr.TXT, rr.IN, 1, b"\xff" * 256 * 200) for i in range(200)]

    def large_zone(query: Message) -> Iterator[Reply]:
        yield said(query, soa(3))
        for record in big:
            yield said(query, record)
        yield said(query, soa(3))

    limits = TransferLimits(1000, 1 << 30)
    # Ten megabytes take as long as they take.
    patient = replace(SETTINGS, idle_seconds=30, transfer_seconds=60)
    lock = asyncio.Lock()
    async with Hostile(large_zone) as hostile, AsyncExitStack() as first:
        await fetch(at(hostile), APEX, None, NoSeal(), patient, limits, lock, first)
        assert lock.locked()
        second = AsyncExitStack()
        waiting = asyncio.create_task(fetch(at(hostile), APEX, None, NoSeal(), patient, limits, lock, second))
        await asyncio.wait([waiting], timeout=0.5)
        assert not waiting.done()
        await first.aclose()
        assert isinstance(await waiting, WholeZone)
        await second.aclose()
    assert not lock.locked()


# ---------------------------------------------------------------- over TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A certificate for ns1.example that vouches for itself, with its key, and as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ns1.example")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ns1.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "ns1.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, made.public_bytes(serialization.Encoding.DER)


class TlsPrimary(Hostile):
    """Speaks TLS on a port of its own."""

    async def over_tls(self, path: Path) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return await self._open.enter_async_context(
            serving(self._stream, lambda begin: asyncio.start_server(begin, "127.0.0.1", 0, ssl=context))
        )


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ({}, ""),
        ({"pin": True}, ""),
        ({"pin": False}, "not the one pinned"),
        ({"hostname": "ns1.example", "ca": True}, ""),
        ({"hostname": "ns1.example"}, "cannot be believed"),
        ({"hostname": "ns2.example", "ca": True}, "cannot be believed"),
    ],
)
async def test_over_tls(how: dict[str, object], wrong: str, certificate: tuple[Path, bytes]) -> None:
    path, der = certificate
    settings = replace(SETTINGS, ca_file=path if how.get("ca") else None, answer_seconds=3.0, idle_seconds=3.0)
    async with TlsPrimary(honest) as hostile:
        server = await hostile.over_tls(path)
        pin = b"" if "pin" not in how else public_key_digest(der) if how["pin"] else bytes(32)
        port = server.sockets[0].getsockname()[1]
        primary = Primary("127.0.0.1", port, None, True, str(how.get("hostname", "")), pin)
        if wrong:
            with pytest.raises(PrimaryTroubleError, match=wrong):
                await ask_soa(primary, APEX, NoSeal(), settings)
            with pytest.raises(PrimaryTroubleError, match=wrong):
                await transfer(primary, settings=settings)
        else:
            assert await ask_soa(primary, APEX, NoSeal(), settings) == soa(3).rdata
            assert isinstance(await transfer(primary, settings=settings), WholeZone)
        server.close()


async def test_a_plain_server_where_tls_is_wanted() -> None:
    async with Hostile(honest) as hostile:
        with pytest.raises(PrimaryTroubleError):
            await transfer(Primary("127.0.0.1", hostile.port, tls=True))


def test_the_request_names_what_we_have() -> None:
    """RFC 1995 section 3."""
    from mx10.nameserver.transfer_in import _request

    query = m.parse(_request(APEX, soa(2).rdata, 7))
    assert query.question is not None
    assert (query.question.type, query.authority[0].type, query.authority[0].rdata) == (rr.IXFR, rr.SOA, soa(2).rdata)
    assert encode(query) == _request(APEX, soa(2).rdata, 7)
