"""Who may update what: rules as they are written, and what they decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.dns.wirename import from_text
from mx10.nameserver.access import AccessError, Entry, admits, entry_from_text
from mx10.nameserver.update_policy import Client, PolicyError, is_known, refusal, rule_from_text
from mx10.zones.zone import Node

APEX = from_text("example.com.")
KEY = from_text("laptop.example.com.")
ZONE: dict[bytes, Node] = {
    APEX: {rr.SOA: (1, (b"",)), rr.NS: (1, (b"",))},
    from_text("host", APEX): {rr.A: (1, (b"",)), rr.TXT: (1, (b"",))},
    from_text("sub", APEX): {rr.NS: (1, (b"",))},
}


def allowed(rules: list[str], owner: str, rrtype: int, client: str = "192.0.2.1", key: bytes | None = KEY) -> bool:
    klass = rr.CLASS_ANY if rrtype == rr.ANY else rr.IN
    records = [Record(from_text(owner, APEX).upper(), rrtype, klass, 0, b"")]
    made = [rule_from_text(each, APEX) for each in rules]
    return not refusal(made, records, APEX, Client(client, key), lambda name: ZONE.get(name, {}))


DECISIONS = [
    ("grant zonesub", "www", rr.A, True),
    ("grant zonesub", "www", rr.NS, False),
    ("grant zonesub", "www", rr.DNSKEY, False),
    ("grant zonesub NS A", "www", rr.NS, True),
    ("grant zonesub any", "www", rr.NS, True),
    ("grant zonesub A AAAA", "www", rr.TXT, False),
    ("grant subdomain dyn", "dyn", rr.A, True),
    ("grant subdomain dyn", "a.dyn", rr.A, True),
    ("grant subdomain dyn", "xdyn", rr.A, False),
    ("grant subdomain dyn.example.com", "a.dyn", rr.A, True),
    ("grant subdomain @", "www", rr.A, True),
    ("grant name www", "www", rr.A, True),
    ("grant name www", "a.www", rr.A, False),
    ("grant wildcard *.dyn", "a.dyn", rr.A, True),
    ("grant wildcard *.dyn", "dyn", rr.A, False),
    ("grant self", "laptop", rr.A, True),
    ("grant self", "a.laptop", rr.A, False),
    ("grant selfsub", "a.laptop", rr.A, True),
    ("grant selfsub", "xlaptop", rr.A, False),
    ("grant zonesub A", "host", rr.ANY, False),
    ("grant zonesub A TXT", "host", rr.ANY, True),
    ("grant zonesub", "sub", rr.ANY, False),
    ("grant zonesub A", "@", rr.ANY, True),
    ("grant zonesub A", "nothing", rr.ANY, True),
    ("deny zonesub", "www", rr.A, False),
]


@pytest.mark.parametrize(("rule", "owner", "rrtype", "wanted"), DECISIONS)
def test_what_a_rule_grants(rule: str, owner: str, rrtype: int, wanted: bool) -> None:
    assert allowed([f"key:laptop.example.com {rule}"], owner, rrtype) == wanted


def test_the_first_rule_that_fits_decides() -> None:
    rules = ["key:laptop.example.com deny name www TXT", "key:laptop.example.com grant zonesub"]
    assert not allowed(rules, "www", rr.TXT)
    assert allowed(rules, "www", rr.A)
    assert not allowed([], "www", rr.A)


def test_a_rule_is_for_whom_it_names() -> None:
    rule = ["192.0.2.0/24+key:laptop.example.com grant zonesub"]
    assert allowed(rule, "www", rr.A)
    assert not allowed(rule, "www", rr.A, client="198.51.100.1")
    assert not allowed(rule, "www", rr.A, key=None)
    assert not allowed(rule, "www", rr.A, key=from_text("other."))
    made = [rule_from_text(rule[0], APEX)]
    assert is_known(made, Client("192.0.2.1", KEY))
    assert not is_known(made, Client("192.0.2.1"))
    tls = [rule_from_text("key:laptop.example.com+tls grant zonesub", APEX)]
    assert is_known(tls, Client("192.0.2.1", KEY, tls=True))
    assert not is_known(tls, Client("192.0.2.1", KEY))
    assert not is_known([rule_from_text("key:laptop.example.com deny zonesub", APEX)], Client("192.0.2.1", KEY))


@pytest.mark.parametrize(
    "text",
    ["", "key:a grant", "key:a allow zonesub", "key:a grant everything", "key:a grant name", "x grant zonesub",
     "key:a grant subdomain example.net.", "key:a grant zonesub A5", "key:a grant zonesub OPT", "key: grant zonesub",
     "192.0.2.1 grant self", "192.0.2.1/8 grant zonesub", "key:a grant wildcard dyn", "key:a grant name a..b"],
)  # fmt: skip
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(PolicyError, match="no rule for updates"):
        rule_from_text(text, APEX)


@given(st.text(max_size=40), st.sampled_from(["", "key:a grant ", "key:a grant name "]))
def test_any_text_is_a_rule_or_an_error(text: str, before: str) -> None:
    try:
        rule_from_text(before + text, APEX)
    except PolicyError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("key:K.Example", Entry(None, from_text("k.example."))),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::/32+key:a", "2001:db8::/32 a."),
    ],
)
def test_entries_of_access_lists(text: str, entry: Entry | str) -> None:
    found = entry_from_text(text)
    if isinstance(entry, str):
        network, _, key = entry.partition(" ")
        assert (str(found.network), found.key) == (network, from_text(key) if key else None)
    else:
        assert found == entry


@pytest.mark.parametrize(
    "text", ["", "+key:a", "192.0.2.1key:a", "192.0.2.1+", "key:", "key:a..b", "host.example", "300.0.0.1"]
)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(AccessError, match="no entry"):
        entry_from_text(text)


def test_who_is_admitted() -> None:
    entries = [entry_from_text("192.0.2.0/24"), entry_from_text("2001:db8::/32"), entry_from_text("key:a")]
    assert admits(entries, "192.0.2.200", None)
    assert admits(entries, "::ffff:192.0.2.200", None)
    assert admits(entries, "2001:db8::5", None)
    assert admits(entries, "198.51.100.1", from_text("a."))
    assert not admits(entries, "198.51.100.1", from_text("b."))
    assert not admits(entries, "fe80::1%eth0", None)
    assert not admits([], "192.0.2.1", from_text("a."))
