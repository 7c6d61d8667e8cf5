"""The door as clients meet it: what is kept, what is put before it, what is refused, who may log in."""

import asyncio
import base64
import gc
import smtplib
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mx10.relay.door import header as header_module
from mx10.relay.door import service
from mx10.relay.door.connection import Connection, Entrance, Times
from mx10.relay.door.door import FREE_BYTES
from mx10.relay.door.header import HeaderReader
from mx10.relay.door.receiving import Receiving
from mx10.relay.door.users import UsersError, parse_users, to_line
from mx10.relay.values import Envelope
from mx10.smtp.auth import ScramKeys
from mx10.smtp.receiving import ServerOptions
from tests.nameserver.test_tls import write_certificate
from tests.relay.running import Client, relay_config, relaying, spooled

BODY = b"Subject: hello\r\n\r\nline\r\n.dot\r\n..two\r\n"


async def test_a_message_is_kept_as_it_came(tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port), Client.to(port) as client:
        reply = await client.send(
            BODY, "ada@ours.example", "bob@ours.example", extra=" BODY=8BITMIME RET=HDRS ENVID=e1"
        )
    assert reply.startswith("250 2.0.0 kept as ")
    ((reverse_path, head, body, size, envelope),) = spooled(
        config, "SELECT reverse_path, head, body, size, envelope FROM messages"
    )
    assert (reverse_path, body, size) == ("ann@client.example", BODY + b"\r\n", len(head) + len(BODY) + 2)
    assert b"Received: from client.example ([127.0.0.1])\r\n\tby mx.mx10.test with ESMTP id " in head
    assert reply.split()[-1].encode() in head
    # Of several recipients none learns of the others.
    assert b"for <" not in head
    assert '"body":"8BITMIME","ret":"HDRS","envid":"e1","client":"127.0.0.1","helo":"client.example"' in envelope
    assert spooled(config, "SELECT number, address FROM recipients") == [
        (0, "ada@ours.example"),
        (1, "bob@ours.example"),
    ]


@pytest.mark.parametrize("trusted", [False, True])
async def test_strangers_do_not_jump_the_queue(tmp_path: Path, trusted: bool) -> None:
    """RFC 6710 section 4.1."""
    config = relay_config(tmp_path, trusted=("127.0.0.0/8",) if trusted else ())
    async with relaying(config) as (_, port), Client.to(port) as client:
        said = await client.ask("MAIL FROM:<ann@client.example> MT-PRIORITY=9")
        assert said.startswith("250 2.1.0" if trusted else "250 2.3.6 0 ")
        await client.ask("RSET")
        await client.send(BODY, "ada@ours.example", extra=" MT-PRIORITY=9")
        await client.send(BODY, "ada@ours.example", extra=" MT-PRIORITY=-3")
    rows = spooled(config, "SELECT head, envelope FROM messages ORDER BY id")
    for (head, envelope), priority in zip(rows, (9 if trusted else 0, -3), strict=True):
        assert f"\r\n\tfor <ada@ours.example>\r\n\tPRIORITY {priority};\r\n".encode() in head
        assert f'"priority":{priority}' in envelope


@pytest.mark.parametrize("last", ["QUIT", "DATA", "RSET"])
async def test_a_connection_that_ended_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """Not only when Python next looks for what holds itself, nor when another has taken its place."""
    monkeypatch.setattr(service, "_SWEEP_SECONDS", 0.01)

    def connections() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, (Connection, Receiving))}

    async with relaying(relay_config(tmp_path)) as (relay, port):
        gc.collect()
        gc.disable()
        before = connections()
        try:
            async with Client.to(port) as client:
                await client.send(BODY, "ada@ours.example")
                await client.ask("MAIL FROM:<ann@client.example>")
                await client.ask("RCPT TO:<ada@ours.example>")
                # Until slow ones were looked for.
                await asyncio.sleep(0.05)
                await client.ask(last)
            async with asyncio.timeout(20):
                while connections() - before:  # noqa: ASYNC110  # they tell nobody
                    await asyncio.sleep(0.01)
            assert relay.connections == 0
        finally:
            gc.enable()


async def test_a_recipient_named_twice_gets_one_copy(tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port), Client.to(port) as client:
        await client.send(BODY, "ada@ours.example", "ada@ours.example")
    assert spooled(config, "SELECT COUNT(*) FROM recipients") == [(1,)]
    assert b"for <ada@ours.example>;" in spooled(config, "SELECT head FROM messages")[0][0]


async def test_many_recipients_named_twice_get_one_copy_each(tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    people = [f"u{number}@ours.example" for number in range(150)]
    async with relaying(config) as (_, port), Client.to(port) as client:
        assert (await client.send(BODY, *people, *people)).startswith("250")
    assert spooled(config, "SELECT COUNT(*), COUNT(DISTINCT address) FROM recipients") == [(150, 150)]


async def test_large_messages_are_files(tmp_path: Path) -> None:
    config = relay_config(tmp_path, body_in_database_kb=16)
    content = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 20_000
    async with relaying(config) as (_, port), Client.to(port) as client:
        reply = await client.send(content, "ada@ours.example")
    name = reply.split()[-1]
    assert (tmp_path / "spool" / "bodies" / name).read_bytes() == content + b"\r\n"
    assert spooled(config, "SELECT body FROM messages") == [(None,)]


async def test_what_is_in_a_message_is_not_looked_at(tmp_path: Path) -> None:
    """NULs, parts within parts, lines without end: whoever opens it minds, not who carries it."""
    config = relay_config(tmp_path, body_in_database_kb=1000)
    nested = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth, depth + 1) for depth in range(5000)
    )
    bombs = (
        b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + nested,
        b"Subject: n\0\0l\r\n\r\na\0b\r\n\0.\r\n.\0\r\n\xff\xfe",
        b"X: y\r\n\r\n" + b"z" * 300_000,
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 1000 + b"\r\n" + b"A" * 1000,
    )
    async with relaying(config) as (_, port), Client.to(port) as client:
        for bomb in bombs:
            assert (await client.send(bomb, "ada@ours.example")).startswith("250 2.0.0")
    kept = spooled(config, "SELECT body FROM messages ORDER BY id")
    assert [row[0] for row in kept] == [bomb + b"\r\n" for bomb in bombs]


async def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    config = relay_config(tmp_path, body_in_database_kb=16)
    async with relaying(config) as (relay, port):
        async with Client.to(port) as client:
            await client.ask("MAIL FROM:<ann@client.example>")
            await client.ask("RCPT TO:<ada@ours.example>")
            await client.ask("DATA")
            client.writer.write(b"Subject: x\r\n\r\n" + b"x" * 60 + b"\r\n" + b"0123456789\r\n" * 20_000)
            await client.writer.drain()
            bodies = tmp_path / "spool" / "bodies"
            while not list(bodies.iterdir()):  # noqa: ASYNC110  # a file tells nobody that it is there
                await asyncio.sleep(0.01)
        # Files are removed some at a time.
        async with asyncio.timeout(10):
            while relay.entrance.connections or list(bodies.iterdir()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert spooled(config, "SELECT COUNT(*) FROM messages") == [(0,)]


async def test_messages_in_circles(tmp_path: Path) -> None:
    config = relay_config(tmp_path, hops=25)
    async with relaying(config) as (_, port), Client.to(port) as client:
        hops = b"Received: from a by b\r\n" * 24
        assert (await client.send(hops + b"\r\nx", "ada@ours.example")).startswith("250")
        assert (await client.send(hops + b"RECEIVED : x\r\n\r\nx", "ada@ours.example")).startswith("554 5.4.6")
        circle = b"Delivered-To: Ada@ours.example\r\n\r\nx"
        assert (await client.send(circle, "ada@ours.example")).startswith("554 5.4.6")
        assert (await client.send(circle, "bob@ours.example")).startswith("250")
        # What looks like a field, and is none: in the body.
        assert (await client.send(b"\r\n" + hops * 2, "ada@ours.example")).startswith("250")


async def test_endless_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAX_HEADER", 10_000)
    async with relaying(relay_config(tmp_path)) as (_, port), Client.to(port) as client:
        assert (await client.send(b"X: y\r\n" * 3000, "ada@ours.example")).startswith("552 5.3.4")
        assert (await client.send(b"X: y\r\n\r\n" + b"X: y\r\n" * 3000, "ada@ours.example")).startswith("250")


async def test_more_than_we_take(tmp_path: Path) -> None:
    config = relay_config(tmp_path, message_mb=1, recipients=100)
    async with relaying(config) as (_, port), Client.to(port) as client:
        assert (await client.ask("MAIL FROM:<ann@client.example> SIZE=1073741824")).startswith("552 5.3.4")
        assert (await client.send(b"x\r\n" * 400_000, "ada@ours.example")).startswith("552 5.3.4")
        await client.ask("MAIL FROM:<ann@client.example>")
        replies = [await client.ask(f"RCPT TO:<u{number}@ours.example>") for number in range(101)]
        assert [reply[:9] for reply in replies[-2:]] == ["250 2.1.5", "452 4.5.3"]
    assert spooled(config, "SELECT COUNT(*) FROM messages") == [(0,)]


async def test_too_many_connections(tmp_path: Path) -> None:
    config = relay_config(tmp_path, connections=2)
    async with relaying(config) as (_, port), Client.to(port), Client.to(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.read()).startswith(b"421 4.3.2 too many connections")
        writer.close()


async def test_words_before_the_greeting(tmp_path: Path) -> None:
    async with relaying(relay_config(tmp_path)) as (relay, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            # Nothing of ours has run since it connected, so this is there before anybody could greet it.
            client.send(b"EHLO early.example\r\nMAIL FROM:<a@client.example>\r\n")
            reader, writer = await asyncio.open_connection(sock=client.dup())
            async with asyncio.timeout(5):
                assert await reader.read() == b"554 5.5.1 you speak before the greeting\r\n"
            writer.close()
        assert relay.entrance.door.counts["refused", "protocol"] == 1
        # Who only looks whether we are there makes no mistake.
        socket.create_connection(("127.0.0.1", port)).close()
        async with Client.to(port) as later:
            assert (await later.ask("NOOP")).startswith("250")
        assert relay.entrance.door.counts["refused", "protocol"] == 1


async def test_a_client_that_reads_nothing_is_noticed_within_a_turn(tmp_path: Path) -> None:
    """What it is told waits for the end of a turn once, and not for all that the system reads in that."""
    ours, theirs = socket.socketpair()
    said: list[bytes] = []
    transport: Any = SimpleNamespace(
        get_extra_info=lambda name: {"peername": ("127.0.0.1", 5), "socket": ours}[name],
        write=said.append,
        is_closing=lambda: False,
        abort=lambda: None,
    )
    entrance = Entrance("127.0.0.1:25", "mx", ServerOptions("mx.test"), Times(9, 9), None, lambda _: True)
    with ours, theirs:
        async with relaying(relay_config(tmp_path)) as (relay, _):
            connection = Connection(relay.entrance.door, entrance, set(), lambda: 0)
            connection.connection_made(transport)
            said.clear()
            connection.data_received(b"NOOP\r\n")
            assert not said
            connection.data_received(b"NOOP\r\n" * 3)
            assert b"".join(said) == b"250 2.0.0 ok\r\n" * 4


async def test_slow_clients(tmp_path: Path) -> None:
    config = relay_config(tmp_path, command_seconds=0.3)
    async with relaying(config) as (_, port), Client.to(port) as client:
        assert (await client.reply()).startswith("421 4.4.2")
        assert await client.reply() == ""


async def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port), Client.to(port) as client:
        monkeypatch.setattr("mx10.relay.door.door.FREE_BYTES", 1 << 60)
        monkeypatch.setattr("mx10.relay.door.door._LOOK_SECONDS", -1.0)
        assert (await client.ask("MAIL FROM:<ann@client.example>")).startswith("452 4.3.1 no room")
        monkeypatch.undo()
        assert (await client.send(BODY, "ada@ours.example")).startswith("250")


async def test_what_is_announced_takes_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.relay.door.door._LOOK_SECONDS", 60.0)
    monkeypatch.setattr(
        "mx10.relay.door.door.os.statvfs", lambda _: SimpleNamespace(f_bavail=FREE_BYTES + 10_000_000, f_frsize=1)
    )
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port), Client.to(port) as first, Client.to(port) as second:
        mail = "MAIL FROM:<ann@client.example> SIZE=4000000"
        assert (await first.ask(mail)).startswith("250")
        assert (await second.ask(mail)).startswith("452 4.3.1 no room")


async def test_a_spool_that_cannot_be_written(tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port), Client.to(port) as client:
        assert (await client.send(BODY, "ada@ours.example")).startswith("250")
        path = tmp_path / "spool" / "spool.db"
        path.rename(tmp_path / "away.db")
        assert (await client.send(BODY, "bob@ours.example")).startswith("451 4.3.0")
        (tmp_path / "away.db").rename(path)
        assert (await client.send(BODY, "carol@ours.example")).startswith("250")
    found = spooled(config, "SELECT address FROM recipients ORDER BY message")
    assert found == [("ada@ours.example",), ("carol@ours.example",)]


# ---------------------------------------------------------------- users


@pytest.fixture
def secured(tmp_path: Path) -> dict[str, Any]:
    certificate, key = write_certificate(tmp_path, "mx.mx10.test")
    users = tmp_path / "users"
    users.write_text("# ours\n" + to_line("ada", ScramKeys.of("s3cret wörd", b"0123456789abcdef")) + "\n")
    return {"tls_certificate": certificate, "tls_key": key, "users": users}


def _submit(port: int, user: str, password: str, mechanism: str) -> object:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("laptop.example")
        assert not client.has_extn("auth")
        try:
            client.sendmail("ada@ours.example", ["victim@elsewhere.example"], "Subject: early\n\nx")
        except smtplib.SMTPSenderRefused as refused:
            assert refused.smtp_code == 530
        client.starttls(context=context)
        client.ehlo("laptop.example")
        client.user, client.password = user, password
        method = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[mechanism]
        try:
            client.auth(mechanism, method)
        except (smtplib.SMTPAuthenticationError, UnicodeEncodeError) as error:
            return error
        return client.sendmail("ada@ours.example", ["victim@elsewhere.example"], "Subject: hello\n\nx")


async def test_who_logs_in_may_send_anywhere(tmp_path: Path, secured: dict[str, Any]) -> None:
    secured["users"].write_text(to_line("ada", ScramKeys.of("s3cret", b"0123456789abcdef")) + "\n")
    config = relay_config(tmp_path, **secured)
    async with relaying(config, "submission") as (_, port):
        for mechanism in ("PLAIN", "LOGIN"):
            assert await asyncio.to_thread(_submit, port, "ada", "s3cret", mechanism) == {}
            wrong = await asyncio.to_thread(_submit, port, "ada", "wrong", mechanism)
            assert isinstance(wrong, smtplib.SMTPAuthenticationError)
            assert wrong.smtp_code == 535
        nobody = await asyncio.to_thread(_submit, port, "bob", "s3cret", "PLAIN")
        assert isinstance(nobody, smtplib.SMTPAuthenticationError)
    heads = [row[0] + row[1] for row in spooled(config, "SELECT head, body FROM messages")]
    assert len(heads) == 2
    for head in heads:
        assert b"with ESMTPSA id " in head
        assert b"Authentication-Results" not in head
        assert b"(TLSv1.3 TLS_AES_256_GCM_SHA384)" in head
        assert b"\r\nDate: " in head
        assert b"\r\nMessage-ID: <" in head


@pytest.mark.parametrize("extra", ["", " REQUIRETLS"])
async def test_requiretls_is_heard_before_the_header(tmp_path: Path, secured: dict[str, Any], extra: str) -> None:
    """RFC 8689 section 4.1."""
    config = relay_config(tmp_path, **secured)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with relaying(config) as (_, port), Client.to(port) as client:
        await client.ask("STARTTLS")
        await asyncio.wait_for(client.writer.start_tls(context), 10)
        await client.ask("EHLO client.example")
        content = b"TLS-Required: No\r\nSubject: x\r\n\r\nbody"
        assert (await client.send(content, "ada@ours.example", extra=extra)).startswith("250 2.0.0")
    ((found, body),) = spooled(config, "SELECT envelope, body FROM messages")
    envelope = Envelope.from_json("ann@client.example", found)
    assert (envelope.requiretls, envelope.tls_optional) == (bool(extra), not extra)
    assert body == content + b"\r\n"


async def test_commands_behind_starttls_are_forgotten(tmp_path: Path, secured: dict[str, Any]) -> None:
    config = relay_config(tmp_path, **secured)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with relaying(config) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        await client.reply()
        await client.ask("EHLO client.example")
        writer.write(b"STARTTLS\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<ada@ours.example>\r\n")
        assert (await client.reply()).startswith("220")
        try:
            await asyncio.wait_for(writer.start_tls(context), 10)
        except (ssl.SSLError, OSError):
            return  # what was sent ahead broke the handshake: fine, too
        assert (await client.ask("RCPT TO:<ada@ours.example>")).startswith("503")
        writer.close()


def test_users_that_cannot_be() -> None:
    good = to_line("ada", ScramKeys.of("x", b"salt" * 4))
    assert list(parse_users(f"\n# x\n{good}\n", "users")) == ["ada"]
    for wrong in ("ada", "ada x", "ada SCRAM-SHA-256$1:x$y:z", "ada SCRAM-SHA-256$4096:!!$!!:!!", good + " more"):
        with pytest.raises(UsersError, match=r"users:2: this is no user; `mx10 relay-user NAME` prints a line"):
            parse_users(f"\n{wrong}", "users")
    few = base64.b64encode(b"short").decode()
    with pytest.raises(UsersError):
        parse_users(f"ada SCRAM-SHA-256$4096:{few}${few}:{few}", "users")


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_headers_in_pieces(size: int) -> None:
    message = (
        b"Received: a\r\nReceived:\r\n b\r\nDelivered-To: <A@b.example>\r\n"
        b"Authentication-Results: mx.mx10.test; dkim=pass\r\n header.d=x\r\n"
        b"Authentication-Results: (c) MX.mx10.TEST 1; spf=pass\r\nAuthentication-Results: other.example; none\r\n"
        b"Subject: x\r\n\r\nReceived: no\r\n\r\nbody\r\n"
    )
    reader = HeaderReader("mx.mx10.test")
    kept = b"".join(reader.feed(message[at : at + size]) for at in range(0, len(message), size)) + reader.finish()
    assert (reader.received, reader.delivered_to) == (2, frozenset({"a@b.example"}))
    # RFC 8601 section 5: what claims to be found out by us, and was not, goes.
    assert kept == message.replace(
        b"Authentication-Results: mx.mx10.test; dkim=pass\r\n header.d=x\r\n"
        b"Authentication-Results: (c) MX.mx10.TEST 1; spf=pass\r\n",
        b"",
    )
    assert reader.has(b"subject")
    assert not reader.has(b"date")


@pytest.mark.parametrize(
    "words",
    [
        b"Authentication-Results : mx.mx10.test; dkim=pass", b"authentication-results\t: mx.mx10.test; dkim=pass",
        b"Authentication-Results: (a (b) c) mx.mx10.test; dkim=pass", b"Authentication-Results: ((a)(b)) mx.mx10.test",
        b"Authentication-Results: (a\\)) mx.mx10.test;", b"Authentication-Results:\r\n (a)\r\n\tMX.mx10.test(b);",
        b'Authentication-Results: "mx.mx10.test";', b'Authentication-Results: "mx\\.mx10.\\test"; dkim=pass',
        b"Authentication-Results: mx.mx10.test.; dkim=pass",
    ],
)  # fmt: skip
def test_nobody_else_speaks_in_our_name(words: bytes) -> None:
    reader = HeaderReader("mx.mx10.test")
    assert reader.feed(b"A: b\r\n" + words + b"\r\nC: d\r\n\r\n") == b"A: b\r\nC: d\r\n\r\n"


@pytest.mark.parametrize(
    "words",
    [
        b"other.example; dkim=pass", b"(mx.mx10.test) other.example;", b"other.example (mx.mx10.test)", b"", b"((((",
        b'"mx.mx10.test', b"(mx.mx10.test", b"mx.mx10.test.example; dkim=pass", b"\\", b")))", b'"\\',
    ],
)  # fmt: skip
def test_what_others_found_out_stays(words: bytes) -> None:
    message = b"Authentication-Results: " + words + b"\r\n\r\n"
    assert HeaderReader("mx.mx10.test").feed(message) == message


@pytest.mark.parametrize(
    ("header", "optional"),
    [
        (b"TLS-Required: No\r\n", True), (b"tls-required:NO\r\n", True),
        (b"A: b\r\nTLS-Required:\r\n no \r\nC: d\r\n", True),
        (b"TLS-Required: Yes\r\n", False), (b"TLS-Required: No, thanks\r\n", False), (b"TLS-Required: N o\r\n", False),
        (b"TLS-Required: (x) No\r\n", False), (b"TLS-Required:\r\n", False), (b"TLS-Required: No\r\n way\r\n", False),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", False), (b"X-TLS-Required: No\r\n", False),
        (b"Subject: TLS-Required: No\r\n", False), (b"Subject: x\r\n TLS-Required: No\r\n", False), (b"", False),
    ],
)  # fmt: skip
def test_who_does_not_insist_on_tls(header: bytes, optional: bool) -> None:
    """RFC 8689 section 3."""
    reader = HeaderReader("mx.mx10.test")
    message = header + b"\r\nTLS-Required: No\r\n"
    assert reader.feed(message) == message
    assert reader.tls_optional is optional


@pytest.mark.parametrize(
    "field", [b"Delivered-To:\r\n <A@b.example>", b"Delivered-To : a@b.example", b"delivered-to:a@B.example\r\n "]
)
def test_to_whom_it_was_delivered_however_it_is_written(field: bytes) -> None:
    reader = HeaderReader("mx.mx10.test")
    reader.feed(field + b"\r\n\r\n")
    assert reader.delivered_to == {"a@b.example"}


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\nbody", b"X: y", b"X: y\r\n", b"no header at all\r\n" * 10])
def test_messages_without_a_header_or_body(message: bytes) -> None:
    reader = HeaderReader("mx.mx10.test")
    assert reader.feed(message) + reader.finish() == message
