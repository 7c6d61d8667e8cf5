"""The relay from "250" to the end of a message: delivered, put off, returned, held; on both databases."""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from mx10 import node
from mx10.config import Config
from mx10.nameserver.starting import StartError
from mx10.relay import settling
from mx10.relay.basics import clock
from mx10.relay.courier import reports
from mx10.relay.journal import Journal
from mx10.relay.process import Relay
from mx10.relay.spool import steering
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.reading import attempts, entries
from mx10.relay.spool.selection import Selection
from mx10.store.errors import StoreBusyError
from tests.nameserver.test_tls import write_certificate
from tests.relay.running import Client, empty, relay_config, relaying, spooled, until
from tests.relay.talker import CLOSE, STALL, Talker

MESSAGE = b"From: ann@client.example\r\nSubject: hello\r\n\r\nline\r\n.dot"
SOON: dict[str, Any] = {"retry_seconds": 1, "retry_longest_seconds": 1, "probe_seconds": 1, "probe_longest_seconds": 1}


def to(talker: Talker, folder: Path, url: str = "", **settings: Any) -> Config:
    """A relay that passes all on to a host."""
    transports = (f"* smtp://127.0.0.1:{talker.port} tls=never",)
    # Trusted: else the host would be asked about each recipient before mail for it is taken.
    return relay_config(folder, url=url, **{**SOON, "transports": transports, "trusted": ("127.0.0.0/8",), **settings})


def steer(config: Config, how: Any, selection: Selection) -> int:
    """As a command does it, from another process."""
    opened = open_spool(config)
    try:
        count: int = how(opened, selection, clock())
        return count
    finally:
        opened.store.close()


async def test_delivered(tmp_path: Path, store_url: str) -> None:
    async with Talker().listening() as host:
        config = to(host, tmp_path, store_url)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                reply = await client.send(MESSAGE, "ada@ours.example", "bob@ours.example")
            await empty(config)
            assert relay.dispatcher.counts["delivered"] == 2
            await until(config, "SELECT COUNT(*) FROM recipients", [(0,)])
    (content,) = host.messages
    assert content.startswith(b"Received: from client.example")
    assert reply.split()[-1].encode() in content
    assert content.endswith(b"\r\n\r\nline\r\n.dot\r\n")
    assert [line for line in host.heard if line.startswith("RCPT")] == [
        "RCPT TO:<ada@ours.example>",
        "RCPT TO:<bob@ours.example>",
    ]


async def test_large_ones_go_whole_and_leave_nothing(tmp_path: Path, store_url: str) -> None:
    content = b"Subject: large\r\n\r\n" + b"".join(b"%06d\r\n" % number for number in range(100_000))
    async with Talker().listening() as host:
        config = to(host, tmp_path, store_url)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                assert (await client.send(content, "ada@ours.example")).startswith("250")
            await empty(config)
        assert host.messages[0].partition(b"Subject")[2] == content.partition(b"Subject")[2] + b"\r\n"
        assert spooled(config, "SELECT COUNT(*) FROM body_parts") == [(0,)]
        if store_url.startswith("sqlite"):
            assert list((tmp_path / "spool" / "bodies").iterdir()) == []


async def test_put_off_and_tried_again(tmp_path: Path, store_url: str) -> None:
    says = {"RCPT": b"450 4.2.1 busy\r\n"}
    async with Talker(says).listening() as host:
        config = to(host, tmp_path, store_url)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            await until(config, "SELECT attempts > 0 FROM recipients", [(True,) if "postgres" in store_url else (1,)])
            opened = open_spool(config)
            (entry,) = entries(opened.store, Selection(deferred=True))
            told = attempts(opened.store, entry.waiting.message)
            opened.store.close()
            assert entry.last["reply"] == [450, "4.2.1", ["busy"]]
            assert told[0].outcome["next_at"] > told[0].at
            says.clear()
            await empty(config)
        assert len([each for each in host.messages if each]) == 1
        assert spooled(config, "SELECT COUNT(*) FROM attempts") == [(0,)]


async def test_returned_to_its_sender(tmp_path: Path, store_url: str) -> None:
    async with Talker({"RCPT": b"550 5.1.1 no such user\r\n"}).listening() as refusing, Talker().listening() as home:
        transports = (
            f"ours.example smtp://127.0.0.1:{refusing.port} tls=never",
            f"* smtp://127.0.0.1:{home.port} tls=never",
        )
        config = to(refusing, tmp_path, store_url, transports=transports)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            await empty(config)
            assert relay.settler.counts["reports"] == 1
    (report,) = home.messages
    assert "MAIL FROM:<>" in " ".join(home.heard)
    assert b"To: <ann@client.example>" in report
    assert b"Status: 5.1.1" in report
    assert b"Subject: hello" in report


async def test_a_fault_in_a_report_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.relay.settling.FAULT_MS", 100)
    faults: list[int] = []

    def faulty(*arguments: Any, **named: Any) -> Any:
        if len(faults) < 2:
            faults.append(1)
            raise RuntimeError("a fault of ours")
        return usual(*arguments, **named)

    usual = reports.write_report
    monkeypatch.setattr(settling, "write_report", faulty)
    async with Talker({"RCPT": b"550 5.1.1 no such user\r\n"}).listening() as refusing, Talker().listening() as home:
        transports = (
            f"ours.example smtp://127.0.0.1:{refusing.port} tls=never",
            f"* smtp://127.0.0.1:{home.port} tls=never",
        )
        config = to(refusing, tmp_path, transports=transports)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            await empty(config)
    assert len(faults) == 2
    assert len(home.messages) == 1


async def test_reports_are_never_returned(tmp_path: Path) -> None:
    async with Talker({"RCPT": b"550 5.1.1 no such user\r\n"}).listening() as host:
        config = to(host, tmp_path)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example", sender="")
            await empty(config)
            assert (relay.settler.counts["reports"], relay.settler.counts["dropped"]) == (0, 1)


async def test_double_bounces_go_to_the_postmaster(tmp_path: Path) -> None:
    async with Talker({"RCPT": b"550 5.1.1 no such user\r\n"}).listening() as host, Talker().listening() as office:
        transports = (
            f"office.example smtp://127.0.0.1:{office.port} tls=never",
            f"* smtp://127.0.0.1:{host.port} tls=never",
        )
        config = to(host, tmp_path, transports=transports, postmaster="root@office.example")
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example", sender="")
            await empty(config)
    assert b"A message could neither be delivered nor returned" in office.messages[0]


async def test_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.relay.settling.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("mx10.relay.basics._HOUR_MS", 100)  # an hour in a tenth of a second
    async with Talker({"RCPT": b"451 4.7.1 later\r\n"}).listening() as host, Talker().listening() as home:
        transports = (
            f"ours.example smtp://127.0.0.1:{host.port} tls=never",
            f"* smtp://127.0.0.1:{home.port} tls=never",
        )
        config = to(host, tmp_path, transports=transports, expire_hours=20, delay_hours=5, report_expire_hours=2000)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
                await client.ask("MAIL FROM:<ann@client.example>")
                await client.ask("RCPT TO:<bob@ours.example> NOTIFY=NEVER")
                await client.ask("DATA")
                await client.ask(MESSAGE + b"\r\n.")
            await empty(config)
        assert (relay.settler.counts["delay_warnings"], relay.settler.counts["reports"]) == (1, 1)
    warned, failed = home.messages
    assert b"Your message is delayed" in warned
    assert b"Action: delayed" in warned
    assert b"Status: 5.4.7" in failed
    assert b"451 4.7.1 later" in failed


async def test_a_host_that_is_back_gets_its_mail_at_once(tmp_path: Path) -> None:
    async with Talker().listening() as host:
        config = to(host, tmp_path, retry_seconds=3600, retry_longest_seconds=3600)
    # It is gone now; its port is free.
    async with relaying(config) as (relay, port):
        async with Client.to(port) as client:
            for number in range(30):
                await client.send(MESSAGE, f"u{number}@ours.example")
        await until(config, "SELECT COUNT(*) > 0 FROM attempts", [(1,)])
        assert relay.dispatcher.hops_down == 1
        # Only one message finds out; nothing is written of the others.
        assert spooled(config, "SELECT COUNT(*) FROM recipients WHERE attempts > 0")[0][0] <= 3
        async with Talker(port=host.port).listening() as back:
            await empty(config)
            assert len(back.messages) == 30
            assert relay.dispatcher.hops_down == 0


class Narrow(Talker):
    """Turns away whoever comes while it serves three others."""

    most = 0
    turned_away = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.open > 3:
            self.turned_away += 1
            writer.write(b"421 4.7.0 too many connections from your address\r\n")
            await writer.drain()
            return
        self.most = max(self.most, self.open)
        await super()._talk(reader, writer)

    async def _say(self, writer: asyncio.StreamWriter, what: str, usual: bytes) -> None:
        if what == "END":
            await asyncio.sleep(0.02)
        await super()._say(writer, what, usual)


async def test_a_host_that_takes_few_connections_gets_that_many(tmp_path: Path) -> None:
    async with Narrow().listening() as host:
        # Nothing here waits for a probe.
        config = to(host, tmp_path, probe_seconds=3600, probe_longest_seconds=3600)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                for number in range(150):
                    await client.send(MESSAGE, f"u{number}@ours.example")
            await empty(config)
            (hop,) = relay.dispatcher.hops.values()
            # The host may not have heard yet that some of the three are done.
            assert 1 <= hop.ceiling <= 3
            assert (hop.down_since, len(relay.hosts)) == (0, 0)
        assert len(host.messages) == 150
        assert host.most == 3
        assert 1 <= host.turned_away <= 3


@pytest.mark.parametrize("tls", ["opportunistic", "encrypted", "verified"])
async def test_a_message_that_demands_tls_keeps_no_other_waiting(tmp_path: Path, tls: str) -> None:
    """Anybody may ask for REQUIRETLS, of a host that has a certificate of its own making."""
    certificate, key = write_certificate(tmp_path, "mx.mx10.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    late: dict[str, Any] = dict.fromkeys(SOON, 3600)
    async with Talker(context=context).listening() as host:
        transports = (f"* smtp://127.0.0.1:{host.port} tls={tls}",)
        config = to(host, tmp_path, transports=transports, tls_certificate=certificate, tls_key=key, **late)
        async with relaying(config) as (relay, port), Client.to(port) as client:
            await client.ask("STARTTLS")
            await asyncio.wait_for(client.writer.start_tls(blind), 10)
            await client.ask("EHLO client.example")
            await client.send(MESSAGE, "ada@ours.example", extra=" REQUIRETLS")
            # It is returned, unless everybody demands as much here: then it waits until that is mended.
            waits = [(1,)] if tls == "verified" else []
            await until(config, "SELECT attempts FROM recipients WHERE address = 'ada@ours.example'", waits)
            (hop,) = relay.dispatcher.hops.values()
            # Where everybody demands as much, it is the host that is out of order.
            assert bool(hop.down_since) is (tls == "verified")
            await client.send(MESSAGE, "bob@ours.example")
            if tls != "verified":
                await until(config, "SELECT address FROM recipients WHERE address = 'bob@ours.example'", [])
                assert relay.dispatcher.counts["delivered"] == 1
        assert len(host.messages) == (0 if tls == "verified" else 1)


@pytest.mark.parametrize("kind", ["lmtp", "maildir"])
async def test_a_message_that_demands_tls_goes_to_whoever_is_on_this_machine(tmp_path: Path, kind: str) -> None:
    certificate, key = write_certificate(tmp_path, "mx.mx10.test")
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    async with Talker(path=str(tmp_path / "lmtp")).listening() as host:
        transports = ({"lmtp": f"* lmtp:{host.path}", "maildir": f"* maildir:{tmp_path}/mail"}[kind],)
        config = to(host, tmp_path, transports=transports, tls_certificate=certificate, tls_key=key)
        async with relaying(config) as (relay, port), Client.to(port) as client:
            await client.ask("STARTTLS")
            await asyncio.wait_for(client.writer.start_tls(blind), 10)
            await client.ask("EHLO client.example")
            await client.send(MESSAGE, "ada@ours.example", extra=" REQUIRETLS")
            await until(config, "SELECT address FROM recipients", [])
            assert (relay.dispatcher.counts["delivered"], relay.dispatcher.counts["failed"]) == (1, 0)
        assert not any("REQUIRETLS" in each for each in host.heard)


async def test_a_host_that_turns_everybody_away_is_down(tmp_path: Path) -> None:
    async with Talker(says={"GREETING": b"421 4.3.2 not now\r\n"}).listening() as host:
        config = to(host, tmp_path, probe_seconds=3600, probe_longest_seconds=3600)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                for number in range(20):
                    await client.send(MESSAGE, f"u{number}@ours.example")
            await until(config, "SELECT COUNT(*) FROM recipients", [(20,)])
            assert relay.dispatcher.hops_down == 1
        assert host.connections <= 3


async def test_an_attempt_that_reached_nobody_is_counted_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Journal, "__call__", lambda _, event, **more: said.append((event, more)))
    config = relay_config(tmp_path, **SOON, trusted=("127.0.0.0/8",))
    async with relaying(config) as (relay, port):
        async with Client.to(port) as client:
            name = (await client.send(MESSAGE, "ada@ours.example", "bob@ours.example")).split()[-1]
        await until(config, "SELECT COUNT(*) > 1 FROM recipients WHERE attempts > 1", [(1,)])
        assert relay.dispatcher.tallies.replies["refused"] >= 4
        assert relay.dispatcher.counts["deferred"] == relay.dispatcher.tallies.replies["refused"]
    deferred = [more for event, more in said if event == "deferred"]
    assert {(each["message"], each["to"]) for each in deferred} == {
        (name, "ada@ours.example"),
        (name, "bob@ours.example"),
    }
    assert deferred[0]["cause"] == "127.0.0.1 [127.0.0.1] refused the connection (connection refused)"


async def test_a_host_that_is_back_gets_the_mail_of_all_its_next_hops(tmp_path: Path) -> None:
    async with Talker().listening() as host:
        # Two next hops, as they differ in TLS; nobody looks for the second within an hour.
        transports = tuple(
            f"{name} smtp://127.0.0.1:{host.port} tls={tls}"
            for name, tls in (("one.example", "never"), ("*", "opportunistic"))
        )
        config = to(host, tmp_path, transports=transports, probe_seconds=3600, probe_longest_seconds=3600)
    async with relaying(config) as (relay, port):
        async with Client.to(port) as client:
            await client.send(MESSAGE, "ada@one.example")
            await client.send(MESSAGE, "bob@two.example")
        await until(config, "SELECT COUNT(*) FROM recipients WHERE attempts > 0", [(2,)])
        assert relay.dispatcher.hops_down == 2
        async with Talker(port=host.port).listening() as back:
            assert await asyncio.to_thread(steer, config, steering.retry, Selection(domain="one.example")) == 1
            await empty(config)
            assert len(back.messages) == 2


async def test_a_dead_destination_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with Talker().listening() as host:
        transports = ("dead.example smtp://127.0.0.1:1 tls=never", f"* smtp://127.0.0.1:{host.port} tls=never")
        config = to(host, tmp_path, transports=transports, domains=("dead.example", "ours.example"), loaded=100)
        async with relaying(config) as (_, port), Client.to(port) as client:
            for number in range(150):
                await client.send(MESSAGE, f"u{number}@dead.example")
            for number in range(20):
                await client.send(MESSAGE, f"u{number}@ours.example")
            await until(config, "SELECT COUNT(*) FROM recipients WHERE domain = 'ours.example'", [(0,)])
        assert len(host.messages) == 20
        assert spooled(config, "SELECT COUNT(*) FROM recipients") == [(150,)]


class Patient(Talker):
    """Takes the first message when it is told to."""

    go: asyncio.Event

    async def _say(self, writer: asyncio.StreamWriter, what: str, usual: bytes) -> None:
        if what == "END":
            await self.go.wait()
        await super()._say(writer, what, usual)


async def test_the_urgent_go_first_and_equals_in_order(tmp_path: Path) -> None:
    host = Patient()
    host.go = asyncio.Event()
    async with host.listening():
        config = to(host, tmp_path, deliveries_per_hop=1)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "first@ours.example")
                for number, priority in enumerate((0, 2, 5, 2, 0, 5)):
                    await client.send(MESSAGE, f"{number}@ours.example", extra=f" MT-PRIORITY={priority}")
            host.go.set()
            await empty(config)
    order = [line.partition("<")[2][0] for line in host.heard if line.startswith("RCPT")]
    assert "".join(order) == "f251304"


async def test_silent_destinations_keep_no_other_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.relay.active.SLOW_MS", 100)
    async with contextlib.AsyncExitStack() as stack:
        host = await stack.enter_async_context(Talker().listening())
        silent = [await stack.enter_async_context(Talker({"GREETING": STALL}).listening()) for _ in range(6)]
        transports = [f"s{at}.example smtp://127.0.0.1:{each.port} tls=never" for at, each in enumerate(silent)]
        config = to(host, tmp_path, transports=(*transports, f"* smtp://127.0.0.1:{host.port} tls=never"), deliveries=4)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                for at in range(6):
                    await client.send(MESSAGE, f"ada@s{at}.example")
                await client.send(MESSAGE, "bob@ours.example")
            await until(config, "SELECT COUNT(*) FROM recipients", [(6,)])
            assert len(host.messages) == 1
            assert relay.dispatcher.in_flight == 6
            for each in silent:
                for task in each.tasks:
                    task.cancel()
            await until(config, "SELECT COUNT(*) FROM recipients WHERE attempts > 0", [(6,)])
            # Whoever is through with it counts once, slow or not.
            async with Client.to(port) as client:
                for number in range(20):
                    await client.send(MESSAGE, f"u{number}@ours.example")
            await until(config, "SELECT COUNT(*) FROM recipients WHERE domain = 'ours.example'", [(0,)])
            assert 0 <= relay.dispatcher._active._in_flight <= 4


async def test_a_spool_has_one_relay(tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    async with relaying(config):
        another = r"another relay delivers what is in .*/spool: give this one its own relay.spool"
        with pytest.raises(StoreBusyError, match=another):
            await Relay(config, []).run()
        with pytest.raises(StartError, match=another):
            node.relay(config)
    async with relaying(config):
        pass


async def test_what_waited_is_delivered_after_a_restart(tmp_path: Path, store_url: str) -> None:
    async with Talker().listening() as host:
        config = to(host, tmp_path, store_url)
    async with relaying(config) as (_, port), Client.to(port) as client:
        for number in range(5):
            await client.send(MESSAGE, f"u{number}@ours.example")
    async with Talker(port=host.port).listening() as back, relaying(config):
        await empty(config)
        assert len(back.messages) == 5


async def test_taken_then_silent_is_sent_again(tmp_path: Path) -> None:
    says = {"END": CLOSE}
    async with Talker(says).listening() as host:
        config = to(host, tmp_path)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            await until(config, "SELECT attempts FROM recipients", [(1,)])
            says.clear()
            await empty(config)
    # It may come twice, and is never lost (RFC 5321 section 6.1, RFC 1047).
    assert len(host.messages) == 2


async def test_held_released_returned_deleted(tmp_path: Path, store_url: str) -> None:
    async with Talker({"RCPT": b"450 4.2.1 busy\r\n"}).listening() as host, Talker().listening() as home:
        transports = (
            f"ours.example smtp://127.0.0.1:{host.port} tls=never",
            f"* smtp://127.0.0.1:{home.port} tls=never",
        )
        config = to(host, tmp_path, store_url, transports=transports, retry_seconds=3600, retry_longest_seconds=3600)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                for name in ("ada", "bob", "carol"):
                    await client.send(MESSAGE, f"{name}@ours.example")
            await until(config, "SELECT COUNT(*) FROM recipients WHERE attempts = 1", [(3,)])
            assert steer(config, steering.hold, Selection(recipient="ADA@ours.example")) == 1
            assert steer(config, steering.bounce, Selection(recipient="bob@ours.example")) == 1
            assert steer(config, steering.delete, Selection(recipient="carol@ours.example")) == 1
            assert steer(config, steering.hold, Selection(domain="nowhere.example")) == 0
            await until(config, "SELECT address, state FROM recipients", [("ada@ours.example", "held")])
            async with asyncio.timeout(20):
                while not home.messages:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.05)
            assert b"the administrator of this host returned it" in home.messages[0]
            host.says = {}
            assert steer(config, steering.retry, Selection(domain="ours.example")) == 0
            assert steer(config, steering.release, Selection(domain="ours.example")) == 1
            await empty(config)
    assert len([each for each in host.messages if each]) == 1


async def test_retry_now(tmp_path: Path) -> None:
    async with Talker({"RCPT": b"450 4.2.1 busy\r\n"}).listening() as host:
        config = to(host, tmp_path, retry_seconds=3600, retry_longest_seconds=3600)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            await until(config, "SELECT attempts FROM recipients", [(1,)])
            host.says = {}
            opened = open_spool(config)
            assert steering.retry(opened, Selection(), 0) == 1
            opened.store.close()
            await empty(config)


async def test_groups_of_recipients_that_one_transaction_has_no_room_for(tmp_path: Path) -> None:
    async with Talker(offers=("LIMITS RCPTMAX=3", "PIPELINING")).listening() as host:
        config = to(host, tmp_path)
        async with relaying(config) as (_, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, *(f"u{number}@ours.example" for number in range(8)))
            await empty(config)
    assert len(host.messages) == 3
