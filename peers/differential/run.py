"""Puts the same questions to mx10 and its peers and weighs every difference.

Two verdicts matter. *Unexplained*: mx10 and a peer differ in a field and no entry of ``explained.TABLE`` covers it.
*Alone*: mx10 differs from all peers, who agree with each other; only an entry that says ``alone=True`` may cover
that, because four against one is nearly always our fault.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peers import AUTHORITATIVE, Mx10, NoAnswerError, Server, ask_many, ask_tcp, zone_files
from peers.differential.answers import FIELDS, Said, understand
from peers.differential.explained import TABLE, Case, Explained
from peers.differential.explained_signed import SIGNED
from peers.differential.questions import Asked, draw_questions, odd_questions
from peers.differential.world import World
from peers.differential.zones import Draft, draw, on_wire, write

EVERY_ENTRY = (*TABLE, *SIGNED)
TCP_QUESTIONS = 1000
"""How many of the questions whose answers were cut off are asked again over TCP."""


@dataclass(slots=True)
class Outcome:
    """What a comparison found."""

    questions: int = 0
    compared: int = 0
    uses: Counter[str] = field(default_factory=Counter)
    """How often each explanation was needed."""
    unexplained: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Answers of mx10 that break a rule that needs no peer: see ``_invariants``."""

    def report(self, limit: int = 20) -> str:
        """Everything that must be looked at, the first of each kind in full."""
        parts = [f"{self.questions} questions, {self.compared} comparisons, {sum(self.uses.values())} explained"]
        for title, found in (("ALONE", self.alone), ("UNEXPLAINED", self.unexplained), ("BROKEN", self.broken)):
            parts += [f"{title} {at + 1} of {len(found)}: {text}" for at, text in enumerate(found[:limit])]
        return "\n\n".join(parts)


def compare(
    seed: int,
    count: int,
    *,
    signed: bool = False,
    peers: Sequence[type[Server]] = AUTHORITATIVE,
    ours: type[Server] = Mx10,
) -> Outcome:
    """Draw zones and questions from ``seed``, start all servers, ask all, compare.

    Arguments:
        signed: sign the zones, and ask with the DO bit where a question has EDNS.

    Raises:
        MissingPeerError: a peer is not installed.
        PeerError: a server did not start with the zones.
    """
    drafts = draw(seed)
    with tempfile.TemporaryDirectory(prefix="mx10-differential-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        write(drafts, folder, signed=signed)
        zones = [file.name for file in zone_files(folder)]
        us = running.enter_context(ours(folder, wait_for=zones))
        them = [running.enter_context(peer(folder, wait_for=zones)) for peer in peers]
        return _compare(us, them, drafts, [*odd_questions(drafts), *draw_questions(drafts, count, seed, do=signed)])


def _compare(us: Server, them: Sequence[Server], drafts: list[Draft], asked: list[Asked]) -> Outcome:
    outcome = Outcome(questions=len(asked))
    servers = [us, *them]
    world = World(drafts)
    said = [_ask_all(server, asked) for server in servers]
    over_tcp = 0
    for question, answers in zip(asked, zip(*said, strict=True), strict=True):
        whole = answers[0]
        if whole.tc and over_tcp < TCP_QUESTIONS:
            over_tcp += 1
            all_whole = [_ask_tcp(server, question) for server in servers]
            whole = all_whole[0]
            _weigh(outcome, question, servers, all_whole, whole, world, tcp=True)
            if whole.tc or whole.rcode == "silence":
                outcome.broken.append(f"{question}: over TCP {whole.show()}")
        _weigh(outcome, question, servers, answers, whole, world)
        _invariants(outcome, question, answers[0])
    outcome.questions += over_tcp
    return outcome


def _ask_all(server: Server, asked: Sequence[Asked]) -> list[Said]:
    """Ask over UDP; whoever was silent is asked once more, slowly, because a busy machine drops datagrams."""
    wires = ask_many(server.address, server.port, [question.wire for question in asked], timeout=1.0)
    silent = [at for at, wire in enumerate(wires) if wire is None]
    again = ask_many(server.address, server.port, [asked[at].wire for at in silent], window=64, timeout=0.7)
    for at, wire in zip(silent, again, strict=True):
        wires[at] = wire
    return [understand(wire) for wire in wires]


def _ask_tcp(server: Server, question: Asked) -> Said:
    try:
        return understand(ask_tcp(server.address, server.port, question.wire))
    except NoAnswerError:
        return understand(None)


def _weigh(
    outcome: Outcome,
    question: Asked,
    servers: Sequence[Server],
    answers: Sequence[Said],
    whole: Said,
    world: World,
    *,
    tcp: bool = False,
) -> None:
    ours, *theirs = answers
    where = "over TCP" if tcp else "over UDP"
    for name in FIELDS:
        mine = getattr(ours, name)
        differing = []
        for server, answer in zip(servers[1:], theirs, strict=True):
            outcome.compared += 1
            if getattr(answer, name) == mine or (name not in ("rcode", "tc") and (ours.tc or answer.tc)):
                # What stands in an answer that was cut off is not to be used (RFC 2181 section 9): not compared.
                continue
            differing.append(
                (server, answer, _explanation(Case(question, server.name, name, ours, answer, whole, tcp, world)))
            )
        others = {getattr(answer, name) for answer in theirs}
        if (
            len(differing) == len(theirs) > 1
            and len(others) == 1
            and not all(why and why.alone for *_, why in differing)
        ):
            shown = "\n".join(
                f"{server.name} says {answer.show()}" for server, answer in zip(servers, answers, strict=True)
            )
            outcome.alone.append(f"{name} of {question} {where}\n{shown}")
            continue
        for server, answer, why in differing:
            if why is None:
                both = f"{servers[0].name} says {ours.show()}\n{server.name} says {answer.show()}"
                outcome.unexplained.append(f"{name} of {question} {where}, {server.name}\n{both}")
            else:
                outcome.uses[why.name] += 1


def _explanation(case: Case) -> Explained | None:
    return next((entry for entry in EVERY_ENTRY if entry.covers(case)), None)


def _invariants(outcome: Outcome, question: Asked, answer: Said) -> None:
    """Rules for our own answer that hold whatever the peers do."""
    wire = answer.wire
    if answer.rcode.startswith("malformed"):
        outcome.broken.append(f"{question}: {answer.rcode} {wire.hex()}")
    if len(wire) < 12:
        return
    limit = max(512, min(question.payload or 512, 1232))
    if len(wire) > limit:
        outcome.broken.append(f"{question}: {len(wire)} octets where {limit} were allowed (RFC 6891 section 6.2.5)")
    if not answer.flags & 0x8000 or wire[:2] != question.wire[:2]:
        outcome.broken.append(f"{question}: not a response to it (RFC 1035 section 4.1.1)")
    if answer.flags & 0x00C0:
        outcome.broken.append(f"{question}: RA or the reserved bit is set: {answer.flags:04x}")
    if (answer.flags ^ int.from_bytes(question.wire[2:4], "big")) & 0x7900:
        outcome.broken.append(f"{question}: opcode or RD not copied (RFC 1035 section 4.1.1)")
    if answer.edns and question.payload is None:
        outcome.broken.append(f"{question}: EDNS in answer to a question without it (RFC 6891 section 7)")
    if wire[4:6] == b"\0\1":
        end = 12 + len(on_wire(question.name)) + 4
        if wire[12:end] != question.wire[12:end]:
            outcome.broken.append(f"{question}: the question is not repeated octet for octet")
