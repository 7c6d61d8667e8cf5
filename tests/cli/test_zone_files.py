"""``mx10 zone import``, ``export``, ``apply``, ``settings`` and ``mx10 store``, as they are typed."""

import io
import json
import sys
from pathlib import Path

import pytest

from mx10.cli import main

HEAD = "$TTL 1h\n@ SOA ns1 h 1 2h 30m 2w 1h\n@ NS ns1\n@ NS ns2.example.net.\nns1 A 192.0.2.1\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store and the files of a test are."""
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    """What a command prints; on standard error if it is not to work."""
    capsys.readouterr()
    assert main(argv) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def written(text: str, name: str = "example.com.zone") -> str:
    Path(name).write_text(HEAD + text)
    return name


def test_what_is_imported_is_exported(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "zone", "import", written("www 60 A 192.0.2.3\n   A 192.0.2.2\nb.a TXT x\n"))
    assert said == "example.com is new, with serial 1 and 5 record sets (change 1)\n"
    out = run(capsys, "zone", "export", "example.com")
    assert out == (
        "$ORIGIN example.com.\n"
        "@ 3600 SOA ns1.example.com. h.example.com. 1 7200 1800 1209600 3600\n"
        "@ 3600 NS ns1.example.com.\n"
        "@ 3600 NS ns2.example.net.\n"
        'b.a 3600 TXT "x"\n'
        "ns1 3600 A 192.0.2.1\n"
        "www 60 A 192.0.2.2\n"
        "www 60 A 192.0.2.3\n"
    )
    Path("again.zone").write_text(out)
    assert run(capsys, "zone", "import", "again.zone") == "example.com: nothing to change\n"
    assert run(capsys, "zone", "export", "example.com") == out


def test_an_import_in_place_of_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "zone", "import", written("www A 192.0.2.2\n"))
    said = run(capsys, "zone", "import", written("www A 192.0.2.3\n"), "-m", "moved")
    assert "2 record sets differ (change 2)" in said
    assert "moved" in run(capsys, "zone", "log", "example.com")
    said = run(capsys, "zone", "import", written("www A 192.0.2.4\n"), "--if-serial", "1", code=1)
    assert "has serial" in said
    assert "both touch www.example.com A" in said


def test_a_file_with_errors_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    name = written("www A 192.0.2.2\nwww CNAME x\n")
    said = run(capsys, "zone", "import", name, code=1)
    assert "example.com.zone:7:5: error:" in said
    assert "example.com.zone was not taken: mend the errors above" in said
    assert "--force needs --message" in run(capsys, "zone", "import", name, "--force", code=2)
    run(capsys, "zone", "import", name, "--force", "-m", "for a moment")
    assert "CNAME" in run(capsys, "zone", "export", "example.com")
    assert "cannot be read" in run(capsys, "zone", "import", "nothing.zone", code=1)


def test_which_zone_a_file_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written("", "whatever.text")
    run(capsys, "zone", "import", "whatever.text", "--zone", "example.org")
    assert "ns1.example.org." in run(capsys, "zone", "export", "example.org")
    Path("other.zone").write_text(f"$ORIGIN example.net.\n{HEAD}")
    assert "holds example.net, not example.org" in run(
        capsys, "zone", "import", "other.zone", "--zone", "example.org", code=1
    )
    text = f"$ORIGIN example.edu.\n{HEAD}".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert "example.edu is new" in run(capsys, "zone", "import", "-")
    assert "for one file" in run(capsys, "zone", "import", "a", "b", "--zone", "example.org", code=2)


def test_a_folder(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    zones = folder / "zones"
    zones.mkdir()
    for number in range(5):
        written(f"www A 192.0.2.{number}\n", f"zones/z{number}.example.zone")
    Path("zones/bad.example.zone").write_text("nonsense\n")
    Path("zones/README").write_text("no zone\n")
    run(capsys, "zone", "import", "zones/z3.example.zone")
    said = run(capsys, "zone", "import", "zones", code=1)
    assert "bad.example.zone was not taken" in said
    assert run(capsys, "store", "show", "--json")
    found = json.loads(run(capsys, "store", "show", "--json"))
    assert (found["zones"], found["record_sets"]) == (5, 20)
    Path("zones/bad.example.zone").unlink()
    written("www A 192.0.2.99\n", "zones/z1.example.zone")
    said = run(capsys, "zone", "import", "zones")
    assert "z1.example has serial" in said
    assert said.endswith("zones: 0 new zones, 5 that were there\n")
    Path("zones/twice.zone").write_text(f"$ORIGIN z1.example.\n{HEAD}")
    said = run(capsys, "zone", "import", "zones", code=1)
    assert "zones/z1.example.zone: z1.example is in twice.zone already; remove one of the two" in said


def test_exporting_all(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("example.com", "a\\047b.example", "root"):
        written("", f"{name}.zone")
        run(capsys, "zone", "import", f"{name}.zone")
    assert run(capsys, "zone", "export", "--all", "--to", "out") == "out: 3 zones, 3 files changed\n"
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a\\047b.example.zone",
        "example.com.zone",
        "root.zone",
    ]
    before = Path("out/example.com.zone").stat()
    assert run(capsys, "zone", "export", "--all", "--to", "out") == "out: 3 zones, 0 files changed\n"
    assert Path("out/example.com.zone").stat().st_mtime_ns == before.st_mtime_ns
    assert run(capsys, "zone", "import", "out").endswith("out: 0 new zones, 3 that were there\n")
    assert "cannot be written" in run(capsys, "zone", "export", "root", "--to", "out/root.zone", code=1)
    assert "needs --to" in run(capsys, "zone", "export", "--all", code=2)
    assert "name zones" in run(capsys, "zone", "export", code=2)
    assert "no zone nobody.example" in run(capsys, "zone", "export", "nobody.example", code=1)


def test_an_earlier_serial(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "zone", "import", written("www A 192.0.2.2\n"))
    before = run(capsys, "zone", "export", "example.com")
    run(capsys, "zone", "import", written("www A 192.0.2.3\n"))
    assert run(capsys, "zone", "export", "example.com", "--at", "1") == before
    assert "never had the serial 7" in run(capsys, "zone", "export", "example.com", "--at", "7", code=1)


def test_applying(capsys: pytest.CaptureFixture[str]) -> None:
    name = written("www A 192.0.2.2\n")
    assert "no zone example.com yet" in run(capsys, "zone", "apply", name, "--yes", code=1)
    run(capsys, "zone", "import", name)
    assert run(capsys, "zone", "apply", name, "--yes") == "example.com: nothing to change\n"
    name = written("www A 192.0.2.3\nx A 192.0.2.4\n")
    said = run(capsys, "zone", "apply", name, "--dry-run")
    assert "-www 3600 A 192.0.2.2\n+www 3600 A 192.0.2.3\n+x 3600 A 192.0.2.4\n" in said
    assert "would go from serial 1 to" in said
    assert said.endswith("nothing was changed\n")
    # Nobody is at the terminal of a test.
    assert "nothing changed" in run(capsys, "zone", "apply", name, code=1)
    assert "192.0.2.2" in run(capsys, "zone", "export", "example.com")
    assert "(change 2)" in run(capsys, "zone", "apply", name, "--yes", "-m", "why")
    assert "192.0.2.3" in run(capsys, "zone", "export", "example.com")
    assert "say --yes" in run(capsys, "zone", "apply", "-", code=2)
    assert "has serial" in run(capsys, "zone", "apply", written(""), "--yes", "--if-serial", "1", code=1)


def test_settings_of_a_zone(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "zone", "import", written(""))
    said = run(capsys, "zone", "settings", "example.com", "serial_style=counter", "notify=::1, 127.0.0.1", "catalog=no")
    assert said == "example.com: set (change 2)\n"
    found = json.loads(run(capsys, "zone", "settings", "example.com", "--json"))
    assert (found["serial_style"], found["notify"], found["catalog"]) == ("counter", ["::1", "127.0.0.1"], False)
    assert run(capsys, "zone", "settings", "example.com", "catalog=no") == "nothing to change\n"
    run(capsys, "zone", "settings", "example.com", "notify=")
    assert "none" in run(capsys, "zone", "settings", "example.com")
    for setting, wrong in (
        ("notfy=1", "did you mean notify?"),
        ("notify=nobody", "is no IP address"),
        ("notify=127.0.0.1+tls", "NOTIFY is not sent over TLS"),
        ("allow_transfer=x", "x"),
        ("update_policy=x", "no rule for updates"),
        ("serial_style=x", "write date, counter or unixtime"),
        ("catalog=x", "write yes or no"),
        ("catalog", "needs a value"),
        ("primaries=127.0.0.1", "`mx10 zone follow`"),
    ):
        assert wrong in run(capsys, "zone", "settings", "example.com", setting, code=2)


def test_the_store(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no store" in run(capsys, "store", "show", code=3)
    assert run(capsys, "store", "upgrade") == (
        f"setting up version 0003\n{folder}/mx10.db is as this program needs it\n"
    )
    assert run(capsys, "store", "upgrade") == f"{folder}/mx10.db is as this program needs it\n"
    assert "version" in run(capsys, "store", "show")
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{folder}")
    assert "is a folder" in run(capsys, "store", "upgrade", code=3)
    monkeypatch.setenv("MX10_STORE__URL", "mysql://x")
    assert "store.url" in run(capsys, "store", "upgrade", code=2)
