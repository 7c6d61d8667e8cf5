"""What docs/courier.md shows works as it stands there."""

import re
from pathlib import Path

from mx10.relay.courier.local import signed_headers
from mx10.relay.courier.transports import Kind, parse_transports
from mx10.relay.courier.values import Addressee
from tests.relay.scripted import letter

PAGE = (Path(__file__).parents[2] / "docs" / "courier.md").read_text()


def block(after: str, language: str = "") -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def test_the_rules_are_rules() -> None:
    rules = parse_transports(block("## Ways that you choose").splitlines())
    assert len(rules) == 7
    shown = {
        "else.example": Kind.SMTP,
        "lists.example": Kind.LMTP,
        "home.example": Kind.MAILDIR,
        "x.example.org": Kind.MX,
    }
    for domain, kind in shown.items():
        found = rules.of(domain)
        assert found is not None
        assert found.kind is kind


async def test_a_receiver_that_checks_as_the_page_says() -> None:
    code = block("To check it in Python", "python")
    scope: dict[str, object] = {}
    exec(f"import hmac\nfrom collections.abc import Mapping\n{code}", scope)
    is_ours = scope["is_ours"]
    assert callable(is_ours)
    headers = await signed_headers(letter(), (Addressee("дмитрий@hooks.example"),), b"secret", 1_790_000_000)
    body = b"Subject: hello\r\n\r\nworld\r\n"
    assert is_ours(headers, body, b"secret", 1_790_000_010.0)
    assert not is_ours(headers, body, b"other", 1_790_000_010.0)
    assert not is_ours(headers, body + b"!", b"secret", 1_790_000_010.0)
    assert not is_ours(headers, body, b"secret", 1_790_001_000.0)
