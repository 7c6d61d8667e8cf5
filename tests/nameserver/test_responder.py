"""Packets in, packets out: EDNS, truncation, flags, and what unusual requests get."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.answers import Reply
from mx10.nameserver.compiled import Compiled, compile_reply
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.zones.zone import Zone
from tests.nameserver.asking import Asker, packed_zone, words

Serving = Callable[..., Asker]
MANY_TXT = "\n".join(f'big TXT "{i:03d} {"x" * 90}"' for i in range(30))


def test_0x20_the_case_of_the_question_comes_back(serving: Serving) -> None:
    ask = serving({"example": "www A 192.0.2.1"})
    answer = ask("wWw.eXaMpLe.")
    assert answer.question == m.Question(from_text("wWw.eXaMpLe."), rr.A)
    assert words(answer.answer) == ["wWw.eXaMpLe. A 192.0.2.1"]


def test_rfc6891_edns_is_answered_with_edns_and_nothing_else(serving: Serving) -> None:
    ask = serving({"example": ""})
    assert ask("example.", "SOA").edns == m.Edns(1232)
    assert ask("example.", "SOA", edns=False).edns is None
    assert ask("example.", "SOA", do=True).edns == m.Edns(1232, do=True)
    # Unknown options are ignored (section 6.1.2).
    assert ask("example.", "SOA", options=((65001, b"x"),)).edns == m.Edns(1232)


def test_rfc6891_6_1_3_badvers(serving: Serving) -> None:
    ask = serving({"example": ""})
    packet = bytearray(m.make_query(from_text("example."), rr.SOA, id=1))
    packet[-5] = 7
    response = m.parse(ask.responder.udp(bytes(packet)) or b"")
    assert response.rcode == rr.Rcode.BADVERS
    assert response.edns == m.Edns(1232, version=0)


def test_rfc2181_9_what_does_not_fit_is_truncated(serving: Serving) -> None:
    ask = serving({"example": MANY_TXT})
    for query in ({"edns": False}, {"payload": 512}, {"payload": 1232}, {"payload": 65535}):
        answer = ask("big.example.", "TXT", **query)
        assert answer.tc
        assert not answer.answer
    whole = ask("big.example.", "TXT", tcp=True)
    assert not whole.tc
    assert len(whole.answer) == 30


def test_responses_are_never_larger_than_asked_for(serving: Serving) -> None:
    ask = serving({"example": MANY_TXT + "\n@ MX 10 big\n" + "\n".join(f"big A 192.0.2.{i}" for i in range(90))})
    for payload in (0, 512, 600, 900, 1231, 1232, 4096):
        for name, rrtype in (("big.example.", "TXT"), ("example.", "MX"), ("big.example.", "A")):
            packet = m.make_query(from_text(name), rr.type_from_text(rrtype), id=1, payload=payload)
            response = ask.responder.udp(packet)
            assert response is not None
            assert len(response) <= min(max(payload, 512), 1232)


def test_additional_records_are_left_out_for_want_of_room_without_tc(serving: Serving) -> None:
    hosts = "\n".join(f"@ MX 10 mx{i}\nmx{i} A 192.0.2.{i}\nmx{i} AAAA 2001:db8::{i}" for i in range(12))
    answer = serving({"example": hosts})("example.", "MX", edns=False)
    assert not answer.tc
    assert len(answer.answer) == 12
    assert 0 < len(answer.additional) < 24


def test_rfc9471_glue_that_does_not_fit_is_truncation(serving: Serving) -> None:
    glue = "\n".join(f"sub NS ns{i}.sub\nns{i}.sub A 192.0.2.{i}\nns{i}.sub AAAA 2001:db8::{i}" for i in range(12))
    ask = serving({"example": glue})
    assert ask("www.sub.example.", edns=False).tc
    assert not ask("www.sub.example.", payload=1232).tc


def test_rd_and_cd_are_copied_and_the_rest_is_not(serving: Serving) -> None:
    ask = serving({"example": ""})
    answer = ask("example.", "SOA", rd=True, ad=True, cd=True)
    assert (answer.rd, answer.cd, answer.ad, answer.ra, answer.tc) == (True, True, False, False, False)
    # RFC 8906 section 3.1.2.1: the last reserved bit is not copied.
    packet = bytearray(m.make_query(from_text("example."), rr.SOA, id=1, rd=False))
    packet[3] |= 0x40
    assert m.parse(ask.responder.udp(bytes(packet)) or b"").flags == m.QR | m.AA


def test_rfc8906_unknown_opcodes_types_and_classes(serving: Serving) -> None:
    ask = serving({"example": ""})
    plain = m.make_query(from_text("example."), rr.SOA, id=1, edns=False)
    for opcode in (1, 2, 4, 5, 15):
        response = m.parse(ask.responder.udp(plain[:2] + bytes((opcode << 3, 0)) + plain[4:]) or b"")
        assert (response.rcode, response.opcode) == (rr.Rcode.NOTIMP, opcode)
    assert (ask("example.", "TYPE1000").rcode, ask("example.", "TYPE1000").aa) == (rr.Rcode.NOERROR, True)
    assert ask("example.", "SOA", klass=rr.HS).rcode == rr.Rcode.REFUSED
    for rrtype, rcode in (
        ("AXFR", rr.Rcode.REFUSED),
        ("IXFR", rr.Rcode.REFUSED),
        ("MAILB", rr.Rcode.NOTIMP),
        ("OPT", rr.Rcode.FORMERR),
    ):
        assert ask("example.", rrtype).rcode == rcode


def test_types_whose_numbers_look_like_letters_are_not_mixed_up(serving: Serving) -> None:
    # 65 (HTTPS) and 97 are "A" and "a": folding a question must leave its type alone.
    ask = serving({"example": "www HTTPS 1 .\nold TYPE97 \\# 1 00"})
    for name in ("WWW.example.", "old.example.", "OLD.example."):
        for rrtype in ("TYPE97", "HTTPS", "TYPE97"):
            answer = ask(name, rrtype)
            expected = {"old": 97, "www": 65}[name[:3].lower()]
            assert [record.type for record in answer.answer] == [expected] * (rr.type_from_text(rrtype) == expected)


def test_nsid_and_version_are_off_unless_configured(serving: Serving) -> None:
    silent = serving({"example": ""})
    assert silent("example.", "SOA", options=((3, b""),)).edns == m.Edns(1232)
    assert silent("version.bind.", "TXT", klass=rr.CH).rcode == rr.Rcode.REFUSED
    telling = serving({"example": ""}, nsid="node7", version="mx10")
    assert telling("example.", "SOA", options=((3, b""),)).edns == m.Edns(1232, options=((3, b"node7"),))
    assert words(telling("version.bind.", "TXT", klass=rr.CH).answer) == ['version.bind. TXT "mx10"']
    assert words(telling("ID.Server.", "TXT", klass=rr.CH).answer) == ['ID.Server. TXT "node7"']


def test_a_change_drops_the_answers_of_that_zone_and_no_other(tmp_path: Path, serving: Serving) -> None:
    ask = serving({"example": "www A 192.0.2.1\nout CNAME www.test.", "test": "www A 192.0.2.2"})
    responder = ask.responder
    for name in ("www.example.", "www.test.", "out.example."):
        ask(name)
    kept = len(responder.cache)
    responder.put_zone(*packed_zone(tmp_path / "new", "test", "www A 192.0.2.3"))
    assert 0 < len(responder.cache) < kept
    assert words(ask("www.test.").answer) == ["www.test. A 192.0.2.3"]
    assert words(ask("out.example.").answer)[-1] == "www.test. A 192.0.2.3"
    responder.remove_zone(from_text("test."))
    assert ask("www.test.").rcode == rr.Rcode.REFUSED
    assert words(ask("out.example.").answer) == ["out.example. CNAME www.test."]
    # It comes back: the chain that left our zones must notice.
    responder.put_zone(*packed_zone(tmp_path / "again", "test", "www A 192.0.2.4"))
    assert words(ask("out.example.").answer)[-1] == "www.test. A 192.0.2.4"


def test_a_new_zone_below_another_takes_over_its_names(tmp_path: Path, serving: Serving) -> None:
    ask = serving({"example": "www.sub A 192.0.2.1\nmore A 192.0.2.2"})
    assert ask("www.sub.example.").answer
    ask.responder.put_zone(*packed_zone(tmp_path / "new", "sub.example", "other A 192.0.2.9"))
    assert ask("www.sub.example.").rcode == rr.Rcode.NXDOMAIN
    assert words(ask("other.sub.example.").answer) == ["other.sub.example. A 192.0.2.9"]


def test_a_ds_set_behind_an_alias_is_that_of_the_upper_zone_once_it_is_there(tmp_path: Path, serving: Serving) -> None:
    ask = serving({"test": "alias CNAME sub.example.", "sub.example": ""})
    assert len(ask("alias.test.", "DS").answer) == 1
    upper = "sub NS ns1.sub\nns1.sub A 192.0.2.1\nsub DS 12345 13 2 " + "ab" * 32
    ask.responder.put_zone(*packed_zone(tmp_path / "new", "example", upper))
    assert [record.type for record in ask("alias.test.", "DS").answer] == [rr.CNAME, rr.DS]


def test_random_names_cannot_grow_the_tables_past_their_limit(tmp_path: Path) -> None:
    zones = dict([packed_zone(tmp_path / "z", "example", "* A 192.0.2.1\nwww MX 10 mx\nmx A 192.0.2.3")])
    responder = Responder(ZoneTable(zones), NameserverSettings(answer_cache_mb=1))
    hot = m.make_query(from_text("www.example."), rr.MX, id=1)
    largest = 0
    for i in range(8_000):
        responder.udp(m.make_query(from_text(f"r{i}.example."), rr.A, id=i))
        if i % 100 == 0:
            responder.udp(hot)
        largest = max(largest, responder.cache.size)
    assert largest <= 1 << 20
    # What is asked for again stays.
    assert hot[2:] in responder.cache.exact


@pytest.mark.parametrize("zones", [1, 1500])
@pytest.mark.parametrize("odd", [False, True])
def test_the_tables_take_no_more_memory_than_they_count(tmp_path: Path, zones: int, odd: bool) -> None:
    _, packed = packed_zone(tmp_path / "z", "example", "")
    node = Zone.unpack(packed).nodes[from_text("example.")]
    apexes = [from_text(f"z{i}.") for i in range(zones)]
    table = ZoneTable({apex: Zone(apex, {apex: node}).pack() for apex in apexes})
    responder = Responder(table, NameserverSettings())
    for apex in apexes:
        # Opened before the measuring: they are another account.
        table.open(apex)
    questions = [m.make_query(from_text(f"r{i}.z{i % zones}."), rr.A, id=1, cd=odd, edns=odd) for i in range(6_000)]
    tracemalloc.start()
    try:
        for question in questions:
            responder.udp(question)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * responder.cache.size < taken < 1.05 * responder.cache.size


def test_a_large_answer_is_compiled_once_whatever_form_asks(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = serving({"example": "\n".join(f"big A 192.0.{i // 250}.{i % 250}" for i in range(3000))})
    made = []

    def compile_and_count(reply: Reply, question: bytes) -> Compiled:
        made.append(question)
        return compile_reply(reply, question)

    monkeypatch.setattr("mx10.nameserver.responder.compile_reply", compile_and_count)
    for payload in range(600, 700):
        assert ask("big.example.", payload=payload).tc
    assert len(made) == 1


def test_what_a_generation_forgets_is_found_in_the_one_before(tmp_path: Path) -> None:
    zones = dict(
        [
            packed_zone(tmp_path / "z", "example", "www A 192.0.2.1\nout CNAME www.test."),
            packed_zone(tmp_path / "z", "test", "www A 192.0.2.2"),
        ]
    )
    responder = Responder(ZoneTable(zones), NameserverSettings(answer_cache_mb=1))
    kept = [m.make_query(from_text(name), rr.A, id=1) for name in ("www.example.", "out.example.")]
    before = [responder.udp(packet) for packet in kept]
    i = 0
    while kept[0][2:] in responder.cache.exact:
        responder.udp(m.make_query(from_text(f"r{i}.example."), rr.A, id=1))
        i += 1
    assert [responder.udp(packet) for packet in kept] == before
    assert all(packet[2:] in responder.cache.exact for packet in kept)
    # Young again, they still end with the zones they were made from.
    responder.put_zone(*packed_zone(tmp_path / "new", "test", "www A 192.0.2.3"))
    assert kept[0][2:] in responder.cache.exact
    assert kept[1][2:] not in responder.cache.exact
    responder.put_zone(*packed_zone(tmp_path / "new", "example", ""))
    assert kept[0][2:] not in responder.cache.exact


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_no_packet_raises_and_every_response_parses(serving: Serving, packet: bytes, plausible: bool) -> None:
    ask = serving({"example": "www A 192.0.2.1"})
    if plausible:
        packet = m.make_query(from_text("www.example."), rr.A, id=1)[:-11] + packet
    for response in (ask.responder.udp(packet), ask.responder.tcp(packet)):
        if response is not None:
            assert m.parse(response).qr
