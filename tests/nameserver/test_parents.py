"""What the parent's nameservers have: each is asked, and all must have said something."""

from collections.abc import Mapping

import pytest

from mx10.config import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, Message, Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import ROOT, from_text
from mx10.nameserver.parents import MOST_RECORDS, Parents
from mx10.resolver import Answer, Status
from mx10.resolver.asking import TransportError

APEX = from_text("example.org.")
ORG = from_text("org.")
ONE, TWO = b"\x12\x34\x0d\x02" + bytes(32), b"\x43\x21\x0d\x02" + bytes(32)


def records(name: bytes, rrtype: int, *datas: bytes, ttl: int = 3600) -> tuple[Record, ...]:
    return tuple(Record(name, rrtype, rr.IN, ttl, data) for data in datas)


class Known:
    """A resolver that knows some names."""

    def __init__(self, known: Mapping[tuple[str, int], tuple[bytes, ...]], failing: bool = False) -> None:
        self._known = {(from_text(name), rrtype): datas for (name, rrtype), datas in known.items()}
        self._failing = failing

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        if self._failing:
            return Answer(name, rrtype, Status.FAILURE, reason="no answer from 192.0.2.53 in 3 s")
        datas = self._known.get((name, rrtype))
        status = Status.OK if datas else Status.NODATA
        return Answer(name, rrtype, status, records=records(name, rrtype, *(datas or ())))


WORLD = Known(
    {
        ("org.", rr.NS): (from_text("a.nic.org."), from_text("B.nic.org.")),
        ("a.nic.org.", rr.A): (bytes((192, 0, 2, 1)),),
        ("a.nic.org.", rr.AAAA): (bytes(15) + b"\1",),
        ("b.nic.org.", rr.A): (bytes((192, 0, 2, 2)),),
    }
)

Said = Message | Exception


def parents(said: Mapping[str, Said], resolver: Known = WORLD, servers: tuple[str, ...] = ()) -> Parents:
    async def ask(address: str, port: int, name: bytes, rrtype: int, seconds: float) -> Message:
        assert (name, rrtype) == (APEX, rr.DS)
        answer = said.get(address, TransportError("unreachable"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Parents(resolver, servers, ResolverSettings(timeout_seconds=1), ask=ask)


def ds(*datas: bytes, ttl: int = 3600, flags: int = AA, rcode: int = 0) -> Message:
    return Message(1, flags, answer=records(APEX, rr.DS, *datas, ttl=ttl), rcode=rcode)


async def test_all_have_the_same() -> None:
    found = await parents({"192.0.2.1": ds(ONE), "192.0.2.2": ds(ONE, ttl=7200)}).look(APEX)
    assert found.complete
    assert found.sets == {frozenset({ONE})}
    assert found.ttl == 7200
    assert found.text == "2 of 2 nameservers answered"


async def test_one_is_late() -> None:
    found = await parents({"192.0.2.1": ds(ONE), "192.0.2.2": ds(TWO)}).look(APEX)
    assert found.complete
    assert found.sets == {frozenset({ONE}), frozenset({TWO})}
    assert found.text.endswith("not all the same")


async def test_none_has_any() -> None:
    found = await parents({"192.0.2.1": ds(), "192.0.2.2": ds(rcode=Rcode.NXDOMAIN)}).look(APEX)
    assert found.complete
    assert found.sets == {frozenset()}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (TimeoutError(), "b.nic.org.: no answer from 192.0.2.2 in 1 s"),
        (TransportError("refused"), "b.nic.org.: 192.0.2.2: refused"),
        (OSError("unreachable"), "b.nic.org.: 192.0.2.2: unreachable"),
        (ds(ONE, flags=0), "192.0.2.2 is no nameserver of the parent zone"),
        (ds(rcode=Rcode.SERVFAIL), "192.0.2.2 answers with SERVFAIL"),
        (ds(*(bytes((number,)) for number in range(MOST_RECORDS + 1))), "192.0.2.2 gives 65 DS records"),
    ],
)
async def test_one_says_nothing_that_counts(answer: Said, text: str) -> None:
    found = await parents({"192.0.2.1": ds(ONE), "192.0.2.2": answer}).look(APEX)
    assert not found.complete
    assert found.sets == {frozenset({ONE})}
    assert text in found.text


async def test_the_parents_nameservers_are_not_known() -> None:
    for resolver, why in (
        (Known({}, failing=True), "no answer from 192.0.2.53"),
        (Known({}), "the root has no nameservers"),
        (Known({("org.", rr.NS): (from_text("a.nic.org."),)}), "a.nic.org. has no address"),
    ):
        found = await parents({}, resolver).look(APEX)
        assert not found.complete
        assert not found.sets
        assert why in found.text


async def test_servers_that_were_set_are_asked_instead() -> None:
    found = await parents({"192.0.2.9": ds(TWO)}, Known({}, failing=True), ("192.0.2.9:5300",)).look(APEX)
    assert found.complete
    assert found.sets == {frozenset({TWO})}


async def test_the_root_has_no_parent() -> None:
    assert (await parents({}).look(ROOT)).complete
