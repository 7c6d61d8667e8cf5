"""Nobody may send through us to somebody else: the tricks by which relays were opened, one by one."""

from pathlib import Path

import pytest

from tests.relay.running import Client, relay_config, relaying, spooled

TRICKS = (
    "victim@elsewhere.example",
    "victim%elsewhere.example",
    "victim%elsewhere.example@ours.example",
    "victim%elsewhere.example@mx.mx10.test",
    "victim%elsewhere.example@[127.0.0.1]",
    "elsewhere.example!victim",
    "elsewhere.example!victim@ours.example",
    "ours.example!elsewhere.example!victim@ours.example",
    "victim@elsewhere.example@ours.example",
    '"victim@elsewhere.example"',
    '"victim@elsewhere.example"@ours.example',
    '"victim%elsewhere.example"@ours.example',
    '"elsewhere.example!victim"@ours.example',
    "@ours.example:victim@elsewhere.example",
    "@mx.mx10.test:victim@elsewhere.example",
    "@ours.example,@mx.mx10.test:victim@elsewhere.example",
    "victim@[127.0.0.1]",
    "victim@[IPv6:::1]",
    "victim@[192.0.2.1]",
    "victim@elsewhere.example.",
    "victim@ours.example.elsewhere.example",
    "victim@elsewhere.example\\@ours.example",
    "victim@elsewhere.example:25",
    "victim@ELSEWHERE.example",
    "victim@xn--elsewhere-ours.example",
    "victim",
    "@ours.example",
    "victim@localhost",
    "victim@mx.mx10.test",
    "postmaster%elsewhere.example@ours.example",
    "|/bin/sh@ours.example",
    "<victim@elsewhere.example>@ours.example",
)
SENDERS = ("ann@client.example", "ann@ours.example", "postmaster@mx.mx10.test", "", "victim@elsewhere.example")


@pytest.mark.parametrize("sender", SENDERS)
async def test_no_trick_opens_the_relay(tmp_path: Path, sender: str) -> None:
    config = relay_config(tmp_path)
    async with relaying(config) as (_, port):
        taken = []
        for trick in TRICKS:
            async with Client.to(port) as client:
                assert (await client.ask(f"MAIL FROM:<{sender}>")).startswith("250")
                reply = await client.ask(f"RCPT TO:<{trick}>")
                if not reply.startswith(("550 5.7.1", "550 5.1.", "501 5.1.3", "553 5.1.3", "501 5.5.2")):
                    taken.append((trick, reply))
                assert (await client.ask("DATA")).startswith("554 5.5.1")
        assert taken == []
    assert spooled(config, "SELECT COUNT(*) FROM messages") == [(0,)]


async def test_no_trick_beyond_ascii_opens_the_relay(tmp_path: Path) -> None:
    async with relaying(relay_config(tmp_path)) as (_, port), Client.to(port) as client:
        await client.ask("MAIL FROM:<ann@client.example> SMTPUTF8")
        for sign in "\uff05\uff20\uff01\uff5c\ufe6a\ufe6b":
            reply = await client.ask(f"RCPT TO:<victim{sign}elsewhere.example@ours.example>")
            assert reply.startswith("550 5.1.3"), sign
            assert (await client.ask(f"RCPT TO:<victim@elsewhere.example{sign}ours.example>"))[:3] in ("550", "553")
        assert (await client.ask("RCPT TO:<bücher@ours.example>")).startswith("250 2.1.5")


async def test_helo_and_names_of_ours_give_no_rights(tmp_path: Path) -> None:
    async with relaying(relay_config(tmp_path)) as (_, port):
        for name in ("mx.mx10.test", "ours.example", "localhost", "[127.0.0.1]"):
            async with Client.to(port, ehlo=name) as client:
                await client.ask("MAIL FROM:<ann@ours.example>")
                assert (await client.ask("RCPT TO:<victim@elsewhere.example>")).startswith("550 5.7.1")


async def test_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    async with relaying(relay_config(tmp_path)) as (relay, port), Client.to(port) as client:
        await client.ask("MAIL FROM:<ann@client.example>")
        reply = await client.ask("RCPT TO:<victim@elsewhere.example>")
        assert reply == "550 5.7.1 we do not pass mail on to this domain: log in first, or send it to its MX records"
        assert relay.entrance.door.counts["refused", "relay"] == 1


async def test_domains_that_are_ours(tmp_path: Path) -> None:
    for part in ("new", "cur", "tmp"):
        (tmp_path / "ada" / part).mkdir(parents=True)
    config = relay_config(
        tmp_path,
        domains=("ours.example", ".below.example", "bücher.example"),
        transports=(
            "* smtp://127.0.0.1:1 tls=never",
            f"box.example maildir:{tmp_path}/{{local}}",
            "remote.example smtp://127.0.0.1:1 tls=never",
        ),
    )
    async with relaying(config) as (_, port), Client.to(port) as client:
        await client.ask("MAIL FROM:<ann@client.example>")
        for taken in ("ada@OURS.example", "ada@a.b.below.example", "ada@xn--bcher-kva.example", "ada@box.example"):
            assert (await client.ask(f"RCPT TO:<{taken}>")).startswith("250 2.1.5"), taken
        for refused in ("ada@below.example", "ada@xours.example", "ada@remote.example", "ada@a.ours.example"):
            assert (await client.ask(f"RCPT TO:<{refused}>")).startswith("550 5.7.1"), refused


async def test_trusted_networks_may_send_anywhere(tmp_path: Path) -> None:
    config = relay_config(tmp_path, trusted=("127.0.0.0/8",))
    async with relaying(config) as (_, port), Client.to(port) as client:
        assert (await client.send(b"Subject: x\r\n\r\nbody", "victim@elsewhere.example")).startswith("250 2.0.0")
    assert spooled(config, "SELECT address, domain, state FROM recipients") == [
        ("victim@elsewhere.example", "elsewhere.example", "queued")
    ]


async def test_our_postmaster(tmp_path: Path) -> None:
    async with relaying(relay_config(tmp_path)) as (_, port), Client.to(port) as client:
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<postmaster>")).startswith("550 5.1.1 no postmaster")
    config = relay_config(tmp_path, postmaster="root@ours.example")
    async with relaying(config) as (_, port), Client.to(port) as client:
        await client.ask("MAIL FROM:<>")
        for name in ("postmaster", "Postmaster@mx.mx10.test", "POSTMASTER@MX.mx10.test"):
            assert (await client.ask(f"RCPT TO:<{name}>")).startswith("250 2.1.5"), name
        assert (await client.ask("DATA")).startswith("354")
        assert (await client.ask("Subject: x\r\n\r\nx\r\n.")).startswith("250")
    assert spooled(config, "SELECT address FROM recipients") == [("root@ours.example",)]
