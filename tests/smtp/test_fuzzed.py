"""tools/fuzz.py --dialogues: some thousands each time, and the proof that it would find what it looks for."""

import importlib.util
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from mx10.smtp import ClientOptions, ClientSession, MailParameters, RcptParameters, content, outgoing, server
from mx10.smtp.auth import MechanismError, ScramKeys, begin
from mx10.smtp.outgoing import Facts
from mx10.smtp.sending import Envelope, Finished, Outcome
from tests.smtp.talking import OPTIONS, receiver

TOOLS = Path(__file__).parents[2] / "tools"
Check = Callable[[random.Random, Counter[str]], None]


def test_dialogues() -> None:
    """Those of one seed; a million are run by hand, see docs/relay.md."""
    command = [sys.executable, str(TOOLS / "fuzz.py"), "--dialogues", "6000", "--jobs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["dialogues"] == 6000
    for kind in ("messages taken", "logins", "TLS begun", "recipients delivered to", "servers that answer wrongly"):
        assert report["seen"][kind] > 20, kind


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    found = {}
    for name in ("fuzz_receiver", "fuzz_sender"):
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        found[name] = module
    return found


def _found(check: Check) -> str:
    """What the fuzzer says of a fault that was planted."""
    for seed in range(3000):
        try:
            check(random.Random(seed), Counter())
        except AssertionError as error:
            return str(error)
    return ""


def test_it_finds_a_receiver_that_takes_another_end(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = content.DataReader.feed

    def lenient(self: content.DataReader, data: bytes) -> bytes:
        return strict(self, data.replace(b"\n.\n", b"\r\n.\r\n"))

    monkeypatch.setattr(content.DataReader, "feed", lenient)
    assert _found(tools["fuzz_receiver"].check)


def test_it_finds_a_receiver_that_remembers_across_tls(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = server.ServerSession.tls_started

    def remember(self: server.ServerSession) -> None:
        helo = self.helo
        forget(self)
        self.helo = helo

    monkeypatch.setattr(server.ServerSession, "tls_started", remember)
    assert _found(tools["fuzz_receiver"].check) == "a message of nobody"


def test_it_finds_a_sender_that_believes_too_much(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outcome, "delivered", property(lambda self: self.reply.code < 500))
    assert _found(tools["fuzz_sender"].check)


def test_it_finds_a_sender_that_lets_dots_stand(tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    dotted = outgoing.Outgoing.__init__

    def plain(self: outgoing.Outgoing, *, dots: bool, binary: bool = False, whole_lines: bool = False) -> None:
        dotted(self, dots=False, binary=binary, whole_lines=whole_lines)

    monkeypatch.setattr(outgoing.Outgoing, "__init__", plain)
    assert _found(tools["fuzz_sender"].check)


# What it found, and what was seen on the way.


def test_a_chunk_is_refused_between_cr_and_lf() -> None:
    """It is the peer's refusal that counts; the CR whose LF went nowhere is no bare one."""
    client = ClientSession(ClientOptions("client.test"))
    client.receive(b"220 x\r\n")
    client.to_send()
    client.receive(b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
    client.send(Envelope(MailParameters("ann@one.test"), (RcptParameters("bob@two.test"),)), None, Facts(12))
    client.to_send()
    client.receive(b"250 ok\r\n250 ok\r\n")
    for piece in (b"ab", b"c\r", b"\ndef\r"):
        client.write(piece)
    client.to_send()
    client.receive(b"450 4.2.1 later\r\n")
    client.write(b"\nrest\r\n")
    client.end_content()
    client.to_send()
    (finished,) = (event for event in client.closed() if isinstance(event, Finished))
    assert [(each.reply.code, each.stage, each.ours) for each in finished.outcomes] == [(450, "content", False)]


def test_a_proof_that_is_not_ascii() -> None:
    exchange = begin("SCRAM-SHA-256", "ours")
    assert exchange.step(b"biwsbj1hbm4scj1taW5l") == "ann"
    exchange.use(ScramKeys.of("secret", b"salt" * 4))
    exchange.step(None)
    with pytest.raises(MechanismError, match="not base64"):
        exchange.step(b"Yz1iaXdzLHI9bWluZW91cnMscD3DqQ==")  # c=biws,r=mineours,p=é


@pytest.mark.parametrize("line", ["BDAT 5\u3000LAST", "BDAT 5 LA\u017fT", "BDAT \u0665", "BDAT 5\x0bLAST"])
def test_the_length_of_a_chunk_is_ascii(line: str) -> None:
    """A server in front that reads these otherwise than we do would see another end of the message."""
    there = receiver(OPTIONS)
    assert there.feed(f"{line}\r\n".encode()).startswith(b"501 5.5.4")
    assert there.closed is not None


@pytest.mark.parametrize("line", ["\u017fTARTTLS", "QUIT\u3000", "R\u017fET"])
def test_commands_are_ascii(line: str) -> None:
    there = receiver(OPTIONS)
    assert there.feed(f"{line}\r\n".encode()).startswith(b"500 5.5.1 no such command")


@pytest.mark.parametrize("parameter", ["\u017fIZE=5", "SIZE=5\u2003BODY=8BITMIME", "SIZE=5\x0bBODY=8BITMIME"])
def test_keywords_are_ascii_and_stand_between_spaces(parameter: str) -> None:
    there = receiver(OPTIONS)
    assert there.feed(f"MAIL FROM:<ann@one.test> {parameter}\r\n".encode()).startswith(b"501 5.5.4")


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_chunk_too_large_is_that_however_it_comes(step: int) -> None:
    there = receiver(OPTIONS)
    there.feed(b"MAIL FROM:<ann@one.test>\r\nRCPT TO:<bob@two.test>\r\n")
    chunk = b"BDAT 100002 LAST\r\n" + b"x" * 100_000 + b"\ny"
    answer = b"".join(there.feed(chunk[at : at + step]) for at in range(0, len(chunk), step))
    assert answer == b"552 5.3.4 messages have up to 100000 octets here\r\n"


@pytest.mark.parametrize("line", [b"BDAT 0\r\n", b"AUTH PLAIN AGFubgB3cm9uZw==\r\n", b"NONE\r\n"])
def test_mistakes_of_every_kind_have_an_end(line: bytes) -> None:
    """Chunks of nothing and wrong passwords too."""
    there = receiver(replace(OPTIONS, mechanisms=("PLAIN",), plaintext_auth=True))
    answers = [there.feed(line) for _ in range(OPTIONS.errors + 1)]
    assert there.closed == "too many mistakes"
    assert answers[-1].endswith(b"421 4.7.0 too many mistakes\r\n")
    assert not any(b"421" in answer for answer in answers[:-1])
