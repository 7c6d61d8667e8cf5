"""One message on its way to one next hop: from target to target, until each recipient is somebody else's or there is
nobody left to ask.

``plan_for_route`` makes of a ``routing.Route`` the list of targets (pure; chance is an argument), ``Course`` decides
which of them is next and what was said of each recipient (pure), ``deliver`` goes there. The rules:

- Preference groups in order, shuffled within, all addresses of a host in both families (RFC 5321 section 5.1).
- No connection, no greeting, or a refusal that is about the host: the next address, then the next host, at once.
- Something temporary about sender, recipient or content: the same host's other address family, then the next host.
- A refusal for good of recipient or message: no more, for those it is about.
- All of the content out and no reply: nobody else is asked now, and the message is sent again later. It may come twice.
- A target that others found down is passed over; whoever tries it nevertheless is the probe (``Hosts``).
- TLS that is opportunistic and fails: the same address once more in the clear. Never with REQUIRETLS (RFC 8689), which
  means nothing to a Unix socket.
- ``TLS-Required: No`` asks that no policy of the recipient's domain be in the way (RFC 8689 section 4.2.2). None is
  followed here but what somebody chose for us, and what anybody may write into a header does not weaken that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mx10.relay.courier.classify import Heard, Scope, advice, conclude, judge
from mx10.relay.courier.splitting import domain_of
from mx10.relay.courier.values import (
    Addressee,
    Answered,
    ConnectionTrouble,
    Connector,
    End,
    Fate,
    Hosts,
    Letter,
    Link,
    Listener,
    Stage,
    Step,
    StepKind,
    Target,
    TlsPolicy,
    Trouble,
    nobody,
)
from mx10.routing import ExchangerStatus, Result, Route, Verdict
from mx10.routing.decide import Chance
from mx10.smtp.replies import Reply
from mx10.values import value_class

MAX_TARGETS: Final = 20
"""Addresses of one attempt; a domain with more is not worth the time of all others."""
MAX_CONVERSATIONS: Final = 5
"""Hosts that are spoken to in one attempt."""
MAX_SECONDS: Final = 900.0
"""After this, an attempt begins with no further target."""
MAX_RECIPIENTS: Final = 100
"""Recipients of one transaction: what every receiver must take (RFC 5321 section 4.5.3.1.8)."""
MAX_TRANSACTIONS: Final = 1000
"""Transactions of one conversation; against a host that answers "too many" for ever."""
MAX_STALE: Final = 3
"""Connections from before that turn out to be closed, before a host is given up."""


class _StaleLinkError(Exception):
    """A connection from before was closed by the host when the first message for it came."""


class _UsedUpLinkError(Exception):
    """A connection takes no further transaction, and these are yet to be asked for."""

    def __init__(self, waiting: Sequence[Addressee]) -> None:
        super().__init__()
        self.waiting = waiting


@value_class
class Plan:
    """Where one next hop is.

    Attributes:
        targets: in the order in which they are tried.
        verdict: where there are none, why, and whether for good.
        left_out: targets beyond the limit, and exchangers of which the address is not known now: why each of them is
            not tried. While there are such, no refusal of hosts is the last word.
    """

    targets: tuple[Target, ...]
    verdict: Verdict | None = None
    left_out: tuple[str, ...] = ()


@value_class
class Limits:
    """Bounds of one attempt; see the constants of this module."""

    conversations: int = MAX_CONVERSATIONS
    seconds: float = MAX_SECONDS
    recipients: int = MAX_RECIPIENTS
    own_names: frozenset[str] = frozenset()
    """Names of this host, in lower case: a host that calls itself so is ourselves, and mail would go in a circle."""


def plan_for_route(
    route: Route,
    *,
    chance: Chance | None,
    port: int = 25,
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC,
    limit: int = MAX_TARGETS,
) -> Plan:
    """The targets of a route.

    Args:
        chance: shuffles equal exchangers, anew for each delivery (RFC 5321 section 5.1), as a route may be old; None
            takes them as the route has them.
        limit: of targets. Every host gets its first address before that is exhausted by the many of another.
    """
    if route.result is not Result.ROUTABLE:
        return Plan((), route.verdict)
    found: list[Target] = []
    left_out: list[str] = []
    for rank, group in enumerate(route.groups):
        members = list(group.exchangers)
        if chance is not None:
            chance.shuffle(members)
        for one in members:
            if one.status is ExchangerStatus.UNKNOWN:
                left_out.append(f"{one.host}: its address is not known now")
            found += (
                # The root stands for an address literal, which has no name.
                Target(f"[{address.text}]" if one.name == b"\0" else one.host, address.packed, port, rank, tls)
                for address in one.usable
            )
    if len(found) > limit:
        kept = _fair(found, limit)
        left_out += (
            f"{each.host} [{each.text}]: {limit} addresses are tried at once" for each in found if each not in kept
        )
        found = [each for each in found if each in kept]
    return Plan(tuple(found), None, tuple(left_out))


def _fair(found: Sequence[Target], limit: int) -> set[Target]:
    """So many targets that each host keeps its first addresses before any keeps many."""
    turns: dict[tuple[str, int], int] = {}
    ranked = []
    for at, each in enumerate(found):
        turn = turns.get((each.host, each.family), 0)
        turns[each.host, each.family] = turn + 1
        ranked.append((turn, at, each))
    return {each for _, _, each in sorted(ranked, key=lambda row: row[:2])[:limit]}


# ---------------------------------------------------------------- what is next, and what was said


@dataclass(slots=True)
class Course:
    """Which target is next, and what was heard so far of whom. No clock, no chance, nothing that waits."""

    plan: Plan
    limits: Limits
    left: tuple[Addressee, ...]
    """Who has no fate yet."""
    _position: int = 0
    _conversations: int = 0
    _heard: dict[Addressee, list[Heard]] = field(default_factory=dict)
    _fates: dict[Addressee, Fate] = field(default_factory=dict)
    _not_tried: list[str] = field(default_factory=list)
    _spoken: set[tuple[str, int]] = field(default_factory=set)

    def next(self) -> Target | None:
        """The next target for those who are left; None: there is none."""
        while self.left and self._position < len(self.plan.targets):
            target = self.plan.targets[self._position]
            self._position += 1
            if (target.host, target.family) in self._spoken:
                # One machine, most likely: it would say the same again.
                continue
            if self._conversations >= self.limits.conversations:
                self._not_tried.append(f"{target.host} [{target.text}]: {self._conversations} hosts were asked already")
                continue
            return target
        return None

    def passed_over(self, target: Target, why: str) -> None:
        """A target was not tried."""
        self._not_tried.append(f"{target.host} [{target.text}]: {why}")

    def give_up(self, why: str) -> None:
        """No further target is tried."""
        for target in self.plan.targets[self._position :]:
            self.passed_over(target, why)
        self._position = len(self.plan.targets)

    def unreachable(self, target: Target, trouble: ConnectionTrouble) -> Heard:
        """A target did not come to a conversation: that is heard for all who are left."""
        judgement = judge(trouble.stage, trouble.reply, trouble.trouble, trouble.enhanced)
        heard = Heard(target, trouble.stage, trouble.reply, trouble.trouble, trouble.detail, judgement)
        if trouble.stage is not Stage.CONNECT:
            self._conversations += 1
        for recipient in self.left:
            self._heard.setdefault(recipient, []).append(heard)
        if not judgement.elsewhere:
            self._settle(self.left)
        return heard

    def spoken_to(self, target: Target) -> None:
        """A conversation begins."""
        self._conversations += 1
        self._spoken.add((target.host, target.family))

    def answered(self, target: Target, answers: Sequence[Answered], *, dsn: bool) -> tuple[Addressee, ...]:
        """What was said of some recipients in one transaction.

        Returns:
            Who may be asked for again over the same connection, as one transaction has no room for all.
        """
        again: list[Addressee] = []
        for answer in answers:
            recipient, reply = answer.recipient, answer.reply
            if reply is not None and reply.kind == "positive" and answer.stage is Stage.FINAL:
                self._fates[recipient] = _delivered(recipient, reply, target, dsn=dsn)
                continue
            judgement = judge(answer.stage, reply, answer.trouble, answer.enhanced)
            heard = Heard(target, answer.stage, reply, answer.trouble, answer.detail, judgement)
            if judgement.scope is Scope.HOST and judgement.elsewhere:
                # It is about this address of ours, or of theirs: the host's others may do.
                self._spoken.discard((target.host, target.family))
            if judgement.again:
                again.append(recipient)
            self._heard.setdefault(recipient, []).append(heard)
            if not judgement.elsewhere:
                self._settle((recipient,))
        self.left = tuple(each for each in self.left if each not in self._fates)
        taken = any(each.reply is not None and each.reply.kind == "positive" for each in answers)
        return tuple(again) if taken else ()

    def _settle(self, recipients: Sequence[Addressee]) -> None:
        for recipient in recipients:
            untried = [*self.plan.left_out, *self._not_tried]
            untried += [f"{each.host}: not asked" for each in self.plan.targets[self._position :]]
            self._fates[recipient] = conclude(recipient, self._heard.get(recipient, ()), untried=untried)
        self.left = tuple(each for each in self.left if each not in self._fates)

    def fates(self, recipients: Sequence[Addressee]) -> list[Fate]:
        """What became of each, in the order given."""
        self._settle(self.left)
        return [self._fates[each] for each in recipients]


def _delivered(recipient: Addressee, reply: Reply, target: Target, *, dsn: bool) -> Fate:
    return Fate(
        recipient,
        End.DELIVERED,
        reply.enhanced or "2.0.0",
        f"{target.host} [{target.text}] took it and said “{reply}”",
        stage=Stage.FINAL,
        reply=reply,
        host=target.host,
        address=target.text,
        port=target.port,
        dsn=dsn,
        # RFC 2033 section 4.2: with LMTP a reply says that it is in the mailbox.
        final=target.lmtp,
        reached=True,
    )


def by_verdict(verdict: Verdict, recipients: Sequence[Addressee]) -> list[Fate]:
    """The fates where a route has nobody to ask."""
    end = End.FAILED if verdict.result is Result.PERMANENT else End.LATER
    enhanced = verdict.code or ("5.4.4" if end is End.FAILED else "4.4.3")
    return [Fate(each, end, enhanced, verdict.reason, advice(enhanced)) for each in recipients]


# ---------------------------------------------------------------- going there


async def deliver(
    plan: Plan,
    letter: Letter,
    recipients: Sequence[Addressee],
    *,
    connect: Connector,
    hosts: Hosts,
    clock: Callable[[], int],
    listener: Listener,
    limits: Limits | None = None,
) -> list[Fate]:
    """One attempt for one message, to recipients that share a next hop.

    Args:
        recipients: at least one, each once. Any number; transactions take ``limits.recipients`` at most.
        connect: opens connections, or has them from before.
        hosts: what is known of hosts that are down; is told what is learned.
        clock: milliseconds since 1970.
        listener: is told every step.

    Returns:
        A fate for each recipient, in their order. Raises nothing but cancellation; who cancels has to take it that
        recipients may have the message.
    """
    if letter.requiretls and plan.targets and all(each.socket for each in plan.targets):
        # It does not leave this machine: there is nothing to encrypt, and who takes it there speaks no TLS.
        letter = replace(letter, requiretls=False)
    return await _Attempt(plan, letter, tuple(recipients), connect, hosts, clock, listener, limits or Limits()).run()


@dataclass(slots=True)
class _Attempt:
    plan: Plan
    letter: Letter
    recipients: tuple[Addressee, ...]
    connect: Connector
    hosts: Hosts
    clock: Callable[[], int]
    listener: Listener
    limits: Limits

    async def run(self) -> list[Fate]:
        if self.plan.verdict is not None and not self.plan.targets:
            self._tell(StepKind.ROUTE, self.plan.verdict.reason)
            return self._ended(by_verdict(self.plan.verdict, self.recipients))
        if self.listener is not nobody:
            self._tell(StepKind.ROUTE, ", then ".join(f"{each.host} [{each.text}]" for each in self.plan.targets))
        course = Course(self.plan, self.limits, self.recipients)
        began = self.clock()
        while (target := course.next()) is not None:
            if self.clock() - began > self.limits.seconds * 1000:
                why = f"the attempt took {self.limits.seconds:g} s already"
                course.passed_over(target, why)
                course.give_up(why)
                break
            why = self.hosts.passed_over(target, self.clock())
            if why:
                course.passed_over(target, why)
                self._tell(StepKind.PASSED_OVER, why, target)
                continue
            await self._try(course, target)
        return self._ended(course.fates(self.recipients))

    async def _try(self, course: Course, target: Target) -> None:
        stale = 0
        waiting: Sequence[Addressee] = course.left
        while True:
            try:
                await self._visit(course, target, waiting, again=stale < MAX_STALE)
            except _StaleLinkError:
                stale += 1
            except _UsedUpLinkError as used_up:
                waiting = used_up.waiting
            else:
                return

    async def _visit(self, course: Course, target: Target, who: Sequence[Addressee], *, again: bool) -> None:
        """Speak to a target. ``again``: where a connection from before is closed, raise ``_StaleLinkError``.

        Raises:
            _UsedUpLinkError: the rest wants another connection.
        """
        try:
            link = await self._open(target)
        except ConnectionTrouble as trouble:
            heard = course.unreachable(target, trouble)
            self._tell(StepKind.FAILED, trouble.detail, target, reply=trouble.reply)
            if heard.judgement.down:
                self.hosts.failed(target, self.clock(), trouble.detail, said=trouble.reply is not None)
            elif trouble.trouble is not Trouble.OURS:
                self.hosts.worked(target, self.clock())
            return
        self.hosts.worked(target, self.clock())
        keep = False
        try:
            keep = await self._converse(course, target, link, who, may_be_stale=again and link.used)
        finally:
            await link.release(keep=keep)

    async def _open(self, target: Target) -> Link:
        policy = TlsPolicy.VERIFIED if self.letter.requiretls else target.tls
        if self.listener is not nobody:
            self._tell(StepKind.CONNECTING, str(target), target)
            if self.letter.tls_optional:
                self._tell(StepKind.POLICY, _optional(policy), target)
        try:
            link = await self.connect(target, policy, self.listener)
        except ConnectionTrouble as trouble:
            if policy is not target.tls and trouble.trouble is Trouble.TLS:
                # It is the message that wants more of the host than others do (RFC 8689 section 4.2.1).
                raise ConnectionTrouble(Stage.TLS, Trouble.UNABLE, trouble.detail, enhanced="5.7.10") from None
            if trouble.stage is not Stage.TLS or policy is not TlsPolicy.OPPORTUNISTIC or target.implicit_tls:
                raise
            # RFC 7435 section 3: rather in the clear than not at all; a passive listener is all it ever kept out.
            self._tell(StepKind.PLAIN, f"TLS failed ({trouble.detail}); once more without", target, reply=trouble.reply)
            link = await self.connect(target, TlsPolicy.NEVER, self.listener)
        if link.name.lower() in self.limits.own_names:
            await link.release(keep=False)
            reply = Reply.of(554, "5.4.6", f"{link.name} is this host: mail would go in a circle")
            raise ConnectionTrouble(Stage.HELLO, None, "the host found there is this one", reply)
        self._tell(StepKind.CONNECTED, f"{link.tls or 'in the clear'}", target)
        return link

    async def _converse(
        self, course: Course, target: Target, link: Link, who: Sequence[Addressee], *, may_be_stale: bool
    ) -> bool:
        """As many transactions as some recipients need.

        Returns:
            Whether the connection may serve another message.
        """
        letter = self.letter
        if letter.requiretls and "REQUIRETLS" not in link.extensions and not letter.reverse_path:
            # Over TLS that is verified; but for want of the promise no report is lost (RFC 8689 section 5).
            letter = replace(letter, requiretls=False)
        if letter.requiretls and "REQUIRETLS" not in link.extensions:
            detail = "it does not promise to keep the message encrypted (REQUIRETLS)"
            refusals = [
                Answered(each, Stage.MAIL, None, Trouble.UNABLE, detail, "5.7.30")  # RFC 8689 section 4.2.1
                for each in course.left
            ]
            course.spoken_to(target)
            self._heard(target, refusals)
            course.answered(target, refusals, dsn=False)
            return True
        most = max(1, min(self.limits.recipients, link.limit or self.limits.recipients))
        waiting = list(who)
        dsn = "DSN" in link.extensions
        first = True
        for _ in range(MAX_TRANSACTIONS):
            if not waiting:
                return True
            if not first and not link.usable:
                # It takes so many messages and no more (RFC 9422 MAILMAX).
                raise _UsedUpLinkError(waiting)
            batch, waiting = _together(waiting, most, link.domains)
            answers = await link.send(letter, batch)
            if first and may_be_stale and all(each.stage is Stage.MAIL and _ends(each) for each in answers):
                raise _StaleLinkError
            if first:
                course.spoken_to(target)
            first = False
            self._heard(target, answers)
            again = course.answered(target, answers, dsn=dsn)
            waiting = [*again, *waiting]
            cause = next((each for each in answers if _ends(each) or each.stage is Stage.MAIL), None)
            if cause is not None:
                # The connection is gone, or nothing is taken from this sender: that holds for those not asked for too.
                spared = [_not_asked(each, cause) for each in waiting if each not in again]
                course.answered(target, spared, dsn=False)
                return not _ends(cause)
        return False

    def _heard(self, target: Target, answers: Sequence[Answered]) -> None:
        if self.listener is nobody:
            return
        for each in answers:
            kind = StepKind.DELIVERED if _taken(each) else StepKind.NOT_DELIVERED
            text = each.detail or (str(each.reply) if each.reply is not None else "no reply")
            self._tell(kind, text, target, recipient=each.recipient.address, reply=each.reply)

    def _ended(self, fates: list[Fate]) -> list[Fate]:
        if self.listener is nobody:
            return fates
        for fate in fates:
            self.listener(
                Step(
                    StepKind.ENDED,
                    self.clock(),
                    f"{fate.end.value}: {fate.reason}",
                    fate.host,
                    fate.address,
                    fate.recipient.address,
                    fate.reply,
                )
            )
        return fates

    def _tell(
        self,
        kind: StepKind,
        text: str,
        target: Target | None = None,
        *,
        recipient: str = "",
        reply: Reply | None = None,
    ) -> None:
        if self.listener is nobody:
            return
        host, address = (target.host, target.text) if target is not None else ("", "")
        self.listener(Step(kind, self.clock(), text, host, address, recipient, reply))


def _optional(policy: TlsPolicy) -> str:
    """What becomes of a message that says ``TLS-Required: No``."""
    if policy in (TlsPolicy.ENCRYPTED, TlsPolicy.VERIFIED):
        return f"the message says TLS-Required: No, but tls={policy} was chosen here, and holds"
    return f"the message says TLS-Required: No; it {'goes' if policy is TlsPolicy.NEVER else 'may go'} without TLS"


def _together(
    waiting: list[Addressee], most: int, domains: int | None
) -> tuple[tuple[Addressee, ...], list[Addressee]]:
    """Those of one transaction, and those of the next ones. ``domains``: how many these may be of; None: any number."""
    if domains is None:
        return tuple(waiting[:most]), waiting[most:]
    batch: list[Addressee] = []
    rest: list[Addressee] = []
    named: set[str] = set()
    for each in waiting:
        domain = domain_of(each.address)
        if len(batch) < most and (domain in named or len(named) < domains):
            named.add(domain)
            batch.append(each)
        else:
            rest.append(each)
    return tuple(batch), rest


def _taken(answer: Answered) -> bool:
    return answer.stage is Stage.FINAL and answer.reply is not None and answer.reply.kind == "positive"


def _ends(answer: Answered) -> bool:
    """Whether the connection is of no more use."""
    if answer.reply is None:
        return answer.trouble is not Trouble.UNABLE
    return answer.reply.code in (421, 521)


def _not_asked(recipient: Addressee, cause: Answered) -> Answered:
    """For a recipient whose transaction was not begun: what ended the one before is all that is known; but the content
    did not go out."""
    if cause.reply is not None or cause.trouble in (Trouble.OURS, Trouble.UNABLE):
        return replace(cause, recipient=recipient, stage=Stage.MAIL)
    return Answered(recipient, Stage.MAIL, None, Trouble.RESET, "the connection ended in the transaction before")
