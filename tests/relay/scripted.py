"""Hosts that answer as a test says, without sockets: what ``Course`` and ``deliver`` decide is seen alone."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from mx10.relay.courier.values import (
    Addressee,
    Answered,
    ConnectionTrouble,
    Letter,
    Listener,
    Stage,
    Step,
    StepKind,
    Target,
    TlsPolicy,
    Trouble,
)
from mx10.smtp.replies import Reply


class Octets:
    """Content that is in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), 65536):
            yield self.data[at : at + 65536]


def letter(
    data: bytes = b"Subject: hello\r\n\r\nworld\r\n",
    *,
    reverse_path: str = "alice@example.net",
    requiretls: bool = False,
    tls_optional: bool = False,
) -> Letter:
    return Letter("0123456789ABC", reverse_path, Octets(data), requiretls=requiretls, tls_optional=tls_optional)


def addressees(*names: str) -> tuple[Addressee, ...]:
    return tuple(Addressee(f"{name}@example.org", key) for key, name in enumerate(names, 1))


Said = Reply | Trouble | None


@dataclass
class Host:
    """What a host does. ``opening``: instead of becoming a link; ``rcpt``: by local part; ``room``: recipients of one
    transaction, beyond which it says 452."""

    opening: tuple[Stage, Said] | None = None
    tls: Said = None
    mail: Said = None
    rcpt: Mapping[str, Said] = field(default_factory=dict)
    data: Said = None
    final: Said = None
    room: int = 1000
    limit: int | None = None
    domains: int | None = None
    mails: int = 1000
    extensions: frozenset[str] = frozenset({"DSN", "STARTTLS"})
    name: str = ""
    stale: list[Said] = field(default_factory=list)
    """What connections from before say to MAIL, one after the other; then there are none from before."""
    transactions: list[tuple[str, ...]] = field(default_factory=list)
    required: list[bool] = field(default_factory=list)
    """Whether each of them asks for REQUIRETLS."""
    has: list[str] = field(default_factory=list)
    """Recipients whose message it has, or may have."""
    opened: list[TlsPolicy] = field(default_factory=list)
    released: list[bool] = field(default_factory=list)


def _trouble(stage: Stage, said: Said) -> ConnectionTrouble:
    if isinstance(said, Reply):
        return ConnectionTrouble(stage, None, str(said), said)
    return ConnectionTrouble(stage, said, str(said))


class ScriptedLink:
    def __init__(self, host: Host, tls: str) -> None:
        self._host = host
        self.tls = tls
        self.extensions = host.extensions
        self.limit, self.domains = host.limit, host.domains
        self.name = host.name
        self.used = bool(host.stale)
        self._mails = 0

    @property
    def usable(self) -> bool:
        return self._mails < self._host.mails

    async def send(self, letter: Letter, recipients: tuple[Addressee, ...]) -> list[Answered]:
        host = self._host
        if host.stale:
            said = host.stale.pop(0)
            return [_answered(each, Stage.MAIL, said) for each in recipients]
        self._mails += 1
        host.transactions.append(tuple(each.address.partition("@")[0] for each in recipients))
        host.required.append(letter.requiretls)

        def all_of(stage: Stage, said: Said) -> list[Answered]:
            return [_answered(each, stage, said) for each in recipients]

        if host.mail is not None:
            return all_of(Stage.MAIL, host.mail)
        answers: dict[Addressee, Answered] = {}
        taken: list[Addressee] = []
        for each in recipients:
            said = host.rcpt.get(each.address.partition("@")[0])
            if said is None and len(taken) >= host.room:
                said = Reply.of(452, "4.5.3", "too many recipients")
            if said is None:
                taken.append(each)
            else:
                answers[each] = _answered(each, Stage.RCPT, said)
        for each in taken:
            if host.data is not None:
                answers[each] = _answered(each, Stage.DATA, host.data)
            else:
                answers[each] = _answered(each, Stage.FINAL, host.final or Reply.of(250, "2.0.0", "taken"))
                if not isinstance(host.final, Reply):
                    host.has.append(each.address.partition("@")[0])
        return [answers[each] for each in recipients]

    async def release(self, *, keep: bool) -> None:
        self._host.released.append(keep)


def _answered(who: Addressee, stage: Stage, said: Said) -> Answered:
    if isinstance(said, Reply):
        return Answered(who, stage, said)
    return Answered(who, stage, None, said, str(said))


def _key(target: Target) -> str:
    return target.text if target.port == 25 else f"{target.text}:{target.port}"


class Net:
    """Hosts by their address as text; where none is, connections are refused. Also the memory of dead hosts."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self.hosts = hosts
        self.tried: list[str] = []
        self.dead: dict[str, str] = {}
        self.alive: set[str] = set()
        self.steps: list[Step] = []
        self.now = 1_800_000_000_000
        self.each_connect_takes = 0

    def clock(self) -> int:
        return self.now

    def listen(self, step: Step) -> None:
        self.steps.append(step)

    def kinds(self) -> list[StepKind]:
        return [step.kind for step in self.steps]

    async def connect(self, target: Target, policy: TlsPolicy, listener: Listener) -> ScriptedLink:
        self.now += self.each_connect_takes
        self.tried.append(target.text)
        host = self.hosts.get(target.text)
        if host is None:
            raise _trouble(Stage.CONNECT, Trouble.REFUSED)
        host.opened.append(policy)
        if host.opening is not None:
            raise _trouble(*host.opening)
        if policy is not TlsPolicy.NEVER and host.tls is not None:
            raise _trouble(Stage.TLS, host.tls)
        if policy in (TlsPolicy.ENCRYPTED, TlsPolicy.VERIFIED) and "STARTTLS" not in host.extensions:
            raise _trouble(Stage.TLS, Trouble.TLS)
        return ScriptedLink(host, "" if policy is TlsPolicy.NEVER else "TLSv1.3")

    def passed_over(self, target: Target, now: int) -> str:
        return self.dead.get(_key(target), "")

    def failed(self, target: Target, now: int, reason: str, *, said: bool = False) -> None:
        self.dead[_key(target)] = reason

    def worked(self, target: Target, now: int) -> None:
        self.alive.add(_key(target))
