"""``mx10 backup``: records, primaries, recipients, and what to do where one of them is not as it should be."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mx10.cli import main
from mx10.relay.door.recipients.memory import count_known
from mx10.store.connect import open_store
from tests.cli.test_send import hosts
from tests.relay.primary import Primary
from tests.relay.talker import STALL
from tests.routing.dns_world import World, serving

WORLD = """
example.com MX 10 mx1.example.com.
example.com MX 20 backup.example.net.
example.org MX 10 mx1.example.com.
example.org MX 15 mx3.example.com.
first.example MX 10 backup.example.net.
first.example MX 20 mx1.example.com.
only.example MX 10 backup.example.net.
implicit.example A 127.9.0.1
null.example MX 0 .
gone.example MX 10 gone.gone.example.
slow.example ! SERVFAIL
xn--bcher-kva.example MX 10 mx1.example.com.
mx1.example.com A 127.9.0.1
mx3.example.com A 127.9.0.3
backup.example.net A 127.9.0.2
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("MX10_RELAY__HOSTNAME", "backup.example.net")
    monkeypatch.setenv("MX10_RELAY__LISTEN", "127.9.0.2:25")
    monkeypatch.setenv("MX10_RELAY__PORT", "1")
    monkeypatch.setenv("MX10_RESOLVER__ATTEMPTS", "1")
    monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", "127.0.0.0/8")
    with serving(World(WORLD)) as address:
        monkeypatch.setenv("MX10_RESOLVER__SERVERS", address)
        yield


def run(capsys: Capture, *arguments: str, code: int = 0) -> str:
    assert main(["backup", *arguments]) == code
    shown = capsys.readouterr()
    return shown.out or shown.err


def known(tmp_path: Path) -> dict[str, int]:
    store = open_store(f"sqlite:///{tmp_path}/spool/spool.db")
    try:
        return count_known(store, time.time_ns() // 1_000_000)
    finally:
        store.close()


def test_in_one_step(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = tmp_path / "people.txt"
    people.write_text("ada@example.com\nbob@example.com\ncarol@example.com  # left\n")
    host = Primary(address="127.9.0.1", known={"ada@example.com", "bob@example.com", "postmaster@example.com"})
    with hosts(host) as port:
        monkeypatch.setenv("MX10_RELAY__PORT", str(port))
        assert run(capsys, "example.com", "--recipients", str(people)) == (
            "example.com\n"
            "  primary: mx1.example.com (preference 10; 127.9.0.1)\n"
            "  backup.example.net stands behind it, with preference 20\n"
            "  the primary answers, and refuses who does not exist: the relay learns by asking\n"
            "  recipients: 2 known to it, 1 it refuses\n"
            "    refused: carol@example.com\n"
            "  set up: the relay takes its mail\n"
        )
        assert sorted(host.asked) == [
            "ada@example.com",
            "bob@example.com",
            "carol@example.com",
            "postmaster@example.com",
        ]
        assert not host.messages
        assert known(tmp_path) == {"example.com": 3}
        # Somebody was forgotten at the primary: asked again, and not what was remembered.
        host.known.add("carol@example.com")
        shown = run(capsys, "EXAMPLE.com.", "--recipients", str(people))
        assert "3 known to it\n" in shown
        assert "(it did before)" in shown
    listed = run(capsys, "--list")
    assert [line.split() for line in listed.splitlines()][1][::2] == ["example.com", "mx1.example.com"]
    assert listed.split()[-1] == "4"
    [found] = [json.loads(line) for line in run(capsys, "--list", "--json").splitlines()]
    assert found["known_recipients"] == 4
    assert "takes no more mail for it" in run(capsys, "--remove", "example.com")
    assert known(tmp_path) == {}
    assert "was not set up" in run(capsys, "--remove", "example.com", code=1)
    assert "no domain was set up" in run(capsys, "--list")


def test_a_record_is_missing(capsys: Capture) -> None:
    shown = run(capsys, "example.org", code=1)
    assert "  primary: mx1.example.com (preference 10; 127.9.0.1)\n" in shown
    assert "  primary: mx3.example.com (preference 15; 127.9.0.3)\n" in shown
    assert "  the primary does not answer now (" in shown
    assert "connection refused" in shown
    assert "  set up: the relay takes its mail\n" in shown
    assert shown.endswith("  no mail comes here yet; publish:\n    example.org. MX 25 backup.example.net.\n")
    found = json.loads(run(capsys, "example.org", "--json", code=1))
    assert found["records"] == ["example.org. MX 25 backup.example.net."]
    assert (found["set_up"], found["place"], found["new"]) == (True, "not-listed", False)
    assert found["primary"]["reached"] is False


def test_without_mx_records_both_are_needed(capsys: Capture) -> None:
    shown = run(capsys, "implicit.example", code=1)
    assert shown.endswith(
        "    implicit.example. MX 10 implicit.example.\n    implicit.example. MX 20 backup.example.net.\n"
    )


@pytest.mark.parametrize(
    ("domain", "code", "says"),
    [
        ("first.example", 1, "no exchanger is better than preference 10, which it has; give it a higher one"),
        ("first.example", 1, "publish instead of the record it has:\n    first.example. MX 30 backup.example.net."),
        ("only.example", 1, "it is the only exchanger of the domain; the primary needs an MX record"),
        ("null.example", 1, "the domain takes no mail (null MX)"),
        ("nowhere.example", 1, "nowhere.example does not exist"),
        ("gone.example", 1, "no exchanger can be used"),
        ("slow.example", 3, "cannot be looked up now: SERVFAIL"),
    ],
)
def test_domains_that_cannot_be_backed_up(capsys: Capture, tmp_path: Path, domain: str, code: int, says: str) -> None:
    shown = run(capsys, domain, code=code)
    assert "not set up" in shown
    assert says in shown
    assert not (tmp_path / "spool").exists()


def test_other_names_of_this_host(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RELAY__OTHER_NAMES", "backup.example.net")
    shown = run(capsys, "example.com", "--hostname", "other.example.net", code=1)
    assert "other.example.net stands behind it" in shown
    assert "other.example.net has no address: publish an A or AAAA record of it\n" in shown


def test_a_relay_that_listens_nowhere(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MX10_RELAY__LISTEN")
    assert "relay.listen is empty: `mx10 serve` takes no mail yet" in run(capsys, "example.com", code=1)
    assert len(json.loads(run(capsys, "example.com", "--json", code=1))["troubles"]) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"takes_all": True}, "the primary takes every address, also one that was made up"),
        (
            {"refusal": b"550 5.7.1 your address is in a list\r\n"},
            "the primary does not tell who exists (mx1.example.com said",
        ),
        ({"says": {"GREETING": STALL}}, "the primary does not answer now (mx1.example.com"),
    ],
)
def test_what_the_primary_is_like(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    monkeypatch.setenv("MX10_RECIPIENTS__ASK_SECONDS", "0.3")
    people = tmp_path / "people.txt"
    people.write_text("".join(f"u{number}@example.com\n" for number in range(30)))
    with hosts(Primary(address="127.9.0.1", **options)) as port:
        monkeypatch.setenv("MX10_RELAY__PORT", str(port))
        shown = run(capsys, "example.com", "--recipients", str(people))
    assert says in shown
    assert "set up: the relay takes its mail" in shown
    if "takes_all" in options:
        assert "30 known to it" in shown
    else:
        assert "30 taken on your word until it can be asked" in shown
        assert known(tmp_path) == {"example.com": 30}


def test_many_that_the_primary_refuses(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("".join(f"u{number}@example.com\n" for number in range(50)))
    with hosts(Primary(address="127.9.0.1")) as port:
        monkeypatch.setenv("MX10_RELAY__PORT", str(port))
        shown = run(capsys, "example.com", "--recipients", str(people))
        assert "50 it refuses" in shown
        assert "    and 30 more; --json names all\n" in shown
        found = json.loads(run(capsys, "example.com", "--recipients", str(people), "--json"))
    assert len(found["recipients"]["refused"]) == 50
    assert found["primary"]["takes_all"] is False
    assert found["primary"]["said"].startswith("mx1.example.com said “550 5.1.1")


def test_rules_of_the_configuration(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RECIPIENTS__RULES", "example.com list:/no/such/file, example.org any")
    assert "recipients: those that recipients.rules names" in run(capsys, "example.com")
    assert "recipients: all are taken" in run(capsys, "example.org", code=1)
    monkeypatch.setenv("MX10_RELAY__TRANSPORTS", "xn--bcher-kva.example maildir:/var/mail/{local}")
    monkeypatch.setenv("MX10_RECIPIENTS__RULES", "* ask")
    assert "recipients: those who have a mailbox here" in run(capsys, "bücher.example", code=1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name one domain, or say --list"),
        (("example.com", "--list"), "name one domain, or say --list"),
        (("--remove",), "name one domain, or say --list"),
        (("example.com", "--remove", "--recipients", "x"), "belong to a domain that is set up"),
        (("exa..com",), "DOMAIN: "),
        (("ada@example.com",), "DOMAIN: "),
        ((".",), "the root is no mail domain"),
        (("example.com", "--hostname", "a b"), "--hostname: "),
        (("example.com", "--recipients", "/no/such/file"), "/no/such/file cannot be read: No such file"),
    ],
)
def test_wrong_commands(capsys: Capture, arguments: tuple[str, ...], says: str) -> None:
    assert says in run(capsys, *arguments, code=2)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ada@example.net", "ada@example.net is no recipient of example.com"),
        ("@example.com", 'set recipients.rules = ["example.com any"]'),
        ("ada", ":1: "),
    ],
)
def test_wrong_files(capsys: Capture, tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "people.txt"
    file.write_text(line)
    assert says in run(capsys, "example.com", "--recipients", str(file), code=2)


def test_wrong_settings(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RECIPIENTS__RULES", "example.com nonsense")
    assert "recipients.rules: 'example.com nonsense'" in run(capsys, "example.com", code=2)
    monkeypatch.setenv("MX10_RECIPIENTS__RULES", "* ask")
    monkeypatch.setenv("MX10_RELAY__TRANSPORTS", "nonsense")
    assert "relay.transports: 'nonsense'" in run(capsys, "example.com", code=2)


def test_a_host_without_a_name(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MX10_RELAY__HOSTNAME")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert "Say --hostname mx2.example.net, or set relay.hostname" in run(capsys, "example.com", code=2)


def test_a_store_that_cannot_be_used(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    shown = run(capsys, "example.com", code=3)
    assert "the spool" in shown


def test_with_postgresql(capsys: Capture, monkeypatch: pytest.MonkeyPatch, postgresql_url: str) -> None:
    monkeypatch.setenv("MX10_STORE__URL", postgresql_url)
    with hosts(Primary(address="127.9.0.1", known={"postmaster@example.com"})) as port:
        monkeypatch.setenv("MX10_RELAY__PORT", str(port))
        assert "set up: the relay takes its mail\n" in run(capsys, "example.com")
        assert "(it did before)" in run(capsys, "example.com")
    assert run(capsys, "--list").split()[-1] == "1"
    assert "takes no more mail" in run(capsys, "--remove", "example.com")
