"""``mx10 zone follow`` and ``refresh``: what is kept, and what is refused."""

from pathlib import Path

import pytest

from mx10.cli import main
from mx10.config import ZoneSettings
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.ledger import Ledger

APEX = from_text("example.com.")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/mx10.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MX10_STORE__URL", url)
    monkeypatch.setenv("MX10_NAMESERVER__RUN_DIR", str(tmp_path))
    return url


def ledger(url: str) -> Ledger:
    return Ledger(open_store(url), ZoneSettings())


def test_a_zone_is_followed_and_others_set(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zone", "follow", "example.com", "--from", "192.0.2.1:53#Key.Example", "--from", "2001:db8::1"]) == 0
    assert "example.com follows 192.0.2.1#key.example, 2001:db8::1" in capsys.readouterr().out
    info = ledger(store).info(APEX)
    assert (info.kind, info.served) == ("secondary", False)
    assert info.options.primaries == ("192.0.2.1#key.example", "2001:db8::1")
    assert (
        main(["zone", "follow", "example.com", "--from", "192.0.2.9+tls", "--notify-from", "key:k", "--catalog"]) == 0
    )
    options = ledger(store).info(APEX).options
    assert (options.primaries, options.allow_notify, options.consume_catalog) == (("192.0.2.9+tls",), ("key:k",), True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["follow", "example.com"], 2, "--from"),
        (["follow", "example.com", "--from", "ns1.example.net"], 2, "no IP address"),
        (["follow", "example..com", "--from", "192.0.2.1"], 2, "zone"),
        (["follow", "example.com", "--from", "192.0.2.1", "--notify-from", "anybody"], 2, "no entry"),
        (["follow", "ours.example", "--from", "192.0.2.1"], 1, "is a primary zone here"),
        (["refresh", "example.com"], 3, "start `mx10 serve`"),
        (["refresh", "example..com"], 2, "zone"),
    ],
)
def test_what_is_refused(
    words: list[str], code: int, said: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zone", "create", "ours.example", "--ns", "ns1.example.net.", "--ns", "ns2.example.net."]) == 0
    capsys.readouterr()
    assert main(["zone", *words]) == code
    assert said in capsys.readouterr().err


def test_rules_of_updates_are_set_and_read(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zone", "create", "ours.example", "--ns", "ns1.example.net.", "--ns", "ns2.example.net."]) == 0
    rules = "key:laptop.example grant subdomain dyn A AAAA; key:acme grant name _acme-challenge TXT"
    assert main(["zone", "settings", "ours.example", f"update_policy={rules}"]) == 0
    found = ledger(store).info(from_text("ours.example.")).options.update_policy
    assert found == tuple(rules.split("; "))
    assert main(["zone", "settings", "ours.example", "update_policy=key:laptop.example grant everything"]) == 2
    assert "none of zonesub" in capsys.readouterr().err
