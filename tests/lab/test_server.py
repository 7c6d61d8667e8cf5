"""The running lab: what each of its domains answers, how its servers misbehave, and what an edit changes."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from mx10.dns import rrtypes as rr
from mx10.lab import ZONES
from mx10.lab.guide import examples
from mx10.lab.server import LabError, RunningAlreadyError
from tests.lab.asking import Client, words
from tests.lab.conftest import Start, free_port

# What is not "there are MX records": response code, and whether there is an MX record at the end.
UNUSUAL = {
    "missing.example": rr.Rcode.NXDOMAIN,
    "dangling.aliases.test": rr.Rcode.NXDOMAIN,
    "loop.aliases.test": rr.Rcode.SERVFAIL,
    "self.aliases.test": rr.Rcode.SERVFAIL,
    "long1.aliases.test": rr.Rcode.SERVFAIL,
    "stuck.aliases.test": rr.Rcode.SERVFAIL,
    "lame.test": rr.Rcode.SERVFAIL,
    "silent.test": rr.Rcode.SERVFAIL,
    "servfail.test": rr.Rcode.SERVFAIL,
    "refused.test": rr.Rcode.SERVFAIL,
    "unknown-ns.test": rr.Rcode.SERVFAIL,
    "circle.test": rr.Rcode.SERVFAIL,
}
WITHOUT_MX = {
    "implicit.example",
    "implicit6.example",
    "nomail.example",
    "sub.nomail.example",
    "nothing.aliases.test",
    "www.wildcard.test",
}


async def test_every_domain_on_the_list_answers_as_it_should(start: Start) -> None:
    client = Client(await start())
    listed = [each.domain for each in examples(ZONES)]
    answers = await asyncio.gather(*map(client, listed))
    for domain, message in zip(listed, answers, strict=True):
        assert message.rcode == UNUSUAL.get(domain, rr.Rcode.NOERROR), domain
        assert message.ra, domain
        assert not message.aa, domain
        has_mx = any(record.type == rr.MX for record in message.answer)
        assert has_mx == (domain not in UNUSUAL and domain not in WITHOUT_MX), domain
    assert UNUSUAL.keys() | WITHOUT_MX <= set(listed)


async def test_quick_once_warm(start: Start) -> None:
    client = Client(await start())
    await client("backup.example")
    seconds = []
    for _ in range(50):
        began = time.perf_counter()
        await client("backup.example")
        seconds.append(time.perf_counter() - began)
    # Not the mean: now and then the processors have other things to do.
    assert statistics.median(seconds) < 0.02


async def test_each_zone_is_answered_at_its_own_servers_only(start: Start) -> None:
    client = Client(await start())
    own = await client.at("127.53.2.1", "single.example.")
    assert own.aa
    assert words(own.answer) == ["single.example. MX 10 mail.single.example."]
    referral = await client.at("127.53.1.3", "single.example.")
    assert not referral.aa
    assert not referral.answer
    assert [record.type for record in referral.authority] == [rr.NS, rr.NS]
    assert (await client.at("127.53.2.3", "single.example.")).rcode == rr.Rcode.REFUSED


async def test_manners(start: Start) -> None:
    client = Client(await start())
    assert (await client.at("127.53.2.22", "servfail.test.")).rcode == rr.Rcode.SERVFAIL
    with pytest.raises(TimeoutError):
        await client.at("127.53.2.21", "silent.test.", seconds=0.2)
    with pytest.raises(Exception, match="refused"):
        await client.at("127.53.2.20", "lame.test.")
    began = time.perf_counter()
    assert words((await client.at("127.53.2.23", "slow.test.")).answer) == ["slow.test. MX 10 mail.slow.test."]
    # Slow, and not silent, on a machine that has other things to do, too.
    assert 0.14 < time.perf_counter() - began < 3


async def test_a_silent_domain_is_given_up_in_time(start: Start) -> None:
    client = Client(await start())
    began = time.perf_counter()
    assert (await client("silent.test")).rcode == rr.Rcode.SERVFAIL
    # Those who ask wait for five seconds (resolv.conf(5)).
    assert time.perf_counter() - began < 5


# -- edits -----------------------------------------------------------------------------------------------------------


async def eventually(client: Client, name: str, expected: list[str], rcode: int = 0) -> None:
    """Ask until the answer is as expected: an edit needs less than a second, where nothing else goes on."""
    message = await client(name)
    for _ in range(500):
        if words(message.answer) == expected and message.rcode == rcode:
            return
        await asyncio.sleep(0.02)
        message = await client(name)
    assert (words(message.answer), message.rcode) == (expected, rcode)


async def test_an_edit_is_in_the_next_answers(start: Start, own_zones: Path) -> None:
    client = Client(await start(own_zones))
    await eventually(client, "single.example", ["single.example. MX 10 mail.single.example."])
    zone = own_zones / "single.example.zone"
    zone.write_text(zone.read_text().replace("MX   10", "MX   7"))
    await eventually(client, "single.example", ["single.example. MX 7 mail.single.example."])
    # As editors do it: another file is moved into place.
    (own_zones / ".new").write_text(zone.read_text().replace("MX   7", "MX   8"))
    (own_zones / ".new").rename(zone)
    await eventually(client, "single.example", ["single.example. MX 8 mail.single.example."])


async def test_a_bad_edit_leaves_the_zone_as_it_was(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    client = Client(lab)
    zone = own_zones / "single.example.zone"
    zone.write_text(zone.read_text() + "what is this\n")
    await lab.reload()
    await eventually(client, "single.example", ["single.example. MX 10 mail.single.example."])


async def test_zones_and_servers_come_and_go(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    client = Client(lab)
    servers, zones = lab.servers, lab.zones
    await eventually(client, "new.example", [], rr.Rcode.NXDOMAIN)
    (own_zones / "new.example.zone").write_text(
        "$TTL 60\n@ SOA ns h 1 7200 3600 1209600 300\n@ NS ns\nns A 127.53.3.1\n@ MX 5 mail\nmail A 127.25.99.1\n"
    )
    above = own_zones / "example.zone"
    text = above.read_text()
    above.write_text(text + "new NS ns.new\nns.new A 127.53.3.1\n")
    await eventually(client, "new.example", ["new.example. MX 5 mail.new.example."])
    assert (lab.servers, lab.zones) == (servers + 1, zones + 1)
    (own_zones / "new.example.zone").unlink()
    above.write_text(text)
    await eventually(client, "new.example", [], rr.Rcode.NXDOMAIN)
    assert (lab.servers, lab.zones) == (servers, zones)


async def test_a_server_is_switched_off_and_on_by_a_record(start: Start, own_zones: Path) -> None:
    lab = await start(own_zones)
    client = Client(lab)
    zone = own_zones / "ns.test.zone"
    text = zone.read_text()
    zone.write_text(text.replace("lab slow 0.15", "lab off"))
    await eventually(client, "slow.test", [], rr.Rcode.SERVFAIL)
    zone.write_text(text.replace("lab slow 0.15", "not for the lab"))
    await eventually(client, "slow.test", ["slow.test. MX 10 mail.slow.test."])
    with pytest.raises(Exception, match="refused"):
        await client.at("127.53.2.20", "lame.test.")


# -- starting --------------------------------------------------------------------------------------------------------


async def test_a_second_lab_says_that_it_runs_already(start: Start) -> None:
    first = await start()
    with pytest.raises(RunningAlreadyError, match="runs already"):
        await start(port=first.port)
    # The first is unharmed.
    assert (await Client(first)("single.example")).answer


async def test_an_address_that_another_program_has(start: Start) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.53.0.53", port)
    try:
        with pytest.raises(LabError, match=r"in use.*mx10 lab up --port") as caught:
            await start(port=port)
        assert not isinstance(caught.value, RunningAlreadyError)
    finally:
        server.close()
    # Nothing was left open: now it starts.
    await start(port=port)


async def test_folders_that_are_no_lab(start: Start, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is not a folder"):
        await start(tmp_path / "nowhere")
    with pytest.raises(LabError, match="has no root zone"):
        await start(tmp_path)


async def test_all_is_closed_in_the_end(start: Start) -> None:
    lab = await start()
    port = lab.port
    await lab.close()
    again = await start(port=port)
    assert (await Client(again)("single.example")).answer
