"""The rules: each is broken here once, and kept beside it; what BIND says about the same is noted where we differ."""

import pytest

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.zones.problems import KINDS
from tests.zones.reading import HEAD, added, brief, load, told, zone_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Aliases
        ("x CNAME y\nx A 192.0.2.7", ["1:3 cname-not-alone"]),
        ("x CNAME y\nx RRSIG \\# 20 0005080200000e10000000000000000000000000", []),
        ("x CNAME y\nx CNAME z", ["2:9 several-cname"]),
        ("x CNAME y\nX CNAME Y", ["2:9 duplicate-record"]),
        ("x DNAME y.\nx DNAME z.", ["2:9 several-dname"]),
        ("x DNAME y.\na.b.x A 192.0.2.7", ["2:1 below-dname"]),
        ("x DNAME y.\nx A 192.0.2.7", []),
        ("x DNAME y.\nx NS ns1", ["1:3 dname-at-delegation"]),
        ("@ DNAME y.", ["0:1 below-dname"]),
        ("*.x DNAME y.", ["1:1 dname-wildcard"]),
        # Proofs of absence
        ("@ NSEC3PARAM 1 0 101 -", ["1:14 hash-too-slow"]),
        ("@ NSEC3PARAM 1 0 100 ab", ["1:14 hash-iterated"]),
        ("@ NSEC3PARAM 1 0 0 -", []),
        # Targets
        ("@ MX 10 192.0.2.7", ["1:9 target-is-address"]),
        ("@ MX 10 192.0.2.7.", ["1:9 target-is-address"]),
        ("x NS 192.0.2.7", ["1:6 target-is-address"]),
        ("_s._tcp SRV 1 1 1 192.0.2.7.", ["1:19 target-is-address"]),
        ("@ MX 10 192.0.2.256.", []),
        ("@ MX 10 1.192.0.2.7.", []),
        ("@ MX 10 x\nx CNAME ns1", ["1:9 mx-to-alias"]),
        ("s SRV 0 0 1 x\nx CNAME ns1", ["1:13 mx-to-alias"]),
        ("@ NS x\nx CNAME ns1", ["1:6 ns-to-alias"]),
        ("d NS x\nx CNAME ns1", ["1:6 delegation-to-alias"]),
        ("@ MX 10 a.w\n*.w CNAME ns1", ["1:9 mx-to-alias"]),
        ("@ MX 10 x", ["1:9 target-without-address"]),
        ("@ MX 10 x\nx TXT a", ["1:9 target-without-address"]),
        ("@ MX 10 x\nx AAAA ::1", []),
        ("@ MX 10 a.w\n*.w A 192.0.2.7", []),
        ("@ MX 10 a.d\nd NS ns1", []),
        ("@ MX 10 a.d\nd DNAME y.", []),
        ("s SRV 0 0 0 .", []),
        ("@ NS x", ["1:6 target-without-address"]),
        ("@ MX 10 a_b.example.net.", ["1:9 not-a-hostname"]),
        ("@ MX 10 -a.example.net.", ["1:9 not-a-hostname"]),
        ("@ NS a\\.b.example.net.", ["1:6 not-a-hostname"]),
        ("_s._tcp SRV 0 0 25 _x.example.net.", []),
        # Delegations
        ("d NS ns.d", ["1:6 no-glue"]),
        ("d NS ns.d\nns.d A 192.0.2.7", []),
        ("d NS d\nd A 192.0.2.7", []),
        ("d NS ns.d\nns.d A 192.0.2.7\nns.d MX 10 y.", ["3:1 below-delegation"]),
        ("d NS ns1\nd MX 10 y.", ["2:1 below-delegation"]),
        ("d NS ns1\nd DS 1 8 2 " + "ab" * 32, []),
        ("x DS 1 8 2 " + "ab" * 32, ["1:3 ds-without-ns"]),
        ("@ DS 1 8 2 " + "ab" * 32, ["1:3 ds-at-apex"]),
        ("*.d NS ns1", ["1:1 wildcard-ns"]),
        # Mail
        ("x MX 0 .", []),
        ("x MX 5 .", ["1:6 null-mx-preference"]),
        ("x MX 0 .\nx MX 10 ns1", ["1:8 null-mx-not-alone"]),
        # Record sets
        ("x 5 A 192.0.2.7\nx 7 A 192.0.2.8", ["2:3 ttl-differs"]),
        ("x A 192.0.2.7\nx A 192.0.2.7", ["2:5 duplicate-record"]),
        ("@ MX 10 NS1\n@ MX 10 ns1", ["2:6 duplicate-record"]),
        ("x TXT a\nx TXT A", []),
        ("x.example.net. A 192.0.2.7", ["1:1 out-of-zone"]),
        ("xexample.com. A 192.0.2.7", ["1:1 out-of-zone"]),
        ("com. A 192.0.2.7", ["1:1 out-of-zone"]),
        ("x SOA a b 1 2 3 4 5", ["1:1 soa-below-apex"]),
        ("@ SOA a b 1 2 3 4 5", ["1:1 several-soa"]),
        ("@ SOA ns1 hostmaster 1 2h 30m 2w 1h", []),
        ("\n".join(f'x TXT "{number}{"x" * 240}"' for number in range(300)), ["1:1 rrset-too-big"]),
    ],
)  # fmt: skip
def test_what_a_text_breaks(text: str, expected: list[str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["-5:0 no-soa"]),
        ("@ 5 NS a.\n@ 5 NS b.", ["-5:0 no-soa"]),
        ("@ 5 SOA a. b. 1 2h 30m 2w 1h", ["-4:1 no-ns"]),
        ("@ 5 SOA a. b. 1 2h 30m 2w 1h\n@ 5 NS a.", ["-3:8 single-ns"]),
        ("@ 5 SOA a. b. 1 2h 3h 2w 1h\n@ 5 NS a.\n@ 5 NS b.", ["-4:9 soa-times"]),
        ("@ 5 SOA a. b. 1 2h 1h 2h 1h\n@ 5 NS a.\n@ 5 NS b.", ["-4:9 soa-times"]),
        ("@ 5 SOA a. b. 1 2h 1h 2w 2d\n@ 5 NS a.\n@ 5 NS b.", ["-4:9 soa-times"]),
        ("@ 5 SOA a. x\\@b. 1 2h 1h 2w 1d\n@ 5 NS a.\n@ 5 NS b.", ["-4:9 soa-mailbox"]),
    ],
)
def test_the_apex(text: str, expected: list[str]) -> None:
    assert [brief(problem) for problem in load(text).problems] == expected


def test_an_error_gives_no_zone_and_a_warning_does() -> None:
    assert load(HEAD + "x CNAME y\nx A 192.0.2.7").zone is None
    assert load(HEAD + "@ MX 10 x").zone is not None


def test_the_lowest_ttl_is_used_for_the_set() -> None:
    """RFC 2181 section 5.2; BIND takes the first."""
    assert added("x 7 A 192.0.2.7\nx 5 A 192.0.2.8\nx 9 A 192.0.2.9") == [
        "x.example.com. 5 A 192.0.2.7",
        "x.example.com. 5 A 192.0.2.8",
        "x.example.com. 5 A 192.0.2.9",
    ]


def test_what_is_outside_the_zone_is_left_out_as_in_bind() -> None:
    assert added("x.example.net. A 192.0.2.7") == []


def test_equal_records_are_one_and_the_order_of_the_file_stays() -> None:
    node = zone_of("x A 192.0.2.9\nx A 192.0.2.7\nx A 192.0.2.9").nodes[wirename.from_text("x.example.com.")]
    assert node[rr.A] == (3600, (b"\xc0\0\2\x09", b"\xc0\0\2\x07"))


def test_one_error_is_enough_where_only_one_is_told() -> None:
    settings = ZoneSettings(max_problems=1)
    for text in ("", HEAD + "x CNAME y\nx A 192.0.2.7\nx CNAME z\n", HEAD + "x A 1\ny A 2\n"):
        loaded = load(text, settings)
        assert loaded.zone is None
        assert [problem.code for problem in loaded.problems][1:] == ["too-many-problems"]


def test_what_is_tolerated_is_a_warning() -> None:
    loaded = load(HEAD + "@ MX 10 192.0.2.7\n", ZoneSettings(tolerate=("target-is-address",)))
    assert loaded.zone is not None
    assert [(problem.severity, problem.code) for problem in loaded.problems] == [("warning", "target-is-address")]


def test_names_of_numbers_are_in_order_in_reverse_zones() -> None:
    origin = wirename.from_text("in-addr.arpa.")
    text = "$TTL 1h\n@ SOA ns. h. 1 2h 1h 2w 1h\n@ NS a.\n@ NS 1.2.3.4\n1.2.3.4 A 192.0.2.1\n"
    assert not load(text, origin=origin).problems


def test_warnings_are_told_up_to_the_limit_and_never_hide_errors() -> None:
    many = "".join(f"@ MX 10 x{number}\n" for number in range(50)) + "x CNAME y\nx A 192.0.2.7\n"
    found = load(HEAD + many, ZoneSettings(max_problems=5)).problems
    assert [problem.code for problem in found] == ["cname-not-alone"] + ["target-without-address"] * 5 + [
        "more-warnings"
    ]
    assert "45 more" in found[-1].what


def test_a_zone_without_fault_has_no_problem() -> None:
    assert told('@ MX 10 mail\nmail A 192.0.2.7\nmail AAAA 2001:db8::7\n@ TXT "v=spf1 mx -all"\nwww CNAME @\n') == []


def test_every_kind_has_a_mend() -> None:
    assert all(kind.mend and kind.severity in ("error", "warning") for kind in KINDS.values())
