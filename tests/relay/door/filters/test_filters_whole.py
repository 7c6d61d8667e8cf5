"""Filters in a relay that runs: what is kept of messages that they changed, refused or never answered about."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mx10.config import Config
from mx10.config.settings import DoorSettings
from mx10.relay.basics import RelayError, check
from mx10.relay.door.filters.milter_wire import packet
from mx10.relay.loading import content as content_of
from mx10.relay.spool.opening import open_spool
from mx10.relay.values import Envelope
from tests.relay.door.filters.scripted import CONTINUE, Milter
from tests.relay.running import Client, relay_config, relaying
from tests.relay.talker import until

CHANGED = (
    packet("i", b"\0\0\0\0X-Seen\0by us\0")
    + packet("m", b"\0\0\0\1Subject\0better\0")
    + packet("e", b"<bounce@client.example>\0")
    + packet("+", b"<archive@ours.example>\0")
    + CONTINUE
)


def filtered(config: Config, *filters: str, **more: Any) -> Config:
    return replace(config, door=DoorSettings(filters=filters, **more))


async def kept(config: Config) -> list[tuple[str, bytes, set[str], set[str]]]:
    """Each message: its sender, all of it, its recipients, their states."""
    opened = open_spool(config)
    found = []
    try:
        with opened.store.read() as connection:
            messages = connection.exec_driver_sql("SELECT id, reverse_path FROM messages ORDER BY id").all()
            rows = connection.exec_driver_sql("SELECT message, address, state FROM recipients").all()
        for message, sender in messages:
            data = b"".join([chunk async for chunk in content_of(opened, message).chunks()])
            mine = [row for row in rows if row[0] == message]
            found.append((sender, data, {row[1] for row in mine}, {row[2] for row in mine}))
    finally:
        opened.store.close()
    return found


BODY = b"Subject: hello\r\n\r\nworld"


@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_what_filters_made_of_a_message_is_kept(tmp_path: Path, size: int) -> None:
    body = BODY + (b"\r\n" + b"x" * 70) * (size // 72)
    async with Milter({"E": CHANGED}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}")
        async with relaying(config) as (_, port), Client.to(port) as client:
            assert (await client.send(body, "ada@ours.example")).startswith("250 2.0.0")
        ((sender, data, recipients, _),) = await kept(config)
    assert sender == "bounce@client.example"
    assert recipients == {"ada@ours.example", "archive@ours.example"}
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b"Received: from client.example" in head.partition(b"X-Seen")[0]
    assert b"\r\nX-Seen: by us\r\nSubject: better" in head
    assert b"hello" not in head
    assert rest == body.partition(b"\r\n\r\n")[2] + b"\r\n"
    # Nothing stays of what it was before.
    assert len(list((tmp_path / "spool" / "bodies").iterdir())) == (1 if size else 0)


async def test_a_new_body_of_eight_bits_is_told_to_be_one(tmp_path: Path) -> None:
    answer = packet("b", "grüße\r\n".encode()) + CONTINUE
    async with Milter({"E": answer}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}")
        async with relaying(config) as (_, port), Client.to(port) as client:
            assert (await client.send(BODY, "ada@ours.example")).startswith("250 2.0.0")
        ((_, data, _, _),) = await kept(config)
        assert data.endswith("\r\n\r\ngrüße\r\n".encode())
        with open_spool(config).store.read() as connection:
            assert "8BITMIME" in connection.exec_driver_sql("SELECT envelope FROM messages").scalar_one()


@pytest.mark.parametrize(("answer", "known"), [(CONTINUE, True), (packet("b", b"one\ntwo\r\n") + CONTINUE, False)])
async def test_lines_that_a_filter_gave_are_looked_at_once_more(tmp_path: Path, answer: bytes, known: bool) -> None:
    """Before a bare LF is sent to somebody who takes it for an end of line."""
    async with Milter({"E": answer}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}")
        async with relaying(config) as (_, port), Client.to(port) as client:
            assert (await client.send(BODY, "ada@ours.example")).startswith("250 2.0.0")
        with open_spool(config).store.read() as connection:
            envelope = connection.exec_driver_sql("SELECT envelope FROM messages").scalar_one()
    assert Envelope.from_json("", envelope).whole_lines == known


@pytest.mark.parametrize(
    ("header", "edit", "optional"),
    [
        (b"TLS-Required: No\r\n", b"\0\0\0\1TLS-Required\0\0", False),
        (b"TLS-Required: No\r\n", b"\0\0\0\1Subject\0better\0", True),
        (b"", b"\0\0\0\1TLS-Required\0No\0", True),
    ],
)
async def test_a_filter_may_say_whether_tls_is_required(
    tmp_path: Path, header: bytes, edit: bytes, optional: bool
) -> None:
    """What counts is the header that goes on (RFC 8689 section 3)."""
    async with Milter({"E": packet("m", edit) + CONTINUE}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}")
        async with relaying(config) as (_, port), Client.to(port) as client:
            assert (await client.send(header + BODY, "ada@ours.example")).startswith("250 2.0.0")
        with open_spool(config).store.read() as connection:
            envelope = connection.exec_driver_sql("SELECT envelope FROM messages").scalar_one()
        ((_, data, _, _),) = await kept(config)
    assert Envelope.from_json("", envelope).tls_optional is optional
    assert (b"\r\nTLS-Required: No\r\n" in data) is optional


@pytest.mark.parametrize(
    ("answer", "reply", "states"),
    [
        (packet("r"), "550 5.7.1 a filter here does not want", None),
        (packet("y", b"452 4.3.2 later\0"), "452 4.3.2 later", None),
        (packet("d"), "250 2.0.0", None),
        (packet("q", b"odd\0") + CONTINUE, "250 2.0.0", {"held"}),
        (CONTINUE, "250 2.0.0", {"apart"}),
    ],
)
async def test_decisions_of_filters(tmp_path: Path, answer: bytes, reply: str, states: set[str] | None) -> None:
    async with Milter({"E": answer}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}")
        async with relaying(config) as (relay, port), Client.to(port) as client:
            assert (await client.send(BODY, "ada@ours.example")).startswith(reply)
            assert relay.entrance.door.counts["discarded", "filter"] == (1 if answer == packet("d") else 0)
            assert relay.entrance.door.counts["refused", "filter"] == (0 if reply.startswith("250") else 1)
        assert [each[3] for each in await kept(config)] == ([] if states is None else [states])


@pytest.mark.parametrize("failure", ["defer", "accept"])
async def test_filters_that_do_not_answer(tmp_path: Path, failure: str) -> None:
    async with Milter({"B": "stall"}).listening() as milter:
        config = filtered(
            relay_config(tmp_path),
            f"milter:127.0.0.1:{milter.port}",
            filter_seconds=0.3,
            filter_failure=failure,
        )
        async with relaying(config) as (relay, port), Client.to(port) as client:
            said = await client.send(BODY, "ada@ours.example")
            assert said.startswith("250 2.0.0" if failure == "accept" else "451 4.7.1 a filter here is out of order")
            assert relay.entrance.door.counts["filter-failed", f"milter:127.0.0.1:{milter.port}"] == 1
        assert len(await kept(config)) == (1 if failure == "accept" else 0)


async def test_a_client_that_leaves_while_a_filter_thinks(tmp_path: Path) -> None:
    async with Milter({"E": "stall"}).listening() as milter:
        config = filtered(relay_config(tmp_path), f"milter:127.0.0.1:{milter.port}", filter_seconds=5.0)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                await client.ask("MAIL FROM:<ann@client.example>")
                await client.ask("RCPT TO:<ada@ours.example>")
                await client.ask("DATA")
                client.writer.write(BODY + b"\r\n.\r\n")
                await client.writer.drain()
                await until(lambda: milter.said("E"))
                client.writer.transport.abort()
            await until(lambda: not relay.entrance.connections)
        assert await kept(config) == []


def test_a_filter_that_cannot_be_one_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match=r"door.filters: 'milter:nowhere': write milter:"):
        check(filtered(relay_config(tmp_path), "milter:nowhere"))
