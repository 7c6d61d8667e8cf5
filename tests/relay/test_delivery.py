"""What one attempt does: which target is next, who is given up, who is kept. Hosts are scripted, without sockets."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier.delivery import Limits, Plan, deliver, plan_for_route
from mx10.relay.courier.values import Addressee, End, Fate, Stage, StepKind, Target, TlsPolicy, Trouble
from mx10.routing import Exchanger, ExchangerStatus, Group, Kind, Result, Route, Verdict
from mx10.routing.values import Address, Destination
from mx10.smtp.replies import Reply
from tests.relay.scripted import Host, Net, addressees, letter

MX1, MX2, MX3 = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
MX1_6 = "2001:db8::1"
TEMPORARY = Reply.of(451, "4.3.0", "not now")
PERMANENT = Reply.of(550, "5.1.1", "no such user")


def target(host: str, address: str, **more: object) -> Target:
    from mx10.routing.addresses import from_text

    packed = from_text(address)
    assert packed is not None
    return Target(host, packed, **more)  # type: ignore[arg-type]


def plan(*targets: tuple[str, str], tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC, left_out: tuple[str, ...] = ()) -> Plan:
    return Plan(tuple(target(host, address, tls=tls) for host, address in targets), None, left_out)


TWO = plan(("mx1", MX1), ("mx2", MX2))
BOTH = plan(("mx1", MX1_6), ("mx1", MX1), ("mx2", MX2))


async def attempt(
    net: Net,
    way: Plan = TWO,
    who: Sequence[Addressee] = addressees("bob"),
    *,
    limits: Limits | None = None,
    reverse_path: str = "alice@example.net",
    requiretls: bool = False,
    tls_optional: bool = False,
) -> list[Fate]:
    return await deliver(
        way,
        letter(reverse_path=reverse_path, requiretls=requiretls, tls_optional=tls_optional),
        who,
        connect=net.connect,
        hosts=net,
        clock=net.clock,
        listener=net.listen,
        limits=limits,
    )


# ---------------------------------------------------------------- which host


async def test_the_first_host_takes_it_and_nobody_else_is_asked() -> None:
    net = Net({MX1: Host(), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host, fate.enhanced, fate.dsn) == (End.DELIVERED, "mx1", "2.0.0", True)
    assert net.tried == [MX1]
    assert net.hosts[MX1].released == [True]
    assert net.kinds() == [
        StepKind.ROUTE,
        StepKind.CONNECTING,
        StepKind.CONNECTED,
        StepKind.DELIVERED,
        StepKind.ENDED,
    ]


async def test_the_next_address_when_nobody_answers_at_the_first() -> None:
    net = Net({MX1: Host()})
    (fate,) = await attempt(net, BOTH)
    assert fate.end is End.DELIVERED
    assert net.tried == [MX1_6, MX1]
    assert MX1_6 in net.dead


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.HELLO])
@pytest.mark.parametrize(
    "said",
    [
        Reply.of(450, None, "busy"),
        Reply.of(421, "4.3.2", "closing"),
        Reply.of(554, None, "no service here"),
        Reply.of(521, None, "never"),
        Trouble.TIMEOUT,
        Trouble.RESET,
        Trouble.GARBAGE,
    ],
    ids=str,
)
async def test_a_host_that_does_not_open_sends_us_to_the_next(stage: Stage, said: Reply | Trouble) -> None:
    """RFC 5321 section 5.1."""
    net = Net({MX1: Host(opening=(stage, said)), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")


@pytest.mark.parametrize(
    "said", [TEMPORARY, Reply.of(421, None, "bye"), Trouble.TIMEOUT, Trouble.RESET, Trouble.GARBAGE]
)
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_whatever_is_temporary_is_tried_at_the_next_host(stage: str, said: Reply | Trouble) -> None:
    host = Host(rcpt={"bob": said}) if stage == "rcpt" else Host(**{stage: said})  # type: ignore[arg-type]
    net = Net({MX1: host, MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "final"])
async def test_a_refusal_for_good_ends_it(stage: str) -> None:
    host = Host(rcpt={"bob": PERMANENT}) if stage == "rcpt" else Host(**{stage: PERMANENT})  # type: ignore[arg-type]
    net = Net({MX1: host, MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.enhanced, fate.host, fate.stage.value) == (End.FAILED, "5.1.1", "mx1", stage)
    assert net.tried == [MX1]


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.TIMEOUT, Trouble.GARBAGE])
async def test_accept_then_drop_before_the_final_reply_is_sent_again_later_and_nowhere_else_now(
    trouble: Trouble,
) -> None:
    """RFC 5321 section 4.5.3.2.6, RFC 1047: it may have it. Better twice than never, but not twice for sure."""
    net = Net({MX1: Host(final=trouble), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.stage, fate.trouble) == (End.LATER, Stage.FINAL, trouble)
    assert net.tried == [MX1]
    assert net.hosts[MX1].released == [False]


async def test_4xx_after_the_content_may_go_to_another_host() -> None:
    net = Net({MX1: Host(final=TEMPORARY), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")


async def test_all_down() -> None:
    net = Net({})
    (fate,) = await attempt(net)
    assert (fate.end, fate.enhanced, fate.reached) == (End.LATER, "4.4.1", False)
    assert set(net.dead) == {MX1, MX2}


async def test_all_refuse_for_good_to_speak_to_us() -> None:
    no = Host(opening=(Stage.GREETING, Reply.of(554, "5.7.1", "you are listed")))
    net = Net({MX1: no, MX2: no})
    (fate,) = await attempt(net)
    assert (fate.end, fate.enhanced) == (End.FAILED, "5.7.1")
    (fate,) = await attempt(net, plan(("mx1", MX1), left_out=("mx2: its address is not known now",)))
    assert fate.end is End.LATER, "the host not tried may take it"


# ---------------------------------------------------------------- address families


@pytest.mark.parametrize(
    "host",
    [
        Host(mail=Reply.of(550, "5.7.25", "your address has no name")),
        Host(rcpt={"bob": TEMPORARY}),
        Host(final=TEMPORARY),
        Host(data=Trouble.RESET),
        Host(opening=(Stage.GREETING, Reply.of(554, None, "not over IPv6"))),
    ],
)
async def test_the_other_address_family_is_tried_in_the_same_attempt(host: Host) -> None:
    net = Net({MX1_6: host, MX1: Host(), MX2: Host()})
    (fate,) = await attempt(net, BOTH)
    assert (fate.end, fate.address) == (End.DELIVERED, MX1)


async def test_one_machine_is_not_asked_twice_over_one_family() -> None:
    net = Net({MX1: Host(rcpt={"bob": TEMPORARY}), MX3: Host(), MX2: Host()})
    (fate,) = await attempt(net, plan(("mx1", MX1), ("mx1", MX3), ("mx2", MX2)))
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")
    assert net.tried == [MX1, MX2]


# ---------------------------------------------------------------- the memory of dead hosts


async def test_a_dead_host_is_passed_over_at_once() -> None:
    net = Net({MX1: Host(), MX2: Host()})
    net.dead[MX1] = "down since 12:00"
    (fate,) = await attempt(net)
    assert (fate.host, net.tried) == ("mx2", [MX2])
    assert StepKind.PASSED_OVER in net.kinds()


async def test_all_dead_nobody_is_bothered_and_nothing_lost() -> None:
    net = Net({MX1: Host()})
    net.dead = {MX1: "down since 12:00", MX2: "down since 12:01"}
    (fate,) = await attempt(net)
    assert (fate.end, fate.reached, net.tried) == (End.LATER, False, [])
    assert "down since 12:01" in fate.reason


async def test_a_refusal_by_the_living_is_not_final_while_another_is_dead() -> None:
    net = Net({MX1: Host(opening=(Stage.GREETING, Reply.of(554, None, "no")))})
    net.dead[MX2] = "down since 12:00"
    (fate,) = await attempt(net)
    assert (fate.end, fate.enhanced[0]) == (End.LATER, "4")


async def test_trouble_of_ours_makes_no_host_dead() -> None:
    net = Net({MX1: Host(opening=(Stage.CONNECT, Trouble.OURS)), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, net.dead, net.tried) == (End.LATER, {}, [MX1])


# ---------------------------------------------------------------- TLS


async def test_opportunistic_tls_that_fails_is_tried_in_the_clear() -> None:
    net = Net({MX1: Host(tls=Trouble.TLS)})
    (fate,) = await attempt(net)
    assert fate.end is End.DELIVERED
    assert net.hosts[MX1].opened == [TlsPolicy.OPPORTUNISTIC, TlsPolicy.NEVER]
    assert StepKind.PLAIN in net.kinds()


@pytest.mark.parametrize("policy", [TlsPolicy.ENCRYPTED, TlsPolicy.VERIFIED])
async def test_where_tls_is_demanded_nothing_goes_in_the_clear(policy: TlsPolicy) -> None:
    net = Net({MX1: Host(tls=Trouble.TLS), MX2: Host(tls=Reply.of(454, "4.7.0", "no TLS now"))})
    (fate,) = await attempt(net, plan(("mx1", MX1), ("mx2", MX2), tls=policy))
    assert (fate.end, fate.stage) == (End.LATER, Stage.TLS)
    assert all(TlsPolicy.NEVER not in host.opened for host in net.hosts.values())


async def test_a_message_may_say_that_tls_is_not_required() -> None:
    """RFC 8689 section 4.2.2: TLS is tried, and is not what it fails for."""
    net = Net({MX1: Host(tls=Trouble.TLS)})
    (fate,) = await attempt(net, tls_optional=True)
    assert fate.end is End.DELIVERED
    assert net.hosts[MX1].opened == [TlsPolicy.OPPORTUNISTIC, TlsPolicy.NEVER]
    assert [step.text for step in net.steps if step.kind is StepKind.POLICY] == [
        "the message says TLS-Required: No; it may go without TLS"
    ]


@pytest.mark.parametrize("policy", [TlsPolicy.ENCRYPTED, TlsPolicy.VERIFIED])
async def test_what_was_chosen_here_is_not_weakened_by_a_header(policy: TlsPolicy) -> None:
    net = Net({MX1: Host(tls=Trouble.TLS)})
    (fate,) = await attempt(net, plan(("mx1", MX1), tls=policy), tls_optional=True)
    assert (fate.end, fate.stage) == (End.LATER, Stage.TLS)
    assert net.hosts[MX1].opened == [policy]
    assert [step.text for step in net.steps if step.kind is StepKind.POLICY] == [
        f"the message says TLS-Required: No, but tls={policy} was chosen here, and holds"
    ]


async def test_requiretls_goes_to_nobody_who_does_not_promise_it() -> None:
    """RFC 8689 section 4.2.1."""
    net = Net({MX1: Host(), MX2: Host(extensions=frozenset({"STARTTLS", "REQUIRETLS"}))})
    (fate,) = await attempt(net, requiretls=True)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")
    assert net.hosts[MX1].transactions == []
    assert set(net.hosts[MX1].opened) == {TlsPolicy.VERIFIED}
    net = Net({MX1: Host(), MX2: Host()})
    (fate,) = await attempt(net, requiretls=True)
    assert (fate.end, fate.enhanced) == (End.FAILED, "5.7.30")


async def test_a_report_about_what_requires_tls_wants_tls_and_no_promise() -> None:
    """RFC 8689 section 5: it is not to be lost for that."""
    for offered in (frozenset({"STARTTLS"}), frozenset({"STARTTLS", "REQUIRETLS"})):
        net = Net({MX1: Host(extensions=offered)})
        (fate,) = await attempt(net, reverse_path="", requiretls=True)
        assert fate.end is End.DELIVERED
        assert net.hosts[MX1].opened == [TlsPolicy.VERIFIED]
        assert net.hosts[MX1].required == ["REQUIRETLS" in offered]
    net = Net({MX1: Host(tls=Trouble.TLS)})
    (fate,) = await attempt(net, plan(("mx1", MX1)), reverse_path="", requiretls=True)
    assert (fate.end, fate.enhanced) == (End.FAILED, "5.7.10")


@pytest.mark.parametrize(
    ("other", "chosen", "end", "enhanced"),
    [
        (Host(tls=Trouble.TLS), TlsPolicy.OPPORTUNISTIC, End.FAILED, "5.7.10"),
        (Host(), TlsPolicy.ENCRYPTED, End.FAILED, "5.7.30"),
        # Perhaps it is there, and good, when it comes back.
        (Host(opening=(Stage.CONNECT, Trouble.REFUSED)), TlsPolicy.OPPORTUNISTIC, End.LATER, "4.4.1"),
        (Host(tls=Trouble.RESET), TlsPolicy.OPPORTUNISTIC, End.LATER, "4.4.2"),
        # Whoever runs this host wants it, too, and mends it.
        (Host(tls=Trouble.TLS), TlsPolicy.VERIFIED, End.LATER, "4.7.5"),
    ],
)
async def test_requiretls_is_not_waited_for(other: Host, chosen: TlsPolicy, end: End, enhanced: str) -> None:
    """RFC 8689 section 4.2.1: who cannot have TLS at any exchanger is told so."""
    net = Net({MX1: Host(tls=Trouble.TLS), MX2: other})
    (fate,) = await attempt(net, plan(("mx1", MX1), ("mx2", MX2), tls=chosen), requiretls=True)
    assert (fate.end, fate.enhanced) == (end, enhanced)
    assert set(net.hosts[MX1].opened) == {TlsPolicy.VERIFIED}


# ---------------------------------------------------------------- several recipients


async def test_each_recipient_has_a_fate_of_its_own() -> None:
    """One is refused, one waits and is taken by the next host, one is taken at once."""
    net = Net({MX1: Host(rcpt={"no": PERMANENT, "wait": TEMPORARY}), MX2: Host()})
    fates = await attempt(net, TWO, addressees("yes", "no", "wait"))
    assert [(fate.recipient.address.partition("@")[0], fate.end, fate.host) for fate in fates] == [
        ("yes", End.DELIVERED, "mx1"),
        ("no", End.FAILED, "mx1"),
        ("wait", End.DELIVERED, "mx2"),
    ]
    assert net.hosts[MX2].transactions == [("wait",)]


async def test_too_many_recipients_go_in_more_transactions_of_the_same_connection() -> None:
    """RFC 5321 section 4.5.3.1.10."""
    net = Net({MX1: Host(room=2), MX2: Host()})
    fates = await attempt(net, TWO, addressees("a", "b", "c", "d", "e"))
    assert {fate.end for fate in fates} == {End.DELIVERED}
    assert net.hosts[MX1].transactions == [("a", "b", "c", "d", "e"), ("c", "d", "e"), ("e",)]
    assert net.tried == [MX1]


async def test_a_host_without_room_for_anybody_is_not_asked_for_ever() -> None:
    net = Net({MX1: Host(room=0), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")
    assert len(net.hosts[MX1].transactions) == 1


async def test_what_the_host_says_of_its_limit_is_obeyed() -> None:
    """RFC 9422 section 4.2."""
    net = Net({MX1: Host(limit=2)})
    await attempt(net, TWO, addressees("a", "b", "c"))
    assert net.hosts[MX1].transactions == [("a", "b"), ("c",)]
    net = Net({MX1: Host(domains=1)})
    who = [Addressee(f"{each}@{domain}.example") for domain in ("one", "two") for each in "ab"]
    fates = await attempt(net, TWO, [who[0], who[2], who[1], who[3]])
    assert [fate.end for fate in fates] == [End.DELIVERED] * 4
    assert net.hosts[MX1].transactions == [("a", "b"), ("a", "b")]
    net = Net({MX1: Host(domains=2, limit=3)})
    await attempt(net, TWO, who)
    assert net.hosts[MX1].transactions == [("a", "b", "a"), ("b",)]


async def test_a_host_that_takes_few_messages_a_connection_is_asked_over_several() -> None:
    """RFC 9422 section 4.1."""
    net = Net({MX1: Host(limit=1, mails=2, rcpt={"a": Reply.of(450, "4.2.1", "busy")}), MX2: Host(rcpt={"a": None})})
    fates = await attempt(net, TWO, addressees(*"abcde"))
    assert [(fate.end, fate.host) for fate in fates] == [(End.DELIVERED, "mx2")] + [(End.DELIVERED, "mx1")] * 4
    assert net.hosts[MX1].transactions == [(each,) for each in "abcde"]
    assert net.tried == [MX1, MX1, MX1, MX2]
    assert net.hosts[MX1].released == [False, False, True]


async def test_a_connection_that_breaks_leaves_the_rest_for_the_next_host() -> None:
    """Those of the broken transaction may have it; those not yet asked for surely have not."""
    net = Net({MX1: Host(limit=1, final=Trouble.RESET), MX2: Host()})
    fates = await attempt(net, TWO, addressees("a", "b"))
    assert [(fate.end, fate.host) for fate in fates] == [(End.LATER, "mx1"), (End.DELIVERED, "mx2")]
    assert net.hosts[MX1].transactions == [("a",)]


async def test_a_sender_that_is_refused_is_refused_for_all() -> None:
    net = Net({MX1: Host(limit=1, mail=Reply.of(553, "5.1.8", "no such domain")), MX2: Host()})
    fates = await attempt(net, TWO, addressees("a", "b"))
    assert [(fate.end, fate.enhanced) for fate in fates] == [(End.FAILED, "5.1.8")] * 2
    assert net.hosts[MX1].transactions == [("a",)]


@pytest.mark.parametrize("said", [Trouble.RESET, Reply.of(421, "4.4.2", "you were silent for too long")], ids=str)
async def test_a_connection_from_before_that_was_closed_says_nothing_of_the_host(said: Reply | Trouble) -> None:
    net = Net({MX1: Host(stale=[said, said]), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx1")
    assert net.hosts[MX1].released == [False, False, True]
    net = Net({MX1: Host(stale=[said] * 9), MX2: Host()})
    (fate,) = await attempt(net)
    assert (fate.end, fate.host) == (End.DELIVERED, "mx2")


# ---------------------------------------------------------------- bounds


async def test_not_more_hosts_are_asked_than_the_limit() -> None:
    hosts = {f"192.0.2.{number}": Host(mail=TEMPORARY) for number in range(1, 11)}
    net = Net(hosts)
    way = plan(*((f"mx{number}", f"192.0.2.{number}") for number in range(1, 11)))
    (fate,) = await attempt(net, way, limits=Limits(conversations=3))
    assert (fate.end, len(net.tried)) == (End.LATER, 3)


async def test_an_attempt_ends_in_time() -> None:
    net = Net({})
    net.each_connect_takes = 30_000
    way = plan(*((f"mx{number}", f"192.0.2.{number}") for number in range(1, 11)))
    (fate,) = await attempt(net, way, limits=Limits(seconds=60))
    assert (fate.end, len(net.tried)) == (End.LATER, 3)


async def test_mail_does_not_go_in_a_circle_when_the_host_is_ourselves() -> None:
    net = Net({MX1: Host(name="Relay.Example.net")})
    (fate,) = await attempt(net, plan(("mx1", MX1)), limits=Limits(own_names=frozenset({"relay.example.net"})))
    assert (fate.end, fate.enhanced) == (End.FAILED, "5.4.6")
    assert net.hosts[MX1].transactions == []


# ---------------------------------------------------------------- from a route


def route(*groups: Sequence[Exchanger], verdict: Verdict | None = None) -> Route:
    verdict = verdict or Verdict(Result.ROUTABLE, None, None, "", "")
    made = tuple(Group(10 * rank, tuple(members)) for rank, members in enumerate(groups))
    return Route(Destination("example.org", b"\x07example\x03org\0"), Kind.MX, verdict, groups=made)


def exchanger(name: str, *last: int, status: ExchangerStatus = ExchangerStatus.USABLE) -> Exchanger:
    found = tuple(Address(bytes([192, 0, 2, each])) for each in last)
    return Exchanger(bytes([len(name)]) + name.encode() + b"\0", 10, status, found)


def test_groups_stay_in_order_and_equals_are_shuffled_anew() -> None:
    """RFC 5321 section 5.1."""
    way = route([exchanger("a", 1), exchanger("b", 2)], [exchanger("c", 3)])
    chance = random.Random(1)
    firsts: Counter[str] = Counter()
    for _ in range(400):
        targets = plan_for_route(way, chance=chance).targets
        assert targets[2].host == "c"
        firsts[targets[0].host] += 1
    assert 150 < firsts["a"] < 250
    assert [each.host for each in plan_for_route(way, chance=None).targets] == ["a", "b", "c"]
    assert [each.rank for each in plan_for_route(way, chance=None).targets] == [0, 0, 1]


def test_a_host_with_many_addresses_does_not_crowd_out_the_others() -> None:
    way = route([exchanger("a", *range(1, 30))], [exchanger("b", 40)])
    made = plan_for_route(way, chance=None, limit=5)
    assert [each.host for each in made.targets] == ["a", "a", "a", "a", "b"]
    assert len(made.left_out) == 25


def test_hosts_of_unknown_address_keep_hope() -> None:
    made = plan_for_route(route([exchanger("a", 1), exchanger("b", status=ExchangerStatus.UNKNOWN)]), chance=None)
    assert made.left_out == ("b: its address is not known now",)


@pytest.mark.parametrize(
    ("result", "code", "end"), [(Result.PERMANENT, "5.1.2", End.FAILED), (Result.TEMPORARY, "4.4.3", End.LATER)]
)
async def test_a_route_to_nowhere_decides_without_asking_anybody(result: Result, code: str, end: End) -> None:
    net = Net({})
    made = plan_for_route(route(verdict=Verdict(result, 550, code, "example.org does not exist", "")), chance=None)
    (fate,) = await attempt(net, made)
    assert (fate.end, fate.enhanced, fate.reason) == (end, code, "example.org does not exist")
    assert net.tried == []


# ---------------------------------------------------------------- whatever happens

_SAID = st.sampled_from(
    [
        TEMPORARY,
        PERMANENT,
        Reply.of(421, "4.3.2", "bye"),
        Reply.of(452, "4.5.3", "too many"),
        Reply.of(550, "5.7.25", "no name"),
        Reply.of(521, None, "never"),
        Reply.of(250, None, "what"),
        Trouble.RESET,
        Trouble.TIMEOUT,
        Trouble.GARBAGE,
        Trouble.OURS,
    ]
)
_MAYBE = st.one_of(st.none(), st.none(), _SAID)
_HOSTS = st.builds(
    Host,
    opening=st.one_of(
        st.none(),
        st.tuples(st.sampled_from([Stage.CONNECT, Stage.GREETING, Stage.HELLO, Stage.AUTH, Stage.TLS]), _SAID),
    ),
    tls=st.one_of(st.none(), st.none(), st.just(Trouble.TLS)),
    mail=_MAYBE,
    rcpt=st.dictionaries(st.sampled_from("abcde"), _SAID, max_size=3),
    data=_MAYBE,
    final=st.one_of(st.none(), st.none(), st.sampled_from([TEMPORARY, PERMANENT, Trouble.RESET, Trouble.TIMEOUT])),
    room=st.integers(0, 6),
    limit=st.one_of(st.none(), st.integers(1, 3)),
    stale=st.lists(st.sampled_from([Trouble.RESET, Reply.of(421, None, "idle")]), max_size=4),
)


@given(st.lists(_HOSTS, min_size=1, max_size=5), st.integers(1, 5), st.sets(st.integers(0, 4)), st.booleans())
async def test_nobody_is_lost_and_nobody_gets_it_twice_in_one_attempt(
    hosts: list[Host], number: int, dead: set[int], requiretls: bool
) -> None:
    addresses = [MX1_6, MX1, MX2, MX3, "192.0.2.4"][: len(hosts)]
    net = Net(dict(zip(addresses, hosts, strict=True)))
    net.dead = {addresses[at]: "down" for at in dead if at < len(addresses)}
    way = plan(*zip(["mx1", "mx1", "mx2", "mx3", "mx4"], addresses, strict=False))
    who = addressees(*"abcde"[:number])
    fates = await attempt(net, way, who, requiretls=requiretls)
    assert [fate.recipient for fate in fates] == list(who)
    having = Counter(name for host in hosts for name in host.has)
    for fate in fates:
        name = fate.recipient.address[0]
        assert having[name] <= 1, "two hosts have it"
        if fate.end is End.DELIVERED:
            assert having[name] == 1
        if fate.end is End.FAILED:
            assert having[name] == 0, "returned, and delivered"
            assert fate.reply is not None or fate.trouble is Trouble.UNABLE, "returned, though nobody refused it"
        assert fate.enhanced[0] == {End.DELIVERED: "2", End.LATER: "4", End.FAILED: "5"}[fate.end]
        assert fate.reason
    assert [step.recipient for step in net.steps if step.kind is StepKind.ENDED] == [each.address for each in who]
