"""``mx10 lookup`` as people call it, against the lab."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mx10.cli import main
from mx10.cli.lookup_text import duration
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message
from mx10.dns.wirename import fold
from mx10.resolver.lookup import NAMES_AT_ONCE
from tests.cli.test_lab import MX10, complaints, environment, mx10, running
from tests.lab.conftest import free_port
from tests.resolver.hostile import Hostile, response, silent

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = free_port()
    with running(port):
        yield port


@pytest.fixture
def lab(port: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("MX10_LAB__PORT", str(port))
    return port


def lookup(*arguments: str) -> int:
    return main(["--lab", "lookup", *arguments])


def test_mx_with_addresses(lab: int, capsys: Capture) -> None:
    assert lookup("dualstack.example") == 0
    head, *rest = capsys.readouterr().out.splitlines()
    assert head.startswith("dualstack.example: 1 MX record (TTL ")
    assert f"from 127.53.0.53:{lab} in " in head
    assert rest == [
        "  preference  exchanger               address",
        "          10  mail.dualstack.example  127.25.7.1",
        "                                      2001:db8:25:7::1",
    ]


def test_several_names_and_types(lab: int, capsys: Capture) -> None:
    assert lookup("single.example", "soa", "MX", "equal.example") == 0
    heads = [block.split(" (")[0] for block in capsys.readouterr().out.split("\n\n")]
    assert heads == [
        "single.example: 1 SOA record",
        "single.example: 1 MX record",
        "equal.example: 1 SOA record",
        "equal.example: 3 MX records",
    ]


def test_internationalised_names(lab: int, capsys: Capture) -> None:
    assert lookup("例え.テスト") == 0
    out = capsys.readouterr().out
    assert out.startswith("例え.テスト (xn--r8jz45g.xn--zckzah): 2 MX records")
    assert "  メール.例え.テスト (xn--4dkua4c.xn--r8jz45g.xn--zckzah)  127.25.16.1\n" in out
    assert lookup("--short", "例え.テスト") == 0
    assert capsys.readouterr().out.splitlines()[0] == "10 xn--4dkua4c.xn--r8jz45g.xn--zckzah."


def test_addresses(lab: int, capsys: Capture) -> None:
    assert lookup("127.25.1.1", "--reverse") == 0
    out = capsys.readouterr().out
    assert out.startswith("127.25.1.1 (1.1.25.127.in-addr.arpa): 1 PTR record")
    assert out.endswith("\n  mail.single.example\n")
    assert lookup("--short", "2001:db8:25:10::1") == 0
    assert capsys.readouterr().out == "aspmx.l.google.com.\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.example"], 1, "missing.example: no such name (TTL "),
        (["nomail.example"], 1, "nomail.example: no MX record (TTL "),
        (["lame.test"], 3, "lame.test: no answer about MX: SERVFAIL (no nameserver of lame.test answers"),
        (["null.example"], 0, "  none: takes no mail (null MX, RFC 7505)"),
        (["shop.aliases.test"], 0, "  alias (CNAME) of single.example\n"),
        (["mx-cname.test"], 0, "an alias (CNAME) of mail.single.example"),
        (["mx-noaddress.test"], 0, "no address"),
        (["mx-nxdomain.test"], 0, "no such name"),
        (["mx-unreachable.test"], 0, "SERVFAIL"),
        (["loop.aliases.test"], 3, "circle"),
        (["--", "-dashes-.odd.test"], 0, "-dashes-.odd.test: 1 MX record"),
        (["ANY", "single.example"], 0, "\n  MX  10 mail.single.example."),
        (["single.example", "missing.example"], 1, "no such name"),
        (["missing.example", "lame.test", "single.example"], 3, "no such name"),
        (["single.example", "--dnssec"], 0, "\n  not authenticated\n  no signatures\n"),
        (["example.org", "@ns1.hosting.example"], 0, "from 127.53.2.1:"),
        (["many.test", "--tcp"], 0, "40 MX records"),
    ],
)
def test_what_there_is(lab: int, words: list[str], code: int, said: str, capsys: Capture) -> None:
    assert lookup(*words) == code
    out, err = capsys.readouterr()
    assert said in out
    assert err == ""


def test_a_failure_with_short_is_told_beside(lab: int, capsys: Capture) -> None:
    assert lookup("--short", "lame.test", "missing.example", "single.example") == 3
    out, err = capsys.readouterr()
    assert out == "10 mail.single.example.\n"
    assert err.startswith("mx10: lookup: lame.test MX: SERVFAIL")


def test_json(lab: int, capsys: Capture) -> None:
    assert lookup("--json", "bücher.example", "A", "MX") == 1
    a, mx = map(json.loads, capsys.readouterr().out.splitlines())
    assert (a["status"], a["records"], a["exchangers"]) == ("nodata", [], [])
    assert (mx["asked"], mx["name"], mx["type"], mx["rcode"]) == (
        "bücher.example",
        "xn--bcher-kva.example",
        "MX",
        "NOERROR",
    )
    assert mx["exchangers"][0]["addresses"]
    assert mx["exchangers"][0]["unicode"].endswith("bücher.example")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bad..name"], "'bad..name' is no domain name"),
        (["ok.example", "user@example.com"], "a mail address"),
        (["x", "AXFR"], "AXFR cannot be looked up"),
        (["x", "TYPE99999"], "'TYPE99999' is no record type"),
        (["x", "-"], "- stands for standard input"),
        (["x", "@[::1"], "is no nameserver"),
        (["x", "@"], "no nameserver"),
        (["x", "--insecure"], "write it with --tls or --https"),
        (["x", "--tls-hostname", "a"], "write it with --tls or --https"),
        (["x", "--tls", "--tls-hostname", "a..b"], "--tls-hostname: 'a..b' is no domain name"),
        (["x", "--tls", "--https-path", "/x"], "--https only"),
        (["x", "--https", "--https-path", "x"], "begins with /"),
        (["x", "--tls", "--tcp"], "not allowed with"),
        (["x", "--short", "--json"], "not allowed with"),
        (["x", "--shrt"], "did you mean --short?"),
        (["--reverse", "example.org"], "is no IP address"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["lookup", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("mx10: lookup: ")


def test_no_server_answers(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RESOLVER__TIMEOUT_SECONDS", "0.1")

    async def ask() -> int:
        async with Hostile(silent) as hostile:
            return await asyncio.to_thread(main, ["lookup", "x.example", f"@127.0.0.1:{hostile.port}"])

    assert asyncio.run(ask()) == 3
    assert "x.example: no answer about MX: no answer from 127.0.0.1:" in capsys.readouterr().out


def test_a_server_that_is_not_found(lab: int, capsys: Capture) -> None:
    assert lookup("x.example", "@missing.example") == 3
    assert capsys.readouterr().err == (
        "mx10: lookup: the nameserver missing.example cannot be found: there is no such name\n"
    )


def piped(port: int, text: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*MX10, "--lab", "lookup", *arguments], input=text, env=environment(port), capture_output=True, timeout=30
    )


def test_names_from_standard_input(port: int) -> None:
    done = piped(port, b"# names\nsingle.example\n\n  equal.example \nbad..name\n\xff\xfe\nlast.test", "--short", "MX")
    assert done.stdout.splitlines()[0] == b"10 mail.single.example."
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr.count(b"is no domain name") == 2
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2


def test_standard_input_as_json_keeps_the_order(port: int) -> None:
    names = ["slow.test", "single.example", "x y", "missing.example"] * 30
    done = piped(port, "\n".join(names).encode(), "--json", "-")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["asked"] for one in found] == names
    assert found[2].keys() == {"asked", "error"}
    assert complaints(done.stderr.decode()) == ""


def test_each_result_is_out_when_it_is_known(port: int) -> None:
    """A program may write one name, and wait for its result before it writes the next."""
    with subprocess.Popen(
        [*MX10, "--lab", "lookup", "--short"], env=environment(port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(3):
            process.stdin.write(b"single.example\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"10 mail.single.example.\n"
        process.stdin.close()
        assert process.wait(20) == 0


def test_ctrl_c(port: int) -> None:
    process = subprocess.Popen(
        [*MX10, "--lab", "lookup", "-"],
        env=environment(port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"single.example\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, complaints(err.decode())) == (130, "")


def test_a_reader_that_goes_away(port: int) -> None:
    names = "single.example\n" * 5000
    shell = f"{sys.executable} -m mx10 --lab lookup --short | head -n 1"
    done = subprocess.run(
        shell, shell=True, input=names.encode(), env=environment(port), capture_output=True, timeout=30
    )
    assert done.stdout == b"10 mail.single.example.\n"
    assert complaints(done.stderr.decode()) == ""


def test_a_terminal_shows_how_far_it_is(port: int) -> None:
    """On standard error, only where the results go elsewhere, and taken away at the end."""
    import pty

    leader, follower = pty.openpty()
    names = b"single.example\n" * 20
    process = subprocess.Popen(
        [*MX10, "--lab", "lookup"],
        env=environment(port),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    process.communicate(names, timeout=20)
    os.close(follower)
    said = complaints(os.read(leader, 10000).decode())
    os.close(leader)
    assert "1 names" in said
    assert said.endswith("\r\x1b[K")


async def test_many_names_are_asked_together(lab: int) -> None:
    """Whoever has a list of a million does not wait for each answer before the next question."""
    asked: set[bytes] = set()
    enough = asyncio.Event()

    async def when_enough_are_waiting(query: Message) -> Message:
        assert query.question is not None
        asked.add(fold(query.question.name))
        if len(asked) >= NAMES_AT_ONCE:
            enough.set()
        await enough.wait()
        return response(query, rcode=rr.Rcode.NXDOMAIN)

    names = "".join(f"{number}.example\n" for number in range(NAMES_AT_ONCE + 16))
    async with Hostile(when_enough_are_waiting) as hostile:
        done = await asyncio.to_thread(piped, lab, names.encode(), "--short", f"@127.0.0.1:{hostile.port}")
    assert (done.returncode, len(asked)) == (1, NAMES_AT_ONCE + 16)


def test_a_name_spelled_like_a_type(lab: int, capsys: Capture) -> None:
    assert lookup("mx.") == 1
    assert capsys.readouterr().out.startswith("mx: no such name")


def test_help_shows_the_exit_codes(port: int) -> None:
    assert "exit codes:" in mx10(port, "lookup", "--help").stdout


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (3600, "1 h"), (90061, "1 d 1 h"), (86405, "1 d 5 s")],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text
