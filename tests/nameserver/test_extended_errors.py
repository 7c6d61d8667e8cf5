"""Extended DNS errors (RFC 8914), and OPT records in refusals."""

from collections.abc import Callable

import pytest

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.responder import EDNS_EDE, EDNS_NSID
from tests.nameserver.asking import Asker

Serving = Callable[..., Asker]


def why(answer: m.Message) -> list[int]:
    options = answer.edns.options if answer.edns else ()
    return [int.from_bytes(value, "big") for code, value in options if code == EDNS_EDE]


@pytest.mark.parametrize(
    ("name", "rrtype", "rcode", "error"),
    [
        ("other.", "A", rr.Rcode.REFUSED, rr.Ede.NOT_AUTHORITATIVE),
        ("example.", "AXFR", rr.Rcode.REFUSED, rr.Ede.PROHIBITED),
        ("example.", "MAILB", rr.Rcode.NOTIMP, rr.Ede.NOT_SUPPORTED),
    ],
)
def test_rfc8914_a_refusal_says_why(serving: Serving, name: str, rrtype: str, rcode: int, error: int) -> None:
    answer = serving({"example": ""})(name, rrtype)
    assert (answer.rcode, why(answer)) == (rcode, [error])


def test_rfc8914_2_without_edns_it_does_not(serving: Serving) -> None:
    answer = serving({"example": ""})("other.", edns=False)
    assert (answer.rcode, answer.edns) == (rr.Rcode.REFUSED, None)


def test_an_answer_has_none(serving: Serving) -> None:
    ask = serving({"example": ""}, nsid="here")
    assert why(ask("example.", "SOA")) == []
    refused = ask("other.", options=((EDNS_NSID, b""),))
    assert refused.edns is not None
    assert refused.edns.options == ((EDNS_NSID, b"here"), (EDNS_EDE, b"\0\x14"))


def test_rfc6891_6_1_1_early_refusals_have_an_opt_record_too(serving: Serving) -> None:
    ask = serving({"example": ""})
    plain = m.make_query(from_text("example."), rr.SOA, id=7, edns=False)
    dressed = m.make_query(from_text("example."), rr.SOA, id=7)
    opt = dressed[len(plain) :]
    status = bytes((rr.Opcode.STATUS << 3,))
    no_records_but_opt = b"\0\0\0\0\0\1"
    for packet, rcode in (
        (dressed[:2] + status + dressed[3:], rr.Rcode.NOTIMP),
        (dressed[:4] + b"\0\2" + no_records_but_opt + plain[12:] * 2 + opt, rr.Rcode.FORMERR),
        (dressed[:4] + b"\0\0" + no_records_but_opt + opt, rr.Rcode.FORMERR),
    ):
        response = m.parse(ask.responder.udp(packet) or b"")
        assert response.rcode == rcode
        assert response.edns is not None
        assert why(response) == ([rr.Ede.NOT_SUPPORTED] if rcode == rr.Rcode.NOTIMP else [])
        # Cut off anywhere, there is still an answer, and never a fault.
        for end in range(12, len(packet)):
            cut = m.parse(ask.responder.udp(packet[:end]) or b"")
            assert cut.rcode == rcode
            assert cut.edns is None


def test_rfc8482_any_of_more_than_a_message_holds_is_one_set_over_tcp_too(serving: Serving) -> None:
    many = "\n".join(f"big TYPE{number} \\# 30000 {'ab' * 30000}" for number in (65280, 65281, 65282))
    ask = serving({"example": f"big A 192.0.2.1\n{many}"})
    assert [record.type for record in ask("big.example.", "ANY", tcp=True).answer] == [rr.A]
