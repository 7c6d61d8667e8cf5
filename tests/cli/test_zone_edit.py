"""``mx10 zone create``, ``list``, ``show``, ``set``, ``add``, ``remove``, ``log``, ``diff``, ``revert`` and ``delete``,
as they are typed."""

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mx10.cli import main
from mx10.store.connect import open_store
from tests.conftest import cannot_run

CREATE = ("zone", "create", "example.com", "--ns", "ns1.example.net.", "--ns", "ns2.example.net.")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store of a test is."""
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shell:
    """Commands of ``mx10 zone``."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str, code: int = 0) -> str:
        """What a command prints; on standard error if it is not to work."""
        self._capsys.readouterr()
        assert main(["zone", *argv]) == code
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return captured.err if code else captured.out

    def serial(self) -> str:
        """The serial of example.com."""
        return str(json.loads(self("list", "example.com", "--json"))["serial"])

    def change(self) -> str:
        """The number of its last change."""
        return str(json.loads(self("log", "example.com", "-n", "1", "--json"))["change"])


@pytest.fixture
def zone(capsys: pytest.CaptureFixture[str]) -> Shell:
    """example.com is there, with two nameservers and one exchanger."""
    assert main([*CREATE, "--mx", "10 mail.example.net."]) == 0
    return Shell(capsys)


@pytest.fixture
def nothing(capsys: pytest.CaptureFixture[str]) -> Shell:
    """No store yet."""
    return Shell(capsys)


# ---------------------------------------------------------------- one after the other


def test_a_new_zone(zone: Shell) -> None:
    serial = zone.serial()
    assert re.fullmatch(r"20\d{6}01", serial)
    assert zone("show", "example.com") == (
        f"@ 3600 SOA ns1.example.net. hostmaster.example.com. {serial} 86400 7200 3600000 3600\n"
        "@ 3600 NS ns1.example.net.\n"
        "@ 3600 NS ns2.example.net.\n"
        "@ 3600 MX 10 mail.example.net.\n"
    )
    assert "is in the store already" in zone(*CREATE[1:], code=1)


def test_what_a_new_zone_is_told(nothing: Shell) -> None:
    create = ("create", "a.example", "--ns", "ns1.example.net.", "--ns", "ns2.example.net.")
    nothing(*create, "--mailbox", "ann.lee@example.org", "--ttl", "1d", "-m", "for Ann")
    assert "@ 86400 SOA ns1.example.net. ann\\.lee.example.org. " in nothing("show", "a.example")
    assert "for Ann" in nothing("log", "a.example")
    for wrong, why in (
        (("--mailbox", "ann"), "--mailbox"),
        (("--mailbox", "ann@[192.0.2.1]"), "cannot stand in an SOA record"),
        (("--ttl", "soon"), "no TTL"),
        (("--mx", "10 mail.example.net"), "final dot"),
        (("--ns", "192.0.2.1.5..x"), "NS"),
    ):
        assert why in nothing("create", "b.example", "--ns", "ns1.example.net.", *wrong, code=2)
    assert "required: --ns" in nothing("create", "b.example", code=2)
    assert "zone: " in nothing("create", "b..example", "--ns", "ns1.example.net.", code=2)


def test_set_add_and_remove(zone: Shell) -> None:
    said = zone("add", "example.com", "@", "mx", "20 backup.example.org.", "-m", "a second one")
    assert said == f"+@ 3600 MX 20 backup.example.org.\nexample.com has serial {zone.serial()} (change 2)\n"
    said = zone("set", "example.com", "@", "MX", "5 one.example.net.", "20 backup.example.org.", "--ttl", "5m")
    assert said.splitlines()[:4] == [
        "-@ 3600 MX 10 mail.example.net.",
        "-@ 3600 MX 20 backup.example.org.",
        "+@ 300 MX 5 one.example.net.",
        "+@ 300 MX 20 backup.example.org.",
    ]
    # The time to live stays as it was.
    zone("add", "example.com", "@", "MX", "30 third.example.org.")
    zone("remove", "example.com", "@", "MX", "5 one.example.net.")
    assert zone("show", "example.com", "@", "MX") == (
        "@ 300 MX 20 backup.example.org.\n@ 300 MX 30 third.example.org.\n"
    )
    zone("set", "example.com", "www", "TXT", "v=spf1 -all", "another text")
    zone("add", "example.com", "www", "A", "192.0.2.1", "192.0.2.2")
    zone("remove", "example.com", "www", "A")
    assert zone("show", "example.com", "www") == 'www 3600 TXT "v=spf1 -all"\nwww 3600 TXT "another text"\n'
    zone("remove", "example.com", "www")
    zone("show", "example.com", "www", code=1)


def test_what_is_there_already_is_no_change(zone: Shell) -> None:
    serial = zone.serial()
    assert zone("add", "example.com", "@", "MX", "10 mail.example.net.") == "nothing to change\n"
    assert zone("set", "example.com", "@", "MX", "10 mail.example.net.") == "nothing to change\n"
    assert zone.serial() == serial


def test_what_is_not_there_cannot_be_removed(zone: Shell) -> None:
    assert "@ has no A records" in zone("remove", "example.com", "@", "A", code=1)
    assert "no record MX 10 other." in zone("remove", "example.com", "@", "MX", "10 other.", code=1)
    assert "www has no records" in zone("remove", "example.com", "www", code=1)
    assert "there is no zone example.net" in zone("remove", "example.net", "www", code=1)


@pytest.mark.parametrize(
    ("argv", "code", "why"),
    [
        (("add", "example.com", "www.example.org.", "A", "192.0.2.1"), 2, "not in the zone example.com."),
        (("add", "example.com", "a..b", "A", "192.0.2.1"), 2, "a..b"),
        (("add", "example.com", "@", "MXX", "10 x."), 2, "'MXX' is no record type"),
        (("add", "example.com", "@", "ANY", "10 x."), 2, "for questions only"),
        (("add", "example.com", "@", "A", "1.2.3"), 2, "1.2.3"),
        (("add", "example.com", "@", "TXT", "x" * 70_000), 2, "65535"),
        (("add", "example.com", "@", "RRSIG", "\\# 1 00"), 2, "RRSIG"),
        (("add", "example.com", "@", "MX"), 2, "DATA"),
        (("add", "example.com", "@", "A", "192.0.2.1", "--ttl", "-1"), 2, "'-1' is no TTL"),
        (("add", "example.com", "@", "A", "192.0.2.1", "--if-serial", "x"), 2, "not a serial number"),
        (("add", "example.com", "@", "A", "192.0.2.1", "--force"), 2, "--force needs --message"),
        (("add", "example.org", "@", "A", "192.0.2.1"), 1, "there is no zone example.org"),
        (("set", "example.com", "@", "SOA", "a. b. 1 2 3 4 5", "c. d. 1 2 3 4 5"), 1, "SOA"),
        (("remove", "example.com", "@", "NS"), 1, "NS"),
        (("remove", "example.com", "@", "SOA"), 1, "SOA"),
        (("show", "example.org"), 1, "there is no zone example.org"),
        (("show", "example.com", "--at", "5"), 1, "never had the serial 5"),
        (("diff", "example.com", "5"), 1, "never had the serial 5"),
        (("log", "example.org"), 1, "example.org has no history"),
        (("revert", "example.com", "99"), 1, "99"),
        (("revert", "example.com", "x"), 2, "not the number of a change"),
        (("revert", "example.com", "1"), 1, "delete"),
        (("delete", "example.org", "--yes"), 1, "there is no zone example.org"),
    ],
)
def test_what_cannot_be_done(zone: Shell, argv: tuple[str, ...], code: int, why: str) -> None:
    before = zone("show", "example.com")
    said = zone(*argv, code=code)
    assert why in said
    assert said.count("\n") == 1
    assert len(said) < 500
    assert zone("show", "example.com") == before


def test_rules_hold_and_force_needs_a_reason(zone: Shell) -> None:
    zone("add", "example.com", "www", "CNAME", "@")
    said = zone("add", "example.com", "www", "A", "192.0.2.1", code=1)
    assert "cname-not-alone" in said
    assert "www 3600 A" not in zone("show", "example.com")
    zone("add", "example.com", "www", "A", "192.0.2.1", "--force", "-m", "until Monday")
    assert "www 3600 A 192.0.2.1" in zone("show", "example.com")
    assert "until Monday" in zone("log", "example.com")


# ---------------------------------------------------------------- two people


def test_the_second_is_told_what_the_first_changed(zone: Shell) -> None:
    seen = zone.serial()
    zone("set", "example.com", "@", "MX", "10 new.example.net.", "-m", "moved")
    said = zone("set", "example.com", "@", "MX", "10 other.example.net.", "--if-serial", seen, code=1)
    assert f"not {seen}" in said or "has serial" in said
    assert "both touch example.com MX" in said
    assert "new.example.net." in zone("show", "example.com", "@", "MX")
    zone("set", "example.com", "@", "MX", "10 other.example.net.", "--if-serial", zone.serial())


# ---------------------------------------------------------------- history


def test_history(zone: Shell) -> None:
    first = zone.serial()
    zone("add", "example.com", "@", "MX", "20 backup.example.org.", "-m", "a second one")
    second = zone.serial()
    zone("add", "example.com", "www", "A", "192.0.2.1")
    said = zone("log", "example.com", "-p")
    assert re.findall(r"^change (\d+) .* by (\w+)$", said, re.MULTILINE) == [("3", "ann"), ("2", "ann"), ("1", "ann")]
    assert "    a second one\n    +@ 3600 MX 20 backup.example.org.\n" in said
    assert zone("log", "example.com", "-n", "1").startswith("change 3 ")
    found = [json.loads(line) for line in zone("log", "example.com", "--json", "-p").splitlines()]
    assert found[1]["message"] == "a second one"
    assert found[1]["changes"][1]["after"] == {"ttl": 3600, "data": ["10 mail.example.net.", "20 backup.example.org."]}
    assert "backup" not in zone("show", "example.com", "--at", first)
    assert "www" not in zone("show", "example.com", "--at", second)
    assert zone("diff", "example.com", second) == "+www 3600 A 192.0.2.1\n"
    assert zone("diff", "example.com", second, first) == "-@ 3600 MX 20 backup.example.org.\n"
    assert json.loads(zone("diff", "example.com", second, "--json").splitlines()[-1])["owner"] == "www.example.com"
    zone("diff", "example.com", first, first, code=1)


def test_a_revert_is_a_change(zone: Shell) -> None:
    zone("add", "example.com", "@", "MX", "20 backup.example.org.")
    zone("add", "example.com", "www", "A", "192.0.2.1")
    said = zone("revert", "example.com", "2", "-m", "not yet")
    assert said.startswith("-@ 3600 MX 20 backup.example.org.\nexample.com has serial ")
    assert "www" in zone("show", "example.com")
    # And can be undone itself.
    zone("revert", "example.com", zone.change())
    assert "backup" in zone("show", "example.com")
    # What was changed since is not undone with it.
    zone("set", "example.com", "www", "A", "192.0.2.9")
    assert "www" in zone("revert", "example.com", "3", code=1)


def test_a_deleted_zone_comes_back(zone: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = zone("show", "example.com")
    assert "--yes says it" in zone("delete", "example.com", code=1)
    monkeypatch.setattr(sys, "stdin", terminal("n\n"))
    assert "nothing deleted" in zone("delete", "example.com", code=1)
    monkeypatch.setattr(sys, "stdin", terminal("y\n"))
    said = zone("delete", "example.com", "-m", "gone")
    number = re.search(r"zone revert example\.com (\d+)", said)
    assert number is not None
    zone("list", code=1)
    assert "delete" in zone("log", "example.com")
    serial = json.loads(zone("log", "example.com", "--json").splitlines()[0])["serial_before"]
    assert zone("show", "example.com", "--at", str(serial)) == before
    zone("revert", "example.com", number[1])
    after = zone("show", "example.com")
    assert after.splitlines()[1:] == before.splitlines()[1:]
    assert int(zone.serial()) > serial


def terminal(text: str) -> io.StringIO:
    """A terminal somebody types at."""
    stream = io.StringIO(text)
    stream.isatty = lambda: True  # type: ignore[method-assign]
    return stream


def test_lists(zone: Shell) -> None:
    zone("create", "example.org", "--ns", "ns1.example.net.", "--ns", "ns2.example.net.")
    zone("create", "bücher.example", "--ns", "ns1.example.net.", "--ns", "ns2.example.net.")
    lines = zone("list").splitlines()
    assert lines[0].split() == ["zone", "serial", "record", "sets", "kind"]
    assert {line.split()[0] for line in lines[1:]} == {"example.com", "example.org", "bücher.example"}
    assert zone("list", "*.org").count("\n") == 2
    assert zone("list", "bü*").count("\n") == 2
    found = json.loads(zone("list", "EXAMPLE.com", "--json"))
    assert (found["zone"], found["kind"], found["record_sets"], found["signed"]) == ("example.com", "primary", 3, False)
    zone("list", "*.net", code=1)
    rows = [json.loads(line) for line in zone("show", "example.com", "--json").splitlines()]
    assert rows[2] == {"owner": "example.com", "type": "MX", "ttl": 3600, "data": ["10 mail.example.net."]}


# ---------------------------------------------------------------- stores that cannot be used


def test_no_store_yet(nothing: Shell, folder: Path) -> None:
    for argv in (("list",), ("show", "a"), ("add", "a", "@", "A", "192.0.2.1"), ("log", "a"), ("delete", "a", "--yes")):
        said = nothing(*argv, code=3)
        assert "mx10 zone create" in said or "store upgrade" in said
        assert said.count("\n") == 1
    assert not (folder / "mx10.db").exists()


def test_a_file_that_is_no_store(nothing: Shell, folder: Path) -> None:
    (folder / "mx10.db").write_bytes(os.urandom(8192))
    said = nothing("list", code=3)
    assert "mx10.db" in said
    assert said.count("\n") == 1


def test_a_newer_store(zone: Shell, folder: Path) -> None:
    with sqlite3.connect(folder / "mx10.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    said = zone("list", code=3)
    assert "newer" in said
    assert said.count("\n") == 1


def test_a_locked_store(zone: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten seconds otherwise.
    monkeypatch.setattr("mx10.zones.dnssec.opening.open_store", partial(open_store, wait_seconds=0.1))
    other = sqlite3.connect(folder / "mx10.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        # Reading goes on.
        zone("show", "example.com")
        said = zone("add", "example.com", "@", "A", "192.0.2.1", code=3)
    finally:
        other.close()
    assert "busy" in said or "locked" in said
    zone("add", "example.com", "@", "A", "192.0.2.1")


def test_a_full_disk(zone: Shell, folder: Path) -> None:
    """A file system of 600 KiB: the change that no longer fits is refused whole, and there is room again afterwards."""
    script = (
        "mount -t tmpfs -o size=600k none disk && cp mx10.db disk/ && export MX10_STORE__URL=sqlite:///$PWD/disk/mx10.db\n"
        'mx10() { "$PYTHON" -m mx10 "$@"; }\n'
        "head -c 1000000 /dev/zero > disk/ballast 2>/dev/null\n"
        "text=$(head -c 60000 /dev/zero | tr '\\0' x)\n"
        'mx10 zone add example.com big TXT "$text"; echo "full: $?"\n'
        'rm disk/ballast; mx10 zone show example.com big; echo "show: $?"\n'
        'mx10 zone add example.com small TXT x; echo "after: $?"\n'
    )
    (folder / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHON": sys.executable},
    )
    if "full:" not in done.stdout:
        cannot_run(f"a file system of its own cannot be mounted here: {done.stderr.strip()[:200]}")
    assert "Traceback" not in done.stderr
    assert "full: 3\n" in done.stdout
    assert "no room" in done.stderr or "full" in done.stderr
    assert "show: 1\n" in done.stdout
    assert "after: 0\n" in done.stdout
