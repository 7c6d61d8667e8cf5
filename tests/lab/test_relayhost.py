"""The lab's relay: mail goes to the backup, waits there, and arrives."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mx10.lab.control import OrderError
from mx10.lab.places import folder_of, tls_folder_of
from mx10.lab.server import Lab
from tests.lab.conftest import Start
from tests.lab.test_exchangers import Client, talking

RELAY = "mx1.mailbackup.example"
BACKUP = "127.25.90.1"
BETTER = ("primary.backup.example", "secondary.backup.example")


async def change(lab: Lab, health: str, *hosts: str) -> None:
    for host in hosts:
        told = (await lab.exchangers.order({"do": "change", "host": host, "health": health})).told
        assert not told["fault"], told


async def relay_of(lab: Lab) -> dict[str, Any]:
    hosts = (await lab.exchangers.order({"do": "hosts"})).told["hosts"]
    found: dict[str, Any] = next(host for host in hosts if host["relay"])
    return found


async def arrived(lab: Lab) -> list[tuple[str, str]]:
    messages = (await lab.exchangers.order({"do": "messages"})).told["messages"]
    return [(each["host"], each["recipients"][0]) for each in messages]


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 20) -> None:
    for _ in range(int(seconds / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_mail_goes_to_the_backup_waits_there_and_arrives(start: Start) -> None:
    lab = await start()
    assert ((await relay_of(lab))["host"], (await relay_of(lab))["health"]) == (RELAY, "up")
    await change(lab, "down", *BETTER)
    async with talking(BACKUP, lab.exchangers.port) as client:
        assert (await client.send("sales@backup.example")).startswith("250 2.0.0 kept as ")
        # Nobody can say whether it exists: its mail is taken, and nobody hears of it later.
        assert (await client.send("who@backup.example")).startswith("250 2.0.0 kept as ")
        # Not a domain it is the backup of; nor one whose best exchanger it is.
        assert (await client.send("ann@single.example")).startswith("550 5.7.1 ")
        assert (await client.send("ann@mailbackup.example")).startswith("550 5.7.1 ")
    assert ((await relay_of(lab))["taken"], (await relay_of(lab))["waiting"]) == (2, 2)

    # Stopped, it forgets nothing.
    await change(lab, "down", RELAY)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(BACKUP, lab.exchangers.port)
    assert ((await relay_of(lab))["taken"], (await relay_of(lab))["waiting"]) == (2, 2)
    await change(lab, "up", RELAY)
    assert await arrived(lab) == []

    await change(lab, "up", *BETTER)

    async def nothing_waits() -> bool:
        return not (await relay_of(lab))["waiting"]

    await until(nothing_waits)
    assert await arrived(lab) == [("primary.backup.example", "sales@backup.example")]
    content = lab.exchangers.box.messages[0].content
    assert b"Received: from mx1.mailbackup.example ([127.25.90.1])" in content
    assert b"by mx1.mailbackup.example with ESMTP" in content
    # Now the primary can be asked.
    async with talking(BACKUP, lab.exchangers.port) as client:
        assert (await client.send("who@backup.example")).startswith("550 5.1.1 ")

    folder = folder_of(*lab.address)
    assert (folder / "spool" / "spool.db").exists()
    await lab.close()
    assert not folder.exists()


async def test_only_a_sender_whose_domain_vouches_for_it_hears_of_a_refusal(start: Start) -> None:
    """As docs/lab.md has it: one message is from anywhere, one from the address that SPF names."""
    lab = await start()
    await change(lab, "down", *BETTER)
    for origin in ("127.0.0.1", "127.25.1.1"):
        reader, writer = await asyncio.open_connection(BACKUP, lab.exchangers.port, local_addr=(origin, 0))
        client = Client(reader, writer)
        await client.hear()
        await client.say("EHLO x.example", "MAIL FROM:<ann@single.example>")
        assert (await client.say("RCPT TO:<who@backup.example>")).startswith("250 ")
        assert (await client.say("DATA", f"Subject: from {origin}\r\n\r\nHello.\r\n.")).startswith("250 ")
        writer.close()
    await change(lab, "up", *BETTER)

    async def nothing_waits() -> bool:
        return not (await relay_of(lab))["waiting"]

    await until(nothing_waits)
    assert await arrived(lab) == [("mail.single.example", "ann@single.example")]
    report = lab.exchangers.box.messages[0]
    assert report.sender == ""
    assert b"Subject: from 127.25.1.1\r\n" in report.content


async def test_the_relay_can_be_silent_and_busy(start: Start) -> None:
    lab = await start()
    for how, says in (("busy", b"421 4.3.2"), ("silent", b"")):
        await change(lab, how, RELAY)
        reader, writer = await asyncio.open_connection(BACKUP, lab.exchangers.port)
        said = b""
        try:
            async with asyncio.timeout(0.3):
                said = await reader.read(9)
        except TimeoutError:
            pass
        writer.close()
        assert said == says
    await change(lab, "up", RELAY)
    async with talking(BACKUP, lab.exchangers.port) as client:
        assert (await client.send("sales@backup.example")).startswith("250 ")


async def test_an_address_that_cannot_be_had(start: Start) -> None:
    lab = await start()
    await change(lab, "down", RELAY)
    async with await asyncio.start_server(lambda _, writer: writer.close(), BACKUP, lab.exchangers.port):
        told = (await lab.exchangers.order({"do": "change", "host": RELAY, "health": "up"})).told
        assert f"cannot listen on {BACKUP}:{lab.exchangers.port}" in told["fault"]
    await change(lab, "up", RELAY)


async def test_zones_say_whose_backup_it_is(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    zone = own_zones / "single.example.zone"
    async with talking(BACKUP, lab.exchangers.port) as client:
        assert (await client.send("ann@single.example")).startswith("550 5.7.1 ")
    zone.write_text(zone.read_text() + "@ MX 20 mx1.mailbackup.example.\n")

    async def takes_it() -> bool:
        found = await relay_of(lab)
        return "single.example" in found["domains"] and found["health"] == "up"

    # The change is noticed.
    await until(takes_it)
    await change(lab, "down", "mail.single.example")
    async with talking(BACKUP, lab.exchangers.port) as client:
        assert (await client.send("ann@single.example")).startswith("250 ")
    # Taken out of the zones it is no more.
    other = own_zones / "mailbackup.example.zone"
    other.write_text(other.read_text().replace('mx1               TXT  "lab relay"\n', ""))

    async def is_gone() -> bool:
        try:
            _, writer = await asyncio.open_connection(BACKUP, lab.exchangers.port)
        except ConnectionError:
            return True
        writer.close()
        return False

    await until(is_gone)
    with pytest.raises(OrderError, match="no exchanger that runs"):
        await change(lab, "up", RELAY)


async def command(lab: Lab, *arguments: str) -> tuple[int | None, str, str]:
    port = str(lab.address[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mx10", "--lab", *arguments),
        env={**os.environ, "MX10_LAB__PORT": port, "MX10_LAB__MAIL_PORT": port},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_tls_that_can_be_verified(start: Start, tmp_path: Path) -> None:
    lab = await start()
    message = tmp_path / "message"
    message.write_text("Subject: hello\n\nHello.\n")
    send = ("send", "--from", "ann@single.example", "--tls", "verified", "--to", "sales@backup.example", str(message))
    code, out, errors = await command(lab, *send)
    assert code == 0, (out, errors)
    await change(lab, "down", *BETTER)
    code, out, errors = await command(lab, *send)
    assert code == 0, (out, errors)
    assert "mx1.mailbackup.example [127.25.90.1] took it" in out
    await change(lab, "up", *BETTER)

    async def both_are_there() -> bool:
        return len(await arrived(lab)) == 2

    await until(both_are_there)
    for each in lab.exchangers.box.messages:
        assert b"with ESMTPS id" in each.content.partition(b"\r\n\r\n")[0]
        assert b"\t(TLSv1.3 " in each.content
    files = tls_folder_of(folder_of(*lab.address))
    assert {path.name for path in files.iterdir()} > {"ca.pem", "mx1.mailbackup.example.pem"}
    assert {path.stat().st_mode & 0o777 for path in files.iterdir()} == {0o600}


async def test_tls_that_goes_wrong(start: Start) -> None:
    lab = await start()
    async with talking("127.25.3.1", lab.exchangers.port) as client:
        assert (await client.say("STARTTLS")).startswith("220 ")
        client.writer.write(b"MAIL FROM:<>\r\n" * 10)
        assert await client.is_cut_off()
    async with talking("127.25.3.1", lab.exchangers.port) as client:
        assert (await client.send("sales@backup.example")).startswith("250 ")


async def test_commands_look_into_its_spool(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    code, out, errors = await command(lab, "backup", "backup.example", "--json")
    assert code == 0, errors
    assert json.loads(out)["hostname"] == RELAY
    await change(lab, "down", *BETTER)
    async with talking(BACKUP, lab.exchangers.port) as client:
        reply = await client.send("sales@backup.example")
        assert reply.startswith("250 ")

    async def is_explained() -> bool:
        code, out, errors = await command(lab, "queue", "explain", reply.split()[-1])
        assert code == 0, errors
        return "the relay looks every 3 s or sooner" in out

    await until(is_explained)
    # Also while it is down.
    await change(lab, "down", RELAY)
    code, out, errors = await command(lab, "queue", "list", "--json")
    assert code == 0, errors
    assert "sales@backup.example" in out
    zone = own_zones / "mailbackup.example.zone"
    zone.write_text(zone.read_text().replace('"lab relay"', '"lab mail"'))

    async def is_no_relay() -> bool:
        hosts = (await lab.exchangers.order({"do": "hosts"})).told["hosts"]
        return not any(host["relay"] for host in hosts)

    await until(is_no_relay)
    code, _, errors = await command(lab, "backup", "backup.example")
    assert code == 3
    assert 'the lab has no relay: give an exchanger the record TXT "lab relay"' in errors
