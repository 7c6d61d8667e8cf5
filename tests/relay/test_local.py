"""Deliveries that end here: Maildirs, and webhooks on a loopback address."""

import asyncio
import errno
import hashlib
import hmac
import itertools
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.names import AddressError
from mx10.relay.courier.local import Patience, box_of, to_maildir, to_webhook
from mx10.relay.courier.transports import Transport, parse_transports
from mx10.relay.courier.values import Addressee, End, Fate
from tests.relay.scripted import Octets, addressees, letter

ARRIVED = 1_790_000_000_123


async def into(
    folder: Path, *who: Addressee, data: bytes = b"Subject: x\r\n\r\nhello\r\n", path: str = "{local}"
) -> list[Fate]:
    tokens = itertools.count()
    return await to_maildir(
        f"{folder}/{path}",
        replace(letter(), content=Octets(data)),
        who or addressees("bob"),
        arrived=ARRIVED,
        hostname="relay.example.net",
        token=lambda: str(next(tokens)),
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- Maildir


async def test_a_message_in_a_maildir(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir()
    (fate,) = await into(tmp_path)
    assert (fate.end, fate.final) == (End.DELIVERED, True)
    (name,) = files(tmp_path)
    assert name == "bob/new/1790000000.M0123456789ABCR1.relay.example.net"
    assert (tmp_path / name).read_bytes() == (
        b"Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\nSubject: x\n\nhello\n"
    )
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "bob").iterdir()) == ["cur", "new", "tmp"]


async def test_a_repeated_delivery_replaces_itself(tmp_path: Path) -> None:
    """A crash between the mailbox and the queue's note of it."""
    (tmp_path / "bob").mkdir()
    await into(tmp_path)
    await into(tmp_path)
    assert len(files(tmp_path)) == 1


async def test_a_large_message_goes_by_the_chunk(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir()
    line = b"0123456789abcdef" * 4 + b"x\r\n"
    data = b"Subject: x\r\n\r\n" + line * 10_000
    (fate,) = await into(tmp_path, data=data)
    assert fate.end is End.DELIVERED
    (name,) = files(tmp_path)
    written = (tmp_path / name).read_bytes()
    assert written.endswith(data.replace(b"\r\n", b"\n"))
    assert b"\r" not in written


async def test_no_such_mailbox_is_for_good_and_no_disk_is_not(tmp_path: Path) -> None:
    (fate,) = await into(tmp_path)
    assert (fate.end, fate.enhanced) == (End.FAILED, "5.1.1")
    (fate,) = await into(tmp_path / "not-mounted")
    assert (fate.end, fate.enhanced) == (End.LATER, "4.3.5")
    assert files(tmp_path) == []


async def test_a_maildir_for_all(tmp_path: Path) -> None:
    fates = await into(tmp_path, *addressees("a", "b"), path="everything")
    assert {fate.end for fate in fates} == {End.DELIVERED}
    assert len(files(tmp_path)) == 2


async def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bob").mkdir()

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for data in (b"x\r\n", b"x\r\n" * 200_000):
            (fate,) = await into(tmp_path, data=data)
            assert (fate.end, fate.enhanced) == (End.LATER, "4.3.1")
    assert files(tmp_path) == [], "nothing half written is left"
    (fate,) = await into(tmp_path)
    assert fate.end is End.DELIVERED


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("Bob@example.org", "example.org/bob"),
        ('"../../etc"@example.org', "example.org/%2E./../etc"),
        ('"a/b"@example.org', "example.org/a%2Fb"),
        ("a%2Fb@example.org", "example.org/a%252fb"),
        ("bob@[127.0.0.1]", "%5B127.0.0.1%5D/bob"),
    ],
)
def test_the_path_of_an_address(address: str, path: str) -> None:
    expected = path.replace("/../", "%2F..%2F")
    assert box_of("/var/mail/{domain}/{local}/Maildir", address).path == f"/var/mail/{expected}/Maildir"


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_no_address_leads_out_of_its_place_or_into_anothers(one: str, other: str) -> None:
    boxes = []
    for local in (one, other):
        quoted = local.replace("\\", "\\\\").replace('"', '\\"')
        try:
            box = box_of("/var/mail/{local}", f'"{quoted}"@example.org')
        except (AddressError, ValueError):
            return
        assert os.path.normpath(box.path) == box.path
        assert os.path.dirname(box.path) == "/var/mail"  # noqa: PTH120
        boxes.append(box.path)
    assert (boxes[0] == boxes[1]) == (one.lower() == other.lower())


async def test_an_address_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    (fate,) = await into(tmp_path, Addressee('"' + "/" * 64 + "é" * 40 + '"@example.org'))
    assert fate.end is End.FAILED
    (fate,) = await into(tmp_path, Addressee("postmaster"), path="{domain}/{local}")
    assert fate.end is End.FAILED


# ---------------------------------------------------------------- webhook


@dataclass
class Hook:
    """An HTTP server that answers as it is told."""

    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    port: int = 0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    stalls: bool = False
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(_field(line) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, body))
        if self.stalls:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name.lower(), value


@asynccontextmanager
async def hooked(hook: Hook) -> AsyncIterator[Hook]:
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        server.close()
        for writer in hook.writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


def way(port: int, secret: Path | None = None) -> Transport:
    words = f" secret={secret}" if secret is not None else ""
    found = parse_transports([f"* http://127.0.0.1:{port}/mail?to=all{words}"]).of("example.org")
    assert found is not None
    return found


async def posted(
    port: int,
    *who: Addressee,
    secret: Path | None = None,
    addresses: tuple[bytes, ...] = (b"\x7f\0\0\1",),
    patience: Patience | None = None,
) -> list[Fate]:
    return await to_webhook(
        way(port, secret),
        addresses,
        letter(),
        who or addressees("bob"),
        clock=lambda: ARRIVED,
        patience=patience,
        verify=False,
    )


async def test_a_webhook_gets_the_message_and_can_see_that_it_is_from_us(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"correct horse\n")
    secret.chmod(0o600)
    async with hooked(Hook()) as hook:
        (fate,) = await posted(hook.port, Addressee("дмитрий@example.org"), secret=secret)
    assert (fate.end, fate.final, fate.reason) == (End.DELIVERED, True, "127.0.0.1 answered 200 “ok”")
    ((headers, body),) = hook.requests
    assert body == b"Subject: hello\r\n\r\nworld\r\n"
    assert headers["content-type"] == "message/rfc822"
    assert json.loads(headers["mx10-recipients"]) == ["дмитрий@example.org"]
    assert json.loads(headers["mx10-sender"]) == "alice@example.net"
    # As docs tell whoever checks it.
    fields = dict(part.split("=") for part in headers["mx10-signature"].split(","))
    lines = (fields["t"], headers["mx10-message"], headers["mx10-sender"], headers["mx10-recipients"])
    signed = "".join(f"{line}\n" for line in lines).encode() + body
    assert fields["v1"] == hmac.new(b"correct horse", signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("status", "end"),
    [
        ("204 No Content", End.DELIVERED),
        ("301 Moved", End.LATER),
        ("400 Bad", End.LATER),
        ("401 Who", End.LATER),
        ("404 Not Found", End.LATER),
        ("410 Gone", End.FAILED),
        ("413 Large", End.FAILED),
        ("422 No", End.FAILED),
        ("429 Slowly", End.LATER),
        ("500 Oh", End.LATER),
        ("503 Later", End.LATER),
    ],
)
async def test_what_a_webhook_answers(status: str, end: End) -> None:
    answer = f"HTTP/1.1 {status}\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n".encode()
    async with hooked(Hook(answer)) as hook:
        (fate,) = await posted(hook.port)
    assert fate.end is end
    assert len(hook.requests) == 1, "no redirect is followed"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"])
async def test_a_webhook_that_breaks_off_gets_it_again(answer: bytes) -> None:
    async with hooked(Hook(answer)) as hook:
        (fate,) = await posted(hook.port)
    assert fate.end is End.LATER


async def test_a_webhook_that_stalls() -> None:
    async with hooked(Hook(stalls=True)) as hook:
        (fate,) = await posted(hook.port, patience=Patience(1, 0.1, 5))
    assert (fate.end, fate.enhanced) == (End.LATER, "4.4.2")
    assert "may come twice" in fate.reason


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 10_000_000
    async with hooked(Hook(answer)) as hook:
        (fate,) = await posted(hook.port)
    assert fate.end is End.DELIVERED
    assert len(fate.reason) < 400


async def test_the_next_address_where_nobody_listens() -> None:
    async with hooked(Hook()) as hook:
        (fate,) = await posted(hook.port, addresses=(bytes(15) + b"\1", b"\x7f\0\0\1"))
        assert fate.end is End.DELIVERED
        (fate,) = await posted(hook.port, addresses=(bytes(15) + b"\1",))
        assert (fate.end, fate.enhanced, fate.reached) == (End.LATER, "4.4.1", False)
        (fate,) = await posted(hook.port, addresses=())
        assert (fate.end, fate.enhanced) == (End.LATER, "4.4.3")


async def test_a_secret_that_cannot_be_read_returns_no_mail(tmp_path: Path) -> None:
    (fate,) = await posted(1, secret=tmp_path / "nowhere")
    assert (fate.end, fate.enhanced) == (End.LATER, "4.3.5")


async def test_many_recipients_are_several_requests() -> None:
    async with hooked(Hook()) as hook:
        fates = await posted(hook.port, *addressees(*(f"user{number}" for number in range(45))))
    assert len(fates) == 45
    assert [len(json.loads(headers["mx10-recipients"])) for headers, _ in hook.requests] == [20, 20, 5]
    assert len({headers["idempotency-key"] for headers, _ in hook.requests}) == 3
