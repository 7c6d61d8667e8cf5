"""``mx10 route``: the tree, the JSON lines, standard input, exit codes."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mx10.cli import main
from mx10.dns.message import QR, RA, TC, Message, Record
from mx10.dns.rrtypes import IN, MX, A
from tests.resolver import hostile
from tests.routing.dns_world import TEST_NETWORKS, World, serving

WORLD = """
example.org MX 10 mx1.example.org.
example.org MX 10 mx2.example.org.
example.org MX 20 backup.example.net.
mx1.example.org A 192.0.2.1
mx1.example.org AAAA 2001:db8::1
mx2.example.org A 192.0.2.2
backup.example.net A 203.0.113.1
null.example.org MX 0 .
slow.example.org ! SERVFAIL
xn--r8jz45g.example A 192.0.2.80
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(World(WORLD)) as address:
        yield address


@pytest.fixture(autouse=True)
def settings(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RESOLVER__SERVERS", server)
    monkeypatch.setenv("MX10_RESOLVER__ATTEMPTS", "1")
    monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", ",".join(TEST_NETWORKS))


Capture = pytest.CaptureFixture[str]


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mx10", "route", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_a_route_is_a_tree(capsys: Capture) -> None:
    assert main(["route", "ada@example.org"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ada@example.org → example.org\n├─ preference 10: gets the mail, drawn evenly\n")
    assert "mx1.example.org       50%  2001:db8::1, 192.0.2.1\n" in out


def test_names_in_any_script(capsys: Capture) -> None:
    assert main(["route", "例え.example"]) == 0
    assert capsys.readouterr().out.startswith("例え.example\n├─ ")
    assert main(["route", "--json", "例え.example"]) == 0
    (shown,) = lines(capsys)
    assert (shown["domain"], shown["unicode"]) == ("xn--r8jz45g.example", "例え.example")


@pytest.mark.parametrize(
    ("destination", "exit_code", "words"),
    [
        ("null.example.org", 1, "returned: 556 5.1.10"),
        ("gone.example.org", 1, "returned: 550 5.1.2"),
        ("slow.example.org", 3, "waits: 451 4.4.3"),
        ("ada@[10.0.0.1]", 1, "private use, RFC 1918"),
        ("ada@[192.0.2.1]", 0, "address literal"),
    ],
)
def test_exit_codes(capsys: Capture, destination: str, exit_code: int, words: str) -> None:
    assert main(["route", destination]) == exit_code
    assert words in capsys.readouterr().out


def test_the_highest_exit_code_counts(capsys: Capture) -> None:
    assert main(["route", "slow.example.org", "example.org", "null.example.org"]) == 3
    assert main(["route", "null.example.org", "example.org"]) == 1


def test_several_are_in_order_with_a_line_between(capsys: Capture) -> None:
    main(["route", "slow.example.org", "example.org"])
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith("slow.example.org\n")
    assert second.startswith("example.org\n")


def test_what_if(capsys: Capture) -> None:
    assert main(["route", "example.org", "--down", "mx1.example.org", "192.0.2.2"]) == 0
    out = capsys.readouterr().out
    assert "supposed down: mx1.example.org, 192.0.2.2\n" in out
    assert "0% (else 50%)" in out
    assert "100% (else 0%)" in out
    assert (
        main(["route", "example.org", "--down", "192.0.2.0/24", "--down", "203.0.113.1", "--down", "2001:db8::1"]) == 3
    )
    assert "waits: 451 4.4.1" in capsys.readouterr().out


def test_all_down(capsys: Capture) -> None:
    assert main(["route", "example.org", "--all-down"]) == 0
    assert "3 failures: mx1.example.org + mx2.example.org + backup.example.net" in capsys.readouterr().out
    assert main(["route", "null.example.org", "--all-down"]) == 1
    assert "there is none to stop" in capsys.readouterr().out


def test_as(capsys: Capture) -> None:
    assert main(["route", "example.org", "--as", "backup.example.net"]) == 0
    assert "backup.example.net     0%  203.0.113.1  not for this host" in capsys.readouterr().out
    assert main(["route", "example.org", "--as", "192.0.2.2"]) == 1
    assert "returned: 554 5.4.6" in capsys.readouterr().out


def test_draw(capsys: Capture) -> None:
    drawn = set()
    for seed in range(12):
        assert main(["route", "--json", "example.org", "--draw", str(seed)]) == 0
        drawn.add(tuple(one["name"] for one in lines(capsys)[0]["groups"][0]["exchangers"]))
    assert drawn == {("mx1.example.org", "mx2.example.org"), ("mx2.example.org", "mx1.example.org")}


def test_questions(capsys: Capture, server: str) -> None:
    assert main(["route", "example.org", "slow.example.org", "--questions"]) == 3
    out = capsys.readouterr().out
    assert f"├─ example.org MX: ok, from {server}, " in out
    assert "backup.example.net AAAA: nodata" in out
    assert "slow.example.org MX: SERVFAIL" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exa mple.org"], "no domain name"),
        (["example.org", "a@"], "the domain is missing"),
        (["example.org", "--down", "192.0.2.1/24"], "write 192.0.2.0/24"),
        (["example.org", "--as", "a b"], "no domain name"),
        (["--down", "mx1.example.org", "example.org"], "put it before --down"),
        (["example.org", "--draw", "x"], "invalid int value"),
        (["example.org", "-"], "- stands for standard input"),
    ],
)
def test_usage(capsys: Capture, arguments: list[str], words: str) -> None:
    assert main(["route", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_help_puts_destinations_before_down(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["route", "--help"])
    help_text = capsys.readouterr().out
    usage = help_text.partition("\n\n")[0]
    assert usage.index("ADDRESS|DOMAIN") < usage.index("--down")
    options = {line.split()[0] for line in help_text.splitlines() if line.startswith("  --")}
    for option in options - {"--config", "--lab", "--no-color"}:
        assert f"[{option}" in usage


def test_json_is_a_line_for_each(capsys: Capture) -> None:
    assert main(["route", "--json", "example.org", "null.example.org", "--all-down"]) == 1
    first, second = lines(capsys)
    assert first["result"] == "routable"
    assert first["all_down"]["combinations"][0][0]["name"] == "mx1.example.org"
    assert second["code"] == "5.1.10"
    assert second["all_down"] == {"combinations": [], "truncated": False}


def test_standard_input_keeps_its_order() -> None:
    domains = ["example.org", "slow.example.org", "null.example.org", "ada@example.org"] * 30
    done = run("--json", stdin="# a list\n\n" + "\n".join(domains))
    assert done.returncode == 3
    assert [json.loads(line)["destination"] for line in done.stdout.splitlines()] == domains


def test_a_wrong_line_does_not_stop_the_others() -> None:
    done = run("-", stdin="example.org\nexa mple.org\nnull.example.org\n")
    assert done.returncode == 2
    assert "exa mple.org" in done.stderr
    assert "example.org\n├─" in done.stdout
    assert "556 5.1.10" in done.stdout
    done = run("--json", stdin="\xff\x00bad\n" + "x" * 100_000 + "\nexample.org")
    assert done.returncode == 2
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert first.keys() == second.keys() == {"destination", "error"}
    assert third["result"] == "routable"


def test_nothing_on_standard_input() -> None:
    done = run(stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_line_is_answered_before_the_next_is_written() -> None:
    command = [sys.executable, "-m", "mx10", "route", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdin
        assert process.stdout
        for domain in ("example.org", "null.example.org", "example.org"):
            process.stdin.write(domain + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["destination"] == domain
        process.stdin.close()
        assert process.wait(10) == 1


def test_an_interrupt_ends_it_quietly_while_it_reads() -> None:
    import signal

    command = [sys.executable, "-m", "mx10", "route", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"example.org\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(10) == 130
        # It would wait for more names for ever.
        assert time.monotonic() - began < 8
        assert process.stderr
        assert process.stderr.read() == b""


def test_nothing_heavy_is_imported() -> None:
    heavy = ("idna", "dns", "pydantic", "cryptography", "httpx", "rich", "structlog", "tomllib")
    rooms = ("mx10.routing.whatif", "mx10.zones", "mx10.nameserver")
    code = (
        "import sys; from mx10.cli import main; main(['route', 'example.org', '--json']);"
        f"print([name for name in {heavy + rooms} if name in sys.modules], file=sys.stderr)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MX10_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ, check=False
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("mx", "words"),
    [
        (lambda query: hostile.response(query, [Record(query.question.name, MX, IN, 60, b"")]), "a damaged MX record"),
        (lambda query: hostile.response(query, flags=QR | TC | RA), "a truncated response"),
        (lambda query: hostile.response(query, flags=QR), "without authority or recursion"),
        (lambda query: hostile.response(query, [Record(query.question.name, A, IN, 60, bytes(4))]), "another question"),
    ],
    ids=["damaged", "truncated", "lame", "another type"],
)
def test_rfc5321_5_1_no_implicit_mx_where_the_answer_is_none(
    mx: hostile.Behaviour, words: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain has an address, and would take the mail itself if it had no MX record: but nobody said that."""

    def behaviour(query: Message) -> hostile.Reply:
        assert query.question
        if query.question.type == MX:
            return mx(query)  # type: ignore[return-value]  # none of these is more than one message
        address = Record(query.question.name, A, IN, 60, bytes((192, 0, 2, 80)))
        return hostile.response(query, [address] if query.question.type == A else [])

    async def ask() -> int:
        async with hostile.Hostile(behaviour) as server:
            monkeypatch.setenv("MX10_RESOLVER__SERVERS", f"127.0.0.1:{server.port}")
            return await asyncio.to_thread(main, ["route", "--json", "user@example.org"])

    assert asyncio.run(ask()) == 3
    assert words in capsys.readouterr().out
