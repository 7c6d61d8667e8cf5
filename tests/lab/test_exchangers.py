"""The lab's exchangers: what they take and refuse, how they are down, what bounds them, and how zones change them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import Config, LabSettings
from mx10.lab import control, mailhost
from mx10.lab.control import Answer, FolderError, NotRunningError, OrderError, ask, make_folder
from mx10.lab.exchangers import Exchangers, _subject
from mx10.lab.mailhost import Mailbox, Message
from mx10.lab.places import folder_of
from mx10.lab.plan import MailPlace
from mx10.lab.server import Lab
from tests.lab.conftest import Start, free_port

PLACES = {
    "mail.one.example": MailPlace(("127.25.1.1",), frozenset({"one.example"})),
    "mail.two.example": MailPlace(
        ("127.25.1.2", "127.25.1.3"), frozenset({"two.example", "three.example"}), frozenset({"bob"})
    ),
}


class Client:
    """Says a line, and returns the reply to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self) -> str:
        """The last line of a reply; empty at the end."""
        async with asyncio.timeout(5):
            while (line := await self.reader.readline())[3:4] == b"-":
                pass
        return line.decode().removesuffix("\r\n")

    async def say(self, *lines: str) -> str:
        reply = ""
        for line in lines:
            self.writer.write(f"{line}\r\n".encode())
            reply = await self.hear()
        return reply

    async def send(self, recipient: str, text: str = "Subject: hello\r\n\r\nHello.") -> str:
        reply = await self.say("MAIL FROM:<ann@x.example>", f"RCPT TO:<{recipient}>")
        return await self.say("DATA", f"{text}\r\n.") if reply.startswith("250 ") else reply

    async def is_cut_off(self) -> bool:
        """Whether the connection ends, and without a further word."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def connected(address: str, port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def talking(address: str, port: int) -> AsyncIterator[Client]:
    async with connected(address, port) as client:
        assert (await client.hear()).startswith("220 ")
        assert (await client.say("EHLO x.example")).startswith("250 ")
        yield client


@pytest.fixture
async def exchangers() -> AsyncIterator[Exchangers]:
    made = Exchangers(Config(lab=LabSettings(mail_port=free_port())))
    await made.follow(PLACES)
    assert made.running == 2
    yield made
    await made.close()


async def change(exchangers: Exchangers, host: str, health: str) -> dict[str, Any]:
    return (await exchangers.order({"do": "change", "host": host, "health": health})).told


async def test_what_is_taken_is_kept_and_shown(exchangers: Exchangers) -> None:
    async with talking("127.25.1.1", exchangers.port) as client:
        reply = await client.send("bob@one.example", "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n..dots")
        assert reply == "250 2.0.0 taken: mx10 lab mail 1 shows it"
        assert (await client.send("Postmaster")).startswith("250 ")
    listed = (await exchangers.order({"do": "messages"})).told
    assert listed["taken"] == 2
    assert [(each["number"], each["recipients"], each["subject"]) for each in listed["messages"]] == [
        (1, ["bob@one.example"], "grüße"),
        (2, ["postmaster"], "hello"),
    ]
    one = await exchangers.order({"do": "message", "number": 1})
    head, _, body = one.content.partition(b"\r\n\r\n")
    assert head.startswith(b"Return-Path: <ann@x.example>\r\nReceived: from x.example ([127.0.0.1])\r\n")
    assert b"by mail.one.example with ESMTP id 1\r\n\tfor <bob@one.example>;" in head
    assert body == b".dots\r\n"
    assert exchangers.box.coming == 0


async def test_who_is_refused(exchangers: Exchangers) -> None:
    async with talking("127.25.1.3", exchangers.port) as client:
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<bob@one.example>")).startswith("550 5.7.1 the MX records of this domain")
        assert await client.say("RCPT TO:<Ann@two.example>") == "550 5.1.1 there is no such mailbox here; write to bob"
        assert (await client.say("RCPT TO:<later@three.example>")).startswith("450 4.2.1 ")
        assert (await client.say("DATA")).startswith("554 5.5.1")
        assert (await client.say("RCPT TO:<Bob@THREE.example>")).startswith("250 ")
        assert (await client.say("RCPT TO:<postmaster@three.example>")).startswith("250 ")
    async with talking("127.25.1.1", exchangers.port) as client:
        await client.say("MAIL FROM:<>")
        assert (await client.say("RCPT TO:<NoBody@one.example>")).startswith("550 5.1.1 ")
        assert (await client.say("RCPT TO:<Ann@one.example>")).startswith("250 ")


@pytest.mark.parametrize("how", ["down", "silent", "busy"])
async def test_switched_off_and_on(exchangers: Exchangers, how: str) -> None:
    port = exchangers.port
    async with talking("127.25.1.2", port) as client:
        assert (await change(exchangers, "Mail.Two.Example.", how))["before"] == "up"
        # What was connected is cut off, and a message begun is none.
        assert await client.is_cut_off()
        assert exchangers.running == 1
        for address in ("127.25.1.2", "127.25.1.3"):
            if how == "down":
                with pytest.raises(ConnectionError):
                    await asyncio.open_connection(address, port)
                continue
            async with connected(address, port) as other:
                if how == "busy":
                    assert (await other.hear()).startswith("421 4.3.2 ")
                    assert await other.hear() == ""
                else:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await other.reader.read(1)
    # The other one is none the worse for it.
    async with talking("127.25.1.1", port) as client:
        assert (await client.send("bob@one.example")).startswith("250 ")
    assert (await change(exchangers, "mail.two.example", "up"))["fault"] is None
    async with talking("127.25.1.2", port) as client:
        assert (await client.send("bob@two.example")).startswith("250 ")


async def test_an_address_that_cannot_be_had_is_told_and_tried_again(exchangers: Exchangers) -> None:
    await change(exchangers, "mail.one.example", "down")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.25.1.1", exchangers.port):
        told = await change(exchangers, "mail.one.example", "up")
        assert told["fault"].startswith(f"cannot listen on 127.25.1.1:{exchangers.port}: ")
        assert exchangers.running == 1
    assert (await change(exchangers, "mail.one.example", "up"))["fault"] is None
    assert exchangers.running == 2


async def test_orders_that_mean_nothing(exchangers: Exchangers) -> None:
    for order, why in (
        ({"do": "change", "host": "nope.example", "health": "up"}, "those are: mail.one.example, mail.two.example"),
        ({"do": "change", "host": "mail.one.example", "health": "ill"}, "choose one of up, down, silent, busy"),
        ({"do": "message", "number": 1}, "no exchanger has taken a message yet"),
        ({"do": "dance"}, "of another version"),
    ):
        with pytest.raises(OrderError, match=why):
            await exchangers.order(order)
    async with talking("127.25.1.1", exchangers.port) as client:
        await client.send("bob@one.example")
    with pytest.raises(OrderError, match="there is no message 7; those from 1 to 1 are kept"):
        await exchangers.order({"do": "message", "number": 7})


@given(st.dictionaries(st.sampled_from(["do", "host", "health", "number"]), st.none() | st.integers() | st.text()))
def test_any_order_is_done_or_refused_in_words(order: dict[str, Any]) -> None:
    try:
        answer = asyncio.run(Exchangers(Config()).order(order))
    except OrderError as error:
        assert str(error)
    else:
        json.dumps(answer.told)


@given(st.binary(max_size=200), st.text(max_size=50))
def test_any_subject_can_be_shown(header: bytes, charset: str) -> None:
    for line in (header, b"=?" + charset.encode() + b"?b?" + header + b"?="):
        assert len(_subject(b"Subject: " + line + b"\r\n\r\nx")) <= 200


# ---------------------------------------------------------------- bounds


def test_the_oldest_messages_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailhost, "KEPT", 3)
    monkeypatch.setattr(mailhost, "KEPT_OCTETS", 1000)
    box = Mailbox()
    for size in (10, 20, 30, 40):
        box.add(Message(box.taken + 1, "h", 0, "", (), "", "", bytes(size)))
    assert [each.number for each in box.messages] == [2, 3, 4]
    box.add(Message(box.taken + 1, "h", 0, "", (), "", "", bytes(950)))
    assert ([each.number for each in box.messages], box.octets) == ([4, 5], 990)
    assert box.find(3) is None


async def test_no_more_comes_at_once_than_there_is_room_for(
    exchangers: Exchangers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailhost, "MAX_COMING", 1000)
    async with talking("127.25.1.1", exchangers.port) as client:
        assert (await client.send("bob@one.example", "x" * 900 + "\r\n" + "y" * 200)).startswith("452 4.3.1 ")
        assert exchangers.box.coming == 0
        assert (await client.send("bob@one.example", "x" * 900)).startswith("250 ")
        # One that is only begun takes room until it is given up.
        await client.say("MAIL FROM:<>", "RCPT TO:<bob@one.example>", "BDAT 900\r\n" + "x" * 898)
        assert exchangers.box.coming == 900
        async with talking("127.25.1.2", exchangers.port) as other:
            assert (await other.send("bob@two.example", "x" * 200)).startswith("452 4.3.1 ")
            await client.say("RSET")
            assert (await other.send("bob@two.example", "x" * 200)).startswith("250 ")
            await other.say("MAIL FROM:<>", "RCPT TO:<bob@two.example>", "BDAT 500\r\n" + "x" * 498)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not exchangers.box.coming:
                break
        assert exchangers.box.coming == 0


async def test_too_many_connections_and_idle_ones(exchangers: Exchangers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailhost, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(mailhost, "IDLE_SECONDS", 0.3)
    port = exchangers.port
    async with talking("127.25.1.1", port) as client, connected("127.25.1.1", port) as other:
        assert (await other.hear()).startswith("421 4.3.2 ")
        assert (await client.hear()).startswith("421 4.4.2 ")
        assert await client.hear() == ""
    await change(exchangers, "mail.one.example", "silent")
    async with connected("127.25.1.1", port) as client:
        assert await client.is_cut_off()


async def test_whatever_a_client_says(exchangers: Exchangers) -> None:
    """Nothing is left behind, and the next one is served."""
    chance = Random(25)
    pieces = (
        *(b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@one.example>\r\n", b"DATA\r\n", b"BDAT 50\r\n"),
        *(b"BDAT 5 LAST\r\n", b"Subject: x\r\n", b"\r\n.\r\n", b".", b"\n", b"RSET\r\n", b"\x00\xff", b"x" * 3000),
    )
    for _ in range(150):
        async with connected("127.25.1.1", exchangers.port) as client:
            await client.hear()
            said = b"".join(chance.choices(pieces, k=chance.randrange(12)))
            client.writer.write(said[: chance.randrange(len(said) + 1)] if chance.random() < 0.3 else said)
            if chance.random() < 0.5:
                client.writer.write_eof()
                await client.is_cut_off()
    async with talking("127.25.1.1", exchangers.port) as client:
        assert (await client.send("bob@one.example")).startswith("250 ")
    await exchangers.close()
    assert exchangers.box.coming == 0
    assert exchangers.box.octets == sum(len(each.content) for each in exchangers.box.messages)


# ---------------------------------------------------------------- zones


def hosts_of(lab: Lab) -> dict[str, tuple[list[str], list[str]]]:
    told = ask(*lab.address, {"do": "hosts"}).told
    return {each["host"]: (each["addresses"], each["domains"]) for each in told["hosts"]}


async def test_hosts_are_listed_while_they_go(start: Start) -> None:
    lab = await start()
    listed, _ = await asyncio.gather(lab.exchangers.order({"do": "hosts"}), lab.exchangers.follow({}))
    assert len(listed.told["hosts"]) == 7
    assert (await lab.exchangers.order({"do": "hosts"})).told["hosts"] == []


async def test_zones_say_who_takes_mail(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    assert lab.exchangers.running == 7
    hosts = await asyncio.to_thread(hosts_of, lab)
    assert hosts["primary.backup.example"] == (["127.25.3.1"], ["backup.example", "primary.backup.example"])
    await asyncio.to_thread(ask, *lab.address, {"do": "change", "host": "secondary.backup.example", "health": "down"})
    zone = own_zones / "backup.example.zone"
    text = zone.read_text().replace('primary           TXT  "lab mail ann bob sales info"\n', "")
    # One that has an order keeps it at its new address; one is new, and where another one stood.
    text = text.replace("127.25.3.2", "127.25.3.7")
    zone.write_text(text + 'third A 127.25.3.1\nthird TXT "lab mail"\nsub MX 10 third\n')
    # The change is noticed.
    for _ in range(200):
        hosts = await asyncio.to_thread(hosts_of, lab)
        if "third.backup.example" in hosts:
            break
        await asyncio.sleep(0.02)
    assert "primary.backup.example" not in hosts
    assert hosts["secondary.backup.example"] == (["127.25.3.7"], ["backup.example", "secondary.backup.example"])
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.25.3.7", lab.exchangers.port)
    async with talking("127.25.3.1", lab.exchangers.port) as client:
        assert (await client.send("bob@sub.backup.example")).startswith("250 ")
        assert (await client.send("bob@backup.example")).startswith("550 ")


# ---------------------------------------------------------------- control


async def test_the_socket_of_orders(tmp_path: Path) -> None:
    async def echo(order: Any) -> Answer:
        return Answer({"said": order}, b"octets")

    folder = tmp_path / "folder"
    made = await control.Control.start(folder, echo)

    async def raw(data: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(folder / "control")
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer

    assert await raw(b'{"do": 1}\n') == b'{"said": {"do": 1}, "content": 6}\noctets'
    for wrong in (b"\n", b"[]\n", b"\xff\n", b"[" * 4000 + b"\n"):
        assert json.loads((await raw(wrong)).splitlines()[0])["error"]
    assert await raw(b"x" * 10_000) == b""
    made.close()
    (folder / "spool").mkdir()
    (folder / "spool" / "file").write_text("")
    made.remove()
    assert not folder.exists()
    # That of a lab that was killed stands in nobody's way.
    make_folder(folder)
    (folder / "control").write_text("")
    made = await control.Control.start(folder, echo)
    made.close()


async def test_a_client_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SECONDS", 0.1)
    monkeypatch.setattr(control, "MAX_ORDERS", 1)
    made = await control.Control.start(tmp_path / "folder", Exchangers(Config()).order)
    first = await asyncio.open_unix_connection(tmp_path / "folder" / "control")
    second = await asyncio.open_unix_connection(tmp_path / "folder" / "control")
    async with asyncio.timeout(5):
        assert await second[0].read() == b""
        assert await first[0].read() == b""
    for _, writer in (first, second):
        writer.close()
    made.close()


def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    link = tmp_path / "link"
    make_folder(tmp_path / "own")
    link.symlink_to(tmp_path / "own")
    for folder in (open_to_all, link, tmp_path / "missing" / "below"):
        with pytest.raises(FolderError, match="TMPDIR"):
            make_folder(folder)


def test_no_lab_to_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert folder_of("127.53.0.53", 5300).parent == tmp_path
    with pytest.raises(NotRunningError, match="no lab of this user runs at"):
        ask("127.53.0.53", 5300, {"do": "hosts"})
