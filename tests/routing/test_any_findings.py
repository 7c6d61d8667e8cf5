"""Whatever the DNS says, a route comes out of it, and it holds together."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.dns.message import Record
from mx10.resolver.answer import Answer, Status
from mx10.routing.decide import decide
from mx10.routing.findings import Findings, HostAnswers
from mx10.routing.hosts import Hosts
from mx10.routing.to_json import to_json
from mx10.routing.values import Destination, ExchangerStatus, Result
from mx10.routing.whatif import all_down
from tests.routing.dns_world import SETTINGS, name

LABELS = st.sampled_from(
    [b"mx", b"MX", b"a", b"localhost", b"192", b"0", b"\x00\xff.", b"[1]", b"xn--r8jz45g", b"xn--\xfc", b"_x"]
)
NAMES = st.lists(LABELS, max_size=4).map(wirename.from_labels)
DATA = st.one_of(
    st.binary(max_size=18),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
    st.tuples(st.integers(0, 0xFFFF), NAMES).map(lambda pair: pair[0].to_bytes(2) + pair[1]),
)


@st.composite
def answers(draw: st.DrawFn, rrtype: int, asked: bytes) -> Answer:
    """An answer, not always a sensible one."""
    kinds = st.sampled_from([rrtype, rr.TXT])
    records = [Record(asked, draw(kinds), 1, 0, data) for data in draw(st.lists(DATA, max_size=5))]
    if rrtype == rr.MX:
        # The names in them were read from a message, so they are names.
        records = [one for one in records if len(one.rdata) < 3 or _is_name(one.rdata[2:])]
    return Answer(
        name=asked,
        rrtype=rrtype,
        status=draw(st.sampled_from(Status)),
        records=tuple(records),
        chain=tuple(draw(st.lists(NAMES, max_size=10))),
        reason=draw(st.text(max_size=5)),
    )


def _is_name(data: bytes) -> bool:
    try:
        return wirename.read(data, 0)[1] == len(data) and 0xC0 not in data
    except wirename.WireError:
        return False


@st.composite
def findings(draw: st.DrawFn) -> Findings:
    domain = draw(NAMES)
    mx = draw(answers(rr.MX, domain))
    asked = [record.rdata[2:].lower() for record in mx.records if len(record.rdata) > 2]
    hosts = {
        host: HostAnswers(draw(answers(rr.A, host)), draw(answers(rr.AAAA, host)))
        for host in [*asked, wirename.fold(mx.canonical)]
        if draw(st.integers(0, 9))
    }
    return Findings(Destination("x", domain=domain), mx, hosts)


HOSTS = st.sampled_from([Hosts(), Hosts(("mx",), frozenset({name("mx")}))])


@given(findings(), HOSTS, HOSTS, st.integers(0, 9))
def test_any_findings_make_a_route(found: Findings, this_host: Hosts, down: Hosts, seed: int) -> None:
    route = decide(found, settings=SETTINGS, this_host=this_host, down=down, chance=random.Random(seed))
    tried = list(route.attempts())
    assert (route.result is Result.ROUTABLE) == bool(tried)
    assert (route.verdict.code is None) == bool(tried)
    assert (route.if_all_fail is not None) == bool(tried)
    if found.mx is not None and found.mx.status is Status.FAILURE:
        assert route.result is Result.TEMPORARY
    if any(one.status is ExchangerStatus.UNKNOWN for one in route.exchangers()):
        assert route.result is not Result.PERMANENT
    assert bool(all_down(route, steps=500).combinations) == any(
        one.usable or one.status is ExchangerStatus.UNKNOWN for one in route.exchangers()
    )
    assert json.loads(json.dumps(to_json(route, all_down(route, steps=500))))["result"] == str(route.result)
    assert str(route)
    assert decide(found, settings=SETTINGS, this_host=this_host, down=down, chance=random.Random(seed)) == route
