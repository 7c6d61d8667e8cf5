"""``mx10 tsig`` and ``mx10 zone notify``."""

from pathlib import Path

import pytest

from mx10.cli import main
from mx10.dns.tsig import keys_from_text
from mx10.dns.wirename import from_text


@pytest.mark.parametrize(("algorithm", "size"), [("hmac-sha1", 20), ("hmac-sha256", 32), ("hmac-sha512", 64)])
def test_a_key_is_printed_as_it_is_read(capsys: pytest.CaptureFixture[str], algorithm: str, size: int) -> None:
    printed = []
    for _ in range(2):
        assert main(["tsig", "Transfer.Example", "--algorithm", algorithm]) == 0
        printed.append(capsys.readouterr().out)
    (key,) = keys_from_text(printed[0]).values()
    assert (key.name, key.algorithm, len(key.secret)) == (from_text("transfer.example"), algorithm, size)
    assert printed[0] != printed[1]


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "\u00e4"])
def test_what_is_no_name_is_told(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["tsig", name]) == 2
    assert "is no name of a key" in capsys.readouterr().err


def test_nobody_is_told_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("MX10_NAMESERVER__RUN_DIR", str(tmp_path))
    assert main(["zone", "notify", "example.com"]) == 3
    assert "start `mx10 serve`" in capsys.readouterr().err
    assert main(["zone", "notify", "a..b"]) == 2
