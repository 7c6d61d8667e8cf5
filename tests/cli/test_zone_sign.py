"""``mx10 zone sign``, ``unsign``, ``keys``, ``ds``, ``import-keys`` and ``export-keys``, as they are typed."""

import json
from pathlib import Path

import pytest

from mx10.cli import main
from mx10.config.settings import DnssecSettings
from mx10.zones.dnssec.policy import Policy


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a zone."""
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["zone", "create", "example.org", "--ns", "ns1.example.net.", "--ns", "ns2.example.net."]) == 0
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    """What a command prints; on standard error if it is not to work."""
    capsys.readouterr()
    assert main(["zone", *argv]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def tags(capsys: pytest.CaptureFixture[str]) -> list[int]:
    return [key["tag"] for key in json.loads(run(capsys, "keys", "example.org", "--json"))["keys"]]


@pytest.mark.usefixtures("store")
def test_signing_a_zone_says_what_is_done_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "sign", "example.org", "-m", "the registry asks for it")
    (tag,) = tags(capsys)
    assert f"example.org: made csk {tag} (algorithm 13)" in said
    assert f"example.org: then ask the parent by CDS for the DS record of csk {tag}, not before" in said
    assert "resolvers may have records without signatures until then" in said
    assert "RRSIG" in run(capsys, "show", "example.org", "--generated")
    assert "the registry asks for it" in run(capsys, "log", "example.org", "--signing")
    assert run(capsys, "sign", "example.org").endswith("example.org: nothing to change\n")


@pytest.mark.usefixtures("store")
def test_the_ds_record_is_that_of_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org")
    (tag,) = tags(capsys)
    (line,) = run(capsys, "ds", "example.org").splitlines()
    assert line.startswith(f"example.org. 3600 IN DS {tag} 13 2 ")
    assert len(line.split()[-1]) == 64
    two = run(capsys, "ds", "example.org", "--digest", "2", "--digest", "4").splitlines()
    assert [one.split()[6] for one in two] == ["2", "4"]
    assert json.loads(run(capsys, "ds", "example.org", "--json"))["ds"] == [" ".join(line.split()[4:])]


@pytest.mark.usefixtures("store")
def test_keys_are_drawn_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org", "--algorithm", "ed25519", "--keys", "ksk+zsk", "--denial", "nsec3")
    said = run(capsys, "keys", "example.org")
    assert "example.org: signed: algorithm 15 (ED25519), one key signs the keys, one the zone, NSEC3" in said
    assert "● published ━" in said
    assert "◐ DS asked for ╌╌ ○ DS seen" in said
    assert "waiting:" in said
    ksk, zsk = tags(capsys)
    said = run(capsys, "keys", "example.org", "--roll", "zsk")
    assert f"sign the zone with zsk {tags(capsys)[2]} in place of zsk {zsk}" in said
    assert run(capsys, "keys", "example.org", "--roll", "csk", code=1) == (
        "mx10 zone: example.org.: the zone has no csk: its keys are ksk and zsk\n"
    )
    assert "is being replaced already" in run(capsys, "keys", "example.org", "--roll", "zsk", code=1)
    assert ksk in tags(capsys)


@pytest.mark.usefixtures("store")
def test_paused_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org")
    run(capsys, "keys", "example.org", "--pause")
    assert "; paused" in run(capsys, "keys", "example.org").splitlines()[0]
    run(capsys, "keys", "example.org", "--resume")
    assert "; paused" not in run(capsys, "keys", "example.org")


@pytest.mark.usefixtures("store")
def test_unsigned_without_an_outage_and_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org")
    (tag,) = tags(capsys)
    run(capsys, "keys", "example.org", "--ds-seen", str(tag))
    said = run(capsys, "unsign", "example.org")
    assert "ask the parent by CDS to remove all DS records" in said
    # What was seen before the zone shall be unsigned says nothing of what the parent has after it.
    run(capsys, "keys", "example.org", "--ds-seen", str(tag))
    said = run(capsys, "keys", "example.org")
    assert f"the parent still has the DS record of csk {tag}; CDS asks it to remove it" in said
    assert "CDS 0 0 0 00" in run(capsys, "ds", "example.org")
    assert "CDNSKEY 0 3 0 AA==" in run(capsys, "ds", "example.org")
    assert main(["zone", "unsign", "example.org", "--now"]) == 0
    assert "validating resolvers answer nothing of it" in capsys.readouterr().err
    assert "RRSIG" not in run(capsys, "show", "example.org", "--generated")
    assert run(capsys, "keys", "example.org", code=1) == (
        "mx10 zone: example.org. is not signed; `mx10 zone sign example.org` signs it\n"
    )


def test_keys_go_out_and_come_in_elsewhere(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org", "--keys", "ksk+zsk")
    before = run(capsys, "ds", "example.org")
    files = run(capsys, "export-keys", "example.org", str(store / "keys")).split()
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in (store / "keys").iterdir()} == {0o600}
    assert "File exists" in run(capsys, "export-keys", "example.org", str(store / "keys"), code=1)
    run(capsys, "unsign", "example.org", "--now")
    run(capsys, "import-keys", "example.org", *files)
    assert run(capsys, "ds", "example.org") == before
    assert "has the key" in run(capsys, "import-keys", "example.org", *files, code=1)


def test_keys_that_cannot_be_taken_over(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in run(capsys, "import-keys", "example.org", str(store / "nothing"), code=1)
    run(capsys, "sign", "example.org", "--keys", "ksk+zsk")
    files = run(capsys, "export-keys", "example.org", str(store / "keys")).split()
    run(capsys, "create", "example.net", "--ns", "ns1.example.org.")
    assert "is a key of example.org., not of example.net." in run(
        capsys, "import-keys", "example.net", files[0], code=1
    )
    (zsk,) = [file for file in files if " 256 " in Path(file).with_suffix(".key").read_text()]
    assert "only keys that are zsk" in run(capsys, "import-keys", "example.org", zsk, code=2)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["sign"], 2, "name zones, or say --all"),
        (["sign", "example.org", "--all"], 2, "name zones, or say --all"),
        (["sign", "nothing.example"], 1, "there is no zone nothing.example"),
        (["sign", "bad..name"], 2, "a label is empty"),
        (["sign", "example.org", "--algorithm", "5"], 2, "'5' is no algorithm we sign with"),
        (["sign", "example.org", "--zsk-days", "x"], 2, "'x' is no whole number"),
        (["sign", "example.org", "--zsk-days", "99999"], 1, "zsk_days should be from 0 to 36500, not 99999"),
        (["sign", "example.org", "--signature-days", "3"], 1, "should be more than refresh_days"),
        (["unsign", "example.org"], 1, "is not signed"),
        (["keys", "example.org"], 1, "is not signed"),
        (["keys", "example.org", "--emergency"], 2, "--emergency needs --roll"),
        (["keys", "example.org", "--pause", "--resume"], 2, "are not for one command"),
        (["keys", "example.org", "--ds-seen", "70000"], 2, "'70000' is no key tag"),
        (["keys", "example.org", "--roll", "tsk"], 2, "invalid choice"),
        (["ds", "nothing.example"], 1, "there is no zone nothing.example"),
        (["ds", "example.org"], 1, "is not signed"),
        (["export-keys", "example.org", "/tmp"], 1, "is not signed"),
        (["import-keys", "example.org", "/dev/null"], 1, "there is no such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    said = run(capsys, *argv, code=code)
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("store")
def test_a_tag_that_no_key_has(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org")
    (tag,) = tags(capsys)
    said = run(capsys, "keys", "example.org", "--ds-seen", str((tag + 1) % 65536), code=1)
    assert f"that a DS record could be of; it has {tag}" in said


def test_without_the_key_file_nothing_is_signed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "example.org")
    (store / "mx10.key").rename(store / "elsewhere")
    assert f"the key file {store}/mx10.key is not there" in run(capsys, "keys", "example.org", "--roll", "csk", code=1)
    assert "is not there" in run(capsys, "set", "example.org", "@", "MX", "0 .", code=1)
    # What needs no secret goes on working.
    assert tags(capsys)
    assert "example.org" in run(capsys, "ds", "example.org")
    run(capsys, "unsign", "example.org", "--now")
    assert "RRSIG" not in run(capsys, "show", "example.org", "--generated")


def test_with_a_wrong_passphrase_nothing_is_signed(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store / "passphrase"
    file.touch(0o600)
    file.write_text("correct horse battery\n")
    monkeypatch.setenv("MX10_DNSSEC__PASSPHRASE_FILE", str(file))
    run(capsys, "sign", "example.org")
    file.write_text("incorrect horse\n")
    assert "is not the passphrase" in run(capsys, "keys", "example.org", "--roll", "csk", code=1)


@pytest.mark.usefixtures("store")
def test_all_zones_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", "example.net", "--ns", "ns1.example.org.")
    assert run(capsys, "sign", "--all").splitlines() == ["example.net is signed", "example.org is signed"]
    assert run(capsys, "sign", "--all") == ""


def test_the_policy_has_the_defaults_of_the_settings() -> None:
    assert Policy.of(DnssecSettings()) == Policy()
