"""What the verbs about keys share: opening the keeper of keys, and how a zone's keys are shown."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mx10.cli.context import Context
from mx10.cli.text import Style, width
from mx10.cli.zone.opening import EXIT_CODES, opened

if TYPE_CHECKING:
    from mx10.zones.dnssec.explain import Stage
    from mx10.zones.dnssec.keeping import Keeper, Outcome, Status

_MARKS: Final = {"done": "●", "now": "◐", "later": "○"}
_LOOKS: Final = {"done": "green", "now": "yellow", "later": "dim"}


def add_message(parser: argparse.ArgumentParser) -> None:
    """The option of verbs that change something, where no rule could be overridden."""
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="why; kept with the change")
    parser.set_defaults(force=False)
    parser.epilog = EXIT_CODES


@contextmanager
def keeping(context: Context) -> "Iterator[Keeper]":
    """The keeper of the zones' keys; what goes wrong becomes a ``NotDoneError``."""
    with opened(context) as ledger:
        from mx10.zones.dnssec.opening import keeper_of

        yield keeper_of(ledger, context.config)


def show(apex: bytes, status: "Status", style: Style) -> Iterator[str]:
    """How the keys of a zone stand, as lines."""
    from mx10.names import display
    from mx10.zones.dnssec.explain import does, headline, parent, reason, stages, when
    from mx10.zones.dnssec.policy import ALGORITHMS

    zone, plan = status.kept.zone, status.plan
    yield f"{style.paint(display(apex), 'bold')}: {headline(zone, status.policy)}"
    yield f"parent: {parent(zone)}"
    for key in zone.keys:
        yield ""
        name = ALGORITHMS.get(key.algorithm, str(key.algorithm))
        yield f"{style.paint(f'{key.role} {key.tag}', 'bold')} ({name}): {', '.join(does(zone, key))}"
        if key.why:
            yield f"  to go: {key.why}" + ("; others may have it, so caches are not waited for" * key.compromised)
        yield from drawing(stages(zone, key), style)
    if plan.steps:
        yield ""
        yield "due now; `mx10 serve` does it within a minute:"
        yield from (f"  {step}" for step in plan.steps)
    if plan.waits:
        yield ""
        yield "waiting:"
        for wait in plan.waits:
            yield f"  {wait.step}"
            yield f"    {when(wait, status.now)}: {reason(plan.zone, wait)}"
    elif not plan.steps:
        yield ""
        yield "nothing is waited for" if not zone.paused else "no step is taken: `mx10 zone keys … --resume` goes on"


def drawing(found: "list[Stage]", style: Style) -> list[str]:
    """The stages of a key's life from left to right, and below each when it was reached."""
    from mx10.zones.dnssec.explain import moment

    first, second = "  ", "  "
    for number, stage in enumerate(found):
        text = f"{_MARKS[stage.reached]} {stage.name}"
        below = "  " + (moment(stage.at).removesuffix(" UTC") if stage.at is not None else "")
        first += style.paint(text, _LOOKS[stage.reached])
        second += below
        if number < len(found) - 1:
            columns = max(width(text), width(below))
            line = "━" if found[number + 1].reached == "done" else "╌"
            first += f" {line * (columns - width(text) + 2)} "
            second += " " * (columns - width(below) + 4)
    return [first, second.rstrip()]


def tell_steps(apex: bytes, outcome: "Outcome") -> None:
    """Say what was done with a zone's keys, and what is waited for."""
    import time

    from mx10.names import display
    from mx10.zones.dnssec.explain import reason, when

    name = display(apex)
    for step in outcome.plan.steps:
        print(f"{name}: {step}")
    now = int(time.time())
    for wait in outcome.plan.waits:
        print(f"{name}: then {wait.step}, {when(wait, now)} ({reason(outcome.plan.zone, wait)})")
    if outcome.change is not None:
        print(f"{name} has serial {outcome.change.serial_after} (change {outcome.change.id})")
    elif not outcome.plan.steps:
        print(f"{name}: nothing to change")
