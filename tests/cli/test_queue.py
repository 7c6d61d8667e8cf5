"""``mx10 queue`` on a spool, as an administrator uses it."""

import asyncio
import contextlib
import json
import os
import pwd
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mx10.cli import main
from mx10.relay.spool.opening import open_spool
from tests.relay.running import Client, relay_config, relaying, spooled, until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def queue(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``mx10 queue …``; exit code, output, errors."""
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        with contextlib.suppress(SystemExit):
            code = main(["queue", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """A spool with three messages that wait for a host that is down; their names by their first recipient."""
    config = relay_config(tmp_path, trusted=("127.0.0.0/8",), probe_seconds=3600, probe_longest_seconds=3600)

    async def fill() -> dict[str, str]:
        found = {}
        async with relaying(config) as (_, port), Client.to(port) as client:
            for sender, recipients in (
                ("ann@client.example", ("ada@one.example", "bob@two.example")),
                ("ben@client.example", ("carol@one.example",)),
                ("", ("dave@sub.two.example",)),
            ):
                reply = await client.send(b"Subject: hello\r\n\r\nbody \x1b[31m\r\n", *recipients, sender=sender)
                found[recipients[0].partition("@")[0]] = reply.split()[-1]
            await until(config, "SELECT COUNT(*) FROM attempts", [(2,)])
        return found

    return asyncio.run(fill())


def test_listing(queue: Run, names: dict[str, str]) -> None:
    code, out, _ = queue("list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["message", "came", "size", "from", "to", "tries", "next", "last"]
    assert len(lines) == 5
    assert names["ada"] in lines[1]
    assert "127.0.0.1 [127.0.0.1] refused the connection" in out
    assert "<>" in lines[4]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (("--domain", "one.example"), {"ada@one.example", "carol@one.example"}),
        (("--domain", "ONE.example."), {"ada@one.example", "carol@one.example"}),
        (("--domain", ".two.example"), {"dave@sub.two.example"}),
        (("--sender", "ANN@client.example"), {"ada@one.example", "bob@two.example"}),
        (("--sender", "@client.example"), {"ada@one.example", "bob@two.example", "carol@one.example"}),
        (("--sender", "<>"), {"dave@sub.two.example"}),
        (("--recipient", "Bob@two.example"), {"bob@two.example"}),
        (("--deferred",), {"ada@one.example", "bob@two.example"}),
        (("--older-than", "1h"), set()),
        (("--state", "held"), set()),
        (("--domain", "a..b"), None),
        (("--domain", ""), None),
        (("--sender", ""), None),
        (("--recipient", " "), None),
        (("--recipient", "ada@a..b"), None),
        (("--sender", "@"), None),
        (("--recipient", "<ADA@One.Example>"), {"ada@one.example"}),
        (("--recipient", "ada"), set()),
        (("--recipient", "ada@b\u00fccher.example"), set()),
        (("--domain", "[192.0.2.1]"), set()),
        (("--sender", "_nn@client.example"), set()),
    ],
)
def test_choosing(queue: Run, names: dict[str, str], chosen: tuple[str, ...], found: set[str] | None) -> None:
    code, out, err = queue("list", "--json", *chosen)
    if found is None:
        assert (code, out) == (2, "")
        assert err.startswith("mx10: queue: ")
        return
    assert {json.loads(line)["recipient"] for line in out.splitlines()} == found
    assert code == (0 if found else 1)
    del names


def test_by_domain_counts_what_is_meant(queue: Run, names: dict[str, str]) -> None:
    del names
    lines = queue("list", "--by-domain")[1].splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["one.example", "2"],
        ["sub.two.example", "1"],
        ["two.example", "1"],
    ]
    told = [
        json.loads(line)
        for line in queue("list", "--by-domain", "--json", "--sender", "ben@client.example")[1].splitlines()
    ]
    assert [(each["domain"], each["recipients"]) for each in told] == [("one.example", 1)]
    assert queue("list", "--by-domain", "--state", "held")[:2] == (1, "nothing waits\n")


def test_explaining(queue: Run, names: dict[str, str]) -> None:
    code, out, _ = queue("explain", names["ada"])
    assert code == 0
    assert f"Message {names['ada']} of ann@client.example" in out
    assert "from 127.0.0.1 (client.example)" in out
    assert "To ada@one.example: waits for its next hop, smtp://127.0.0.1:1 tls=never, which could not be reached" in out
    assert re.search(r"1\. \d{4}-\d\d-\d\d .* refused the connection \(connection refused\)\.", out)
    code, out, _ = queue("explain", names["carol"])
    assert "Its next hop is down, as other mail found out at " in out
    code, out, _ = queue("explain", "--json", names["ada"])
    told = json.loads(out)
    assert [each["recipient"] for each in told["recipients"]] == ["ada@one.example", "bob@two.example"]
    assert told["attempts"][0]["reached"] is False


def test_explaining_what_a_message_says_of_tls(queue: Run, tmp_path: Path) -> None:
    """It outlives the relay; the field is passed on."""
    config = relay_config(tmp_path, trusted=("127.0.0.0/8",), probe_seconds=3600, probe_longest_seconds=3600)
    content = b"Subject: hello\r\nTLS-Required: No\r\n\r\nbody\r\n"

    async def fill() -> str:
        async with relaying(config) as (_, port), Client.to(port) as client:
            name = (await client.send(content, "ada@one.example")).split()[-1]
            await until(config, "SELECT COUNT(*) FROM attempts", [(1,)])
            return name

    async def again() -> None:
        async with relaying(config):
            await until(config, "SELECT COUNT(*) FROM attempts", [(2,)])

    name = asyncio.run(fill())
    asyncio.run(again())
    code, out, _ = queue("explain", name)
    assert code == 0
    assert "\nIts header says TLS-Required: No; TLS is insisted on only where somebody chose that here.\n" in out
    # The second attempt was watched.
    assert "the message says TLS-Required: No; it goes without TLS" in out
    assert json.loads(queue("explain", "--json", name)[1])["recipients"][0]["tls_optional"] is True
    assert "\r\nTLS-Required: No\r\n" in spooled(config, "SELECT CAST(body AS TEXT) FROM messages")[0][0]


def test_explaining_attempts(queue: Run, names: dict[str, str], tmp_path: Path) -> None:
    """Whatever hosts and nameservers say stays text."""

    def last(**outcome: Any) -> str:
        usual = {"at": 1_795_481_694_407, "next_at": None, "reason": "no\x1b[2J", "reached": False}
        return json.dumps(usual | outcome)

    def put(text_of_last: str, **more: Any) -> str:
        opened = open_spool(relay_config(tmp_path))
        values = {"last": text_of_last, "attempts": 1, "state": "queued", "due_at": 0} | more
        with opened.store.begin() as connection:
            connection.execute(
                text("UPDATE recipients SET last = :last, attempts = :attempts, state = :state, due_at = :due_at"),
                values,
            )
            if text_of_last:
                connection.execute(text("UPDATE attempts SET outcome = :last, at = 1795481694407"), values)
            else:
                connection.execute(text("DELETE FROM attempts"))
        opened.store.close()
        code, out, _ = queue("explain", names["ada"])
        assert code == 0
        assert "\x1b" not in out
        return out

    out = put(last(route="none:one.example"))
    assert (
        "To ada@one.example: waits until it is known where mail for one.example goes; the relay looks every 5 min"
        in out
    )
    assert "so it waits for an answer of the DNS" in out
    out = put(last(route="a.example,b.example;c.example"), state="apart")
    assert "nobody could say whether this recipient exists; waits for its next hop, a.example or b.example, then" in out
    assert "route: a.example or b.example, then c.example" in out
    out = put(
        last(
            reached=True,
            next_at=1_795_481_694_407 + 1_800_000,
            route="a.example",
            reply=[451, "4.7.1", ["later\x1b[2J", "please"]],
            host="a.example",
            address="192.0.2.1",
            steps=[
                {"kind": kind, "at": 0, "text": said, "host": "a.example", "address": "192.0.2.1"}
                for kind, said in (
                    ("passed-over", "down since 9 s"),
                    ("connecting", "a.example[192.0.2.1]:25"),
                    ("connected", "in the clear"),
                    ("command", "MAIL FROM:<x@example>"),
                    ("reply", "250 fine\x1b[2J"),
                    ("not-delivered", "451 later"),
                    ("of tomorrow", "what?"),
                )
            ]
            + [
                {"kind": "ended", "at": 0, "text": "later: no"},
            ],
        ),
        due_at=1 << 42,
    )
    assert re.search(r"To ada@one.example: tried 1 time, next in \d+ d .*\(2109-", out)
    assert [line.strip() for line in out.splitlines() if line.startswith("       ")][:7] == [
        "a.example [192.0.2.1] passed over: down since 9 s",
        "connecting to a.example[192.0.2.1]:25",
        "ready for mail, in the clear",
        "→ MAIL FROM:<x@example>",
        "← 250 fine\\x1b[2J",
        "a.example [192.0.2.1]: 451 later",
        "a.example [192.0.2.1]: what?",
    ]
    assert "said: 451 4.7.1 later\\x1b[2J please" in out
    assert "so it was put off for 30 min" in out
    assert "later: no" not in out
    assert "To bob@two.example: held, until `mx10 queue release`" in put(last(), state="held")
    assert "is being returned to its sender" in put(last(), state="return")
    out = put("", attempts=0)
    assert "To ada@one.example: waits for its first attempt" in out


def test_what_does_not_wait(queue: Run, names: dict[str, str]) -> None:
    gone = names["ada"][:-1] + ("a" if names["ada"][-1] != "a" else "b")
    code, _, err = queue("explain", gone)
    assert (code, err) == (
        1,
        f"mx10 queue: {gone} does not wait: it was delivered, returned or deleted, as the log tells\n",
    )
    assert queue("show", gone)[0] == 1
    assert queue("hold", gone)[:2] == (1, "there is no such mail, or it is held already\n")


def test_who_gave_a_command(queue: Run, names: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "carol")
    assert queue("hold", names["ada"])[0] == 0
    monkeypatch.delenv("SUDO_USER")
    assert queue("release", names["ada"])[0] == 0
    told = [json.loads(row[0]) for row in spooled(relay_config(tmp_path), "SELECT line FROM spool_orders ORDER BY id")]
    assert [(each["event"], each["by"]) for each in told] == [
        ("queue hold", "carol"),
        ("queue release", pwd.getpwuid(os.getuid()).pw_name),
    ]


def test_steering(queue: Run, names: dict[str, str], tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    assert queue("hold", names["ada"])[:2] == (0, "2 recipients held\n")
    assert queue("retry", names["ada"])[:2] == (
        1,
        "no such mail waits for an attempt; what is held is to be released\n",
    )
    assert json.loads(queue("release", names["ada"], "--recipient", "ada@one.example", "--json")[1]) == {
        "recipients": 1,
        "done": "released",
    }
    assert spooled(config, "SELECT state FROM recipients ORDER BY message, number") == [
        ("queued",),
        ("held",),
        ("queued",),
        ("queued",),
    ]
    assert queue("bounce", "--domain", ".two.example")[1] == "1 recipient will be returned\n"
    assert queue("delete", "--sender", "@client.example")[1] == "3 recipients deleted\n"
    assert spooled(config, "SELECT COUNT(*) FROM messages") == [(1,)]
    assert spooled(config, "SELECT COUNT(*) FROM attempts") == [(0,)]
    assert spooled(config, "SELECT COUNT(DISTINCT message) > 2 FROM spool_changes") == [(1,)]


def test_nothing_said_is_not_everything(queue: Run, names: dict[str, str], tmp_path: Path) -> None:
    for verb in ("retry", "hold", "release", "bounce", "delete"):
        code, _, err = queue(verb)
        assert code == 2
        assert "--all means all of it" in err
    assert spooled(relay_config(tmp_path), "SELECT COUNT(*) FROM recipients WHERE state = 'queued'") == [(4,)]
    assert queue("delete", "--all")[1] == "4 recipients deleted\n"
    del names


def test_show(
    names: dict[str, str], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    capfdbinary.readouterr()
    assert main(["queue", "show", names["carol"]]) == 0
    whole = capfdbinary.readouterr().out
    assert whole.startswith(b"Received: from client.example")
    assert whole.endswith(b"body \x1b[31m\r\n\r\n")
    assert main(["queue", "show", "--header", names["carol"]]) == 0
    assert capfdbinary.readouterr().out == whole.partition(b"\r\n\r\n")[0] + b"\r\n"


def test_show_at_a_terminal(
    names: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    capsys.readouterr()
    assert main(["queue", "show", names["carol"]]) == 0
    out = capsys.readouterr().out
    assert "Subject: hello\n\nbody \\x1b[31m\n" in out
    assert "\tby mx.mx10.test" in out
    assert "\x1b" not in out


def test_wrong_arguments(queue: Run, names: dict[str, str]) -> None:
    del names
    for wrong in (
        ("explain", "x" * 14),
        ("explain", "short"),
        ("list", "--older-than", "soon"),
        ("hold", "--state", "y"),
        ("list", "--most", "-3"),
        ("list", "--most", "many"),
    ):
        code, _, err = queue(*wrong)
        assert code == 2
        assert err.startswith("mx10")
        assert len(err.splitlines()) == 1


def test_no_spool(queue: Run) -> None:
    code, _, err = queue("list")
    assert code == 3
    assert "there is no spool" in err
    assert "`mx10 serve` makes it" in err


def test_a_spool_of_before(queue: Run, names: dict[str, str], tmp_path: Path) -> None:
    """With SQLite it is a database of its own: ``mx10 store upgrade`` brings it along, with its mail."""
    opened = open_spool(relay_config(tmp_path))
    with opened.store.begin() as connection:
        # What version 0002 was.
        connection.exec_driver_sql("DROP TABLE spool_orders")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
    opened.store.close()
    code, _, err = queue("hold", names["ada"])
    assert code == 3
    assert "then run `mx10 store upgrade`" in err
    assert main(["store", "upgrade"]) == 0
    assert queue("hold", names["ada"])[:2] == (0, "2 recipients held\n")
    assert len(queue("list")[1].splitlines()) == 5


def test_an_upgrade_where_the_spool_cannot_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with a folder that is somebody else's; root, who runs tests, may look everywhere."""
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("MX10_RELAY__SPOOL", f"{tmp_path}/{'x' * 300}")
    assert main(["store", "upgrade"]) == 3
    out, err = capsys.readouterr()
    assert out.endswith(f"{tmp_path}/mx10.db is as this program needs it\n")
    assert err.startswith("mx10 store: the store ")
    assert "/spool.db cannot be made: " in err
    assert err.count("\n") == 1


def test_a_thousand_at_once(queue: Run, tmp_path: Path) -> None:
    config = relay_config(tmp_path)
    opened = open_spool(config, create=True)
    with opened.store.begin() as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
            " INSERT INTO messages SELECT i, 0, 0, 0, 'a@b.example', 4, '{}', x'', x'616263' FROM n"
        )
        connection.exec_driver_sql(
            "INSERT INTO recipients SELECT id, 0, 'u@c.example', 'c.example', 0, 'queued', 0, 0, '', '' FROM messages"
        )
    opened.store.close()
    assert len(queue("list", "--most", "0", "--json")[1].splitlines()) == 2500
    assert "and more" in queue("list")[1]
    assert queue("list", "--by-domain")[1].splitlines()[1].split()[:2] == ["c.example", "2500"]
    assert queue("hold", "--all")[1] == "2500 recipients held\n"
    # The relay looks at everything anew, and not at each.
    assert spooled(config, "SELECT message FROM spool_changes") == [(None,)]
