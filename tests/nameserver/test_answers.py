"""What a nameserver says about its zones, each rule with the RFC it comes from."""

from collections.abc import Callable

from mx10.dns import rrtypes as rr
from tests.nameserver.asking import Asker, words

Serving = Callable[..., Asker]
SOA = "example. SOA ns1.example. hostmaster.example. 1 7200 3600 1209600 300"


def test_rfc1035_3_3_9_an_mx_answer_brings_the_addresses_of_its_exchangers(serving: Serving) -> None:
    ask = serving(
        {
            "example": "@ MX 0 mx1\n@ MX 10 mx2\n@ MX 20 mx.elsewhere.\n"
            "mx1 A 192.0.2.1\nmx1 AAAA 2001:db8::1\nmx2 A 192.0.2.2"
        }
    )
    answer = ask("example.", "MX")
    assert (answer.rcode, answer.aa, answer.ra) == (rr.Rcode.NOERROR, True, False)
    assert words(answer.answer) == [
        "example. MX 0 mx1.example.",
        "example. MX 10 mx2.example.",
        "example. MX 20 mx.elsewhere.",
    ]
    assert words(answer.additional) == [
        "mx1.example. A 192.0.2.1",
        "mx1.example. AAAA 2001:db8::1",
        "mx2.example. A 192.0.2.2",
    ]
    assert answer.authority == ()


def test_rfc2782_and_rfc1035_srv_and_ns_bring_addresses_too(serving: Serving) -> None:
    ask = serving({"example": "_smtp._tcp SRV 0 0 25 mx1\nmx1 A 192.0.2.1"})
    assert words(ask("_smtp._tcp.example.", "SRV").additional) == ["mx1.example. A 192.0.2.1"]
    assert words(ask("example.", "NS").additional) == ["ns1.example. A 192.0.2.53", "ns2.example. A 192.0.2.54"]


def test_rfc2308_3_no_such_name_and_no_such_data(serving: Serving) -> None:
    ask = serving({"example": "www A 192.0.2.1"})
    name, data = ask("nope.example."), ask("www.example.", "MX")
    assert (name.rcode, data.rcode) == (rr.Rcode.NXDOMAIN, rr.Rcode.NOERROR)
    for answer in (name, data):
        assert answer.aa
        assert not answer.answer
        assert words(answer.authority) == [SOA]
        # The lesser of the SOA's own TTL (3600) and its last field (300).
        assert answer.authority[0].ttl == 300


def test_rfc8020_and_rfc4592_2_2_2_an_empty_non_terminal_exists(serving: Serving) -> None:
    ask = serving({"example": "a.b.c A 192.0.2.1"})
    for name in ("b.c.example.", "c.example."):
        assert ask(name).rcode == rr.Rcode.NOERROR
    assert ask("x.c.example.").rcode == rr.Rcode.NXDOMAIN


def test_outside_its_zones_a_server_refuses(serving: Serving) -> None:
    answer = serving({"example": ""})("other.", "MX")
    assert (answer.rcode, answer.aa) == (rr.Rcode.REFUSED, False)
    assert answer.authority == ()


def test_rfc1034_3_6_2_cname_chains_are_followed_within_our_zones(serving: Serving) -> None:
    ask = serving({"example": "a CNAME b\nb CNAME host.test.\nout CNAME www.elsewhere.", "test": "host A 192.0.2.1"})
    answer = ask("a.example.")
    assert words(answer.answer) == [
        "a.example. CNAME b.example.",
        "b.example. CNAME host.test.",
        "host.test. A 192.0.2.1",
    ]
    assert words(ask("out.example.").answer) == ["out.example. CNAME www.elsewhere."]
    assert ask("out.example.").rcode == rr.Rcode.NOERROR
    assert words(ask("a.example.", "CNAME").answer) == ["a.example. CNAME b.example."]


def test_rfc6840_4_3_an_alias_is_followed_for_types_that_are_not_beside_it(serving: Serving) -> None:
    ask = serving({"example": "a CNAME nope\nb CNAME nope\nb RRSIG \\# 20 0005080200000e10000000000000000000000000"})
    for rrtype in ("RRSIG", "NSEC", "KEY"):
        answer = ask("a.example.", rrtype)
        assert (words(answer.answer), answer.rcode) == (["a.example. CNAME nope.example."], rr.Rcode.NXDOMAIN)
    assert [record.type for record in ask("b.example.", "RRSIG").answer] == [rr.RRSIG]


def test_rfc6604_the_rcode_speaks_of_the_end_of_the_chain(serving: Serving) -> None:
    ask = serving({"example": "a CNAME nope"})
    answer = ask("a.example.", "MX")
    assert answer.rcode == rr.Rcode.NXDOMAIN
    assert words(answer.answer) == ["a.example. CNAME nope.example."]
    assert words(answer.authority) == [SOA]


def test_a_cname_loop_and_an_endless_chain_end(serving: Serving) -> None:
    chain = "\n".join(f"c{i} CNAME c{i + 1}" for i in range(40))
    ask = serving({"example": f"a CNAME b\nb CNAME a\n{chain}"})
    assert len(ask("a.example.").answer) == 2
    assert len(ask("c0.example.").answer) == 16


def test_rfc6672_dname(serving: Serving) -> None:
    ask = serving({"example": "old DNAME new\nold A 192.0.2.7\nwww.new A 192.0.2.1"})
    answer = ask("www.old.example.")
    assert words(answer.answer) == [
        "old.example. DNAME new.example.",
        "www.old.example. CNAME www.new.example.",
        "www.new.example. A 192.0.2.1",
    ]
    assert answer.answer[1].ttl == answer.answer[0].ttl
    # The owner itself is not redirected (section 2.3).
    assert words(ask("old.example.").answer) == ["old.example. A 192.0.2.7"]
    assert words(ask("www.old.example.", "CNAME").answer)[1:] == ["www.old.example. CNAME www.new.example."]


def test_rfc2181_5_a_dname_stands_in_the_answer_once(serving: Serving) -> None:
    ask = serving({"example": "old DNAME new\na.new CNAME b.old\nb.new A 192.0.2.1"})
    assert words(ask("a.old.example.").answer) == [
        "old.example. DNAME new.example.",
        "a.old.example. CNAME a.new.example.",
        "a.new.example. CNAME b.old.example.",
        "b.old.example. CNAME b.new.example.",
        "b.new.example. A 192.0.2.1",
    ]


def test_rfc6672_2_2_a_name_that_becomes_too_long_is_yxdomain(serving: Serving) -> None:
    long = ".".join(["a" * 60] * 3)
    ask = serving({"example": f"x DNAME {long}"})
    answer = ask(f"{'b' * 60}.{'c' * 10}.x.example.")
    assert answer.rcode == rr.Rcode.YXDOMAIN
    assert len(answer.answer) == 1


def test_rfc4592_wildcards(serving: Serving) -> None:
    ask = serving(
        {"example": "* MX 10 mx\nmx A 192.0.2.1\n*.sub TXT x\nhost.deep A 192.0.2.9\nalias.w A 192.0.2.3\n*.w CNAME mx"}
    )
    answer = ask("anything.at.all.example.", "MX")
    assert words(answer.answer) == ["anything.at.all.example. MX 10 mx.example."]
    assert words(answer.additional) == ["mx.example. A 192.0.2.1"]
    # An existing name, even an empty one, is not covered (section 2.2.1, and 4.5 for the closest encloser).
    assert ask("mx.example.", "MX").rcode == rr.Rcode.NOERROR
    assert not ask("mx.example.", "MX").answer
    assert not ask("deep.example.", "MX").answer
    assert ask("x.deep.example.", "MX").rcode == rr.Rcode.NXDOMAIN
    # The type may be missing at the wildcard.
    assert (ask("a.sub.example.", "MX").rcode, ask("a.sub.example.", "MX").answer) == (rr.Rcode.NOERROR, ())
    # A wildcard asked for by its own name is an ordinary name (section 2.1.1).
    assert words(ask("*.example.", "MX").answer) == ["*.example. MX 10 mx.example."]
    assert words(ask("q.w.example.").answer) == ["q.w.example. CNAME mx.example.", "mx.example. A 192.0.2.1"]


def test_rfc1034_4_2_1_a_delegation_is_a_referral_with_glue(serving: Serving) -> None:
    ask = serving(
        {"example": "sub NS ns.sub\nsub NS ns1\nsub NS ns.other.\nns.sub A 192.0.2.9\nns.sub AAAA 2001:db8::9"}
    )
    for name in ("sub.example.", "deep.host.sub.example.", "ns.sub.example."):
        answer = ask(name)
        assert (answer.rcode, answer.aa, answer.answer) == (rr.Rcode.NOERROR, False, ())
        assert words(answer.authority) == [
            "sub.example. NS ns.sub.example.",
            "sub.example. NS ns1.example.",
            "sub.example. NS ns.other.",
        ]
        assert words(answer.additional) == [
            "ns.sub.example. A 192.0.2.9",
            "ns.sub.example. AAAA 2001:db8::9",
            "ns1.example. A 192.0.2.53",
        ]


def test_rfc4035_3_1_4_1_ds_is_answered_above_the_cut(serving: Serving) -> None:
    ds = "12345 13 2 " + "ab" * 32
    both = serving({"example": f"sub NS ns1.sub\nsub DS {ds}\nns1.sub A 192.0.2.1", "sub.example": ""})
    assert (
        words(both("sub.example.", "DS").answer) == [f"sub.example. DS {ds}"]
        or "DS" in words(both("sub.example.", "DS").answer)[0]
    )
    assert both("sub.example.", "DS").aa
    # A referral carries the DS to those who set the DO bit (RFC 4035 section 3.1.4), and only out of a signed zone.
    upper = serving({"example": f"sub NS ns1.sub\nsub DS {ds}\nns1.sub A 192.0.2.1"})
    assert [record.type for record in upper("x.sub.example.", do=True).authority] == [rr.NS]
    key = "@ DNSKEY 257 3 13 " + "A" * 88
    key += "\n@ NSEC @ SOA\n@ RRSIG SOA 13 1 300 20300101000000 20200101000000 1 example. AAAA"
    signed = serving({"example": f"{key}\nsub NS ns1.sub\nsub DS {ds}\nns1.sub A 192.0.2.1"})
    assert [record.type for record in signed("x.sub.example.", do=True).authority] == [rr.NS, rr.DS]
    assert [record.type for record in upper("x.sub.example.").authority] == [rr.NS]
    # With the lower side alone: no data, from its apex.
    lower = serving({"sub.example": ""})
    assert (lower("sub.example.", "DS").rcode, lower("sub.example.", "DS").aa) == (rr.Rcode.NOERROR, True)


def test_the_child_zone_answers_when_both_are_ours(serving: Serving) -> None:
    ask = serving({"example": "sub NS ns1\n", "sub.example": "www A 192.0.2.5"})
    answer = ask("www.sub.example.")
    assert answer.aa
    assert words(answer.answer) == ["www.sub.example. A 192.0.2.5"]


def test_rfc8482_any_gives_one_set_over_udp_and_all_over_tcp(serving: Serving) -> None:
    ask = serving({"example": "@ MX 10 mx\n@ TXT x\nmx A 192.0.2.1"})
    assert words(ask("example.", "ANY").answer) == ["example. MX 10 mx.example."]
    assert {record.type for record in ask("example.", "ANY", tcp=True).answer} == {rr.SOA, rr.NS, rr.MX, rr.TXT}


def test_rfc3597_unknown_types_are_served_as_they_are(serving: Serving) -> None:
    ask = serving({"example": r"x TYPE65280 \# 3 abcdef"})
    assert ask("x.example.", "TYPE65280").answer[0].rdata == b"\xab\xcd\xef"


def test_the_root_can_be_served(serving: Serving) -> None:
    ask = serving({"": "com NS ns.com\nns.com A 192.0.2.1"})
    assert words(ask("example.com.", "MX").authority) == ["com. NS ns.com."]
    assert ask("nope.", "MX").rcode == rr.Rcode.NXDOMAIN
