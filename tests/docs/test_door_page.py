"""What docs/door.md shows is what the door says."""

import re
import tomllib
from pathlib import Path
from typing import Any

from mx10.config.settings import DoorSettings
from mx10.relay.door.checks import make_checks
from mx10.relay.door.dnsbl import parse_lists
from mx10.relay.door.filters import parse_filters
from mx10.relay.door.limits import Limits
from mx10.relay.door.values import Refused, Visitor
from mx10.routing.addresses import from_text
from mx10.smtp.syntax import MailParameters
from mx10.store.connect import Store
from tests.routing.dns_world import TEST_NETWORKS, World

PAGE = (Path(__file__).parents[2] / "docs" / "door.md").read_text(encoding="utf-8")
MAIL = MailParameters("a@example.com")
WORLD = """
1.2.0.192.zen.example   A 127.0.0.2
1.2.0.192.zen.example   TXT https://zen.example/192.0.2.1
broken.example.net      ! SERVFAIL
3.2.0.192.in-addr.arpa  PTR claims.example.com.
5.2.0.192.in-addr.arpa  ! SERVFAIL
"""


def visitor(address: str, helo: str = "client.example.net") -> Visitor:
    octets = from_text(address)
    assert octets is not None
    return Visitor(octets, 4711, "192.0.2.25:25", "mx", helo=helo)


async def test_the_replies_shown_are_said(store: Store) -> None:
    asked: list[tuple[dict[str, Any], Visitor]] = [
        ({"dnsbl": ("zen.example",)}, visitor("192.0.2.1")),
        ({"helo": "syntax"}, visitor("192.0.2.1", "localhost")),
        ({"helo": "syntax"}, visitor("192.0.2.1", "mx.example.org")),
        ({"helo": "resolves"}, visitor("192.0.2.1", "none.example.net")),
        ({"helo": "resolves"}, visitor("192.0.2.1", "broken.example.net")),
        ({"ptr": "exists"}, visitor("192.0.2.9")),
        ({"ptr": "confirmed"}, visitor("192.0.2.3")),
        ({"ptr": "exists"}, visitor("192.0.2.5")),
        ({"greylist": True}, visitor("192.0.2.1")),
    ]
    shown = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    said = []
    for settings, client in asked:
        made = make_checks(
            DoorSettings(**settings), ["MX.example.org."], World(WORLD), store, lambda: 1_800_000_000_000, TEST_NETWORKS
        )
        assert len(made.checks) == 2
        decision = made.checks[1].recipient(client, MAIL, "x@example.org")
        assert decision is not None
        refused = decision if isinstance(decision, Refused) else await decision
        assert refused is not None
        said.append(str(refused.reply))
        assert f"`{refused.what}`" in PAGE
    assert said == shown


def test_the_example_is_right() -> None:
    first, second = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = DoorSettings(**tomllib.loads(first)["door"])
    assert [each.name for each in parse_lists(settings.dnsbl)] == ["zen.example", "list.example.net", "friends.example"]
    assert len(parse_filters(DoorSettings(**tomllib.loads(second)["door"]).filters, "mx.example.org", 30)) == 2


def test_the_limits_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d+) \| (\d{3} [\d.]+) \| `([\w-]+)` \|$", PAGE, re.MULTILINE)
    fields = [name for name in DoorSettings.__dataclass_fields__ if re.search(r"per_|mistakes", name)]
    assert sorted(name for name, *_ in rows) == sorted(fields)
    default = DoorSettings()
    for name, shown, code, word in rows:
        assert getattr(default, name) == int(shown)
        most: dict[str, Any] = {**dict.fromkeys(fields, 0), name: 1}
        limits = Limits(DoorSettings(**most), lambda: 1_800_000_000_000)
        client = visitor("192.0.2.1")
        client.trusted = name.startswith("sender")
        refused = [
            each
            for _ in range(2)
            for each in (
                limits.connect(client),
                limits.mail(client, MAIL),
                limits.recipient(client, MAIL, "x@example.org"),
                limits.failed(client, "relay"),
            )
            if isinstance(each, Refused)
        ]
        assert {f"{each.reply.code} {each.reply.enhanced}" for each in refused} == {code}, name
        assert {each.what for each in refused} == {word}


def test_the_lines_of_lists_are_right() -> None:
    rows = re.findall(r"^\| `(\w+\.example\S*)` \| ", PAGE, re.MULTILINE)
    assert len(rows) == 5
    assert [sum(rule.points for rule in parse_lists([row])[0].rules) for row in rows] == [1, 3, 2, 2, -5]
