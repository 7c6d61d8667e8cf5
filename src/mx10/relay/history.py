"""Fates as the spool keeps them: JSON in the rows of recipients (the last one) and of attempts (each)."""

import json
from collections.abc import Sequence
from typing import Any, Final

from mx10.relay.courier.values import Addressee, End, Fate, Stage, Step, Trouble
from mx10.smtp.replies import Reply

MAX_STEPS: Final = 100
"""Steps of one attempt that are kept."""
MAX_TEXT: Final = 1000
"""Characters of a text that are kept."""


def fate_to_json(fate: Fate, at: int, next_at: int | None, steps: Sequence[Step] = (), route: str = "") -> str:
    """One attempt for one recipient.

    Args:
        at: when it ended.
        next_at: when the next one is due; None: there is none, or as soon as its next hop is back.
        steps: what happened, where it was watched.
        route: the key of the next hop.
    """
    found: dict[str, Any] = {
        "at": at,
        "next_at": next_at,
        "end": fate.end.value,
        "enhanced": fate.enhanced,
        "reason": fate.reason[:MAX_TEXT],
        "advice": fate.advice[:MAX_TEXT],
        "stage": fate.stage.value,
        "reached": fate.reached,
    }
    if fate.host:
        found |= {"host": fate.host, "address": fate.address, "port": fate.port}
    if fate.reply is not None:
        lines = [line[:MAX_TEXT] for line in fate.reply.lines[:10]]
        found["reply"] = [fate.reply.code, fate.reply.enhanced, lines]
    if fate.trouble is not None:
        found["trouble"] = fate.trouble.value
    if route:
        found["route"] = route
    if steps:
        found["steps"] = [
            {
                key: value
                for key, value in (
                    ("kind", step.kind.value),
                    ("at", step.at),
                    ("text", step.text[:MAX_TEXT]),
                    ("host", step.host),
                    ("address", step.address),
                )
                if value
            }
            for step in steps[:MAX_STEPS]
        ]
    return json.dumps(found, separators=(",", ":"))


def fate_from_json(text: str, recipient: Addressee) -> Fate:
    """The fate of the last attempt; where there was none, one that says so."""
    if not text:
        return Fate(recipient, End.LATER, "4.4.7", "it was not tried yet: its next hop was not free")
    found = json.loads(text)
    reply = found.get("reply")
    return Fate(
        recipient,
        End(found["end"]),
        found["enhanced"],
        found["reason"],
        found["advice"],
        Stage(found["stage"]),
        Reply(reply[0], reply[1], tuple(reply[2])) if reply else None,
        Trouble(found["trouble"]) if "trouble" in found else None,
        found.get("host", ""),
        found.get("address", ""),
        found.get("port", 0),
        reached=found["reached"],
    )
