"""Which recipients in the spool somebody means: for commands that look at them and those that do something to them.
Pure but for its SQL, which both databases understand."""

from dataclasses import dataclass, field
from typing import Any

from mx10.relay.values import State
from mx10.values import value_class


@value_class
class Selection:
    """All that is said has to hold; nothing said means everything.

    Attributes:
        messages: numbers of messages.
        domain: of the recipient, A-labels in lower case; with a dot before it, all below it.
        sender: the reverse-path; empty text: reports, which have none; with an @ before it, all of a domain.
        recipient: an address.
        states: of recipients.
        before: messages that came before (milliseconds since 1970).
        deferred: that were tried and are to be tried again.
    """

    messages: tuple[int, ...] = ()
    domain: str = ""
    sender: str | None = None
    recipient: str = ""
    states: tuple[State, ...] = ()
    before: int | None = None
    deferred: bool = False

    @property
    def is_everything(self) -> bool:
        """Nothing was said."""
        return self == Selection()

    def said(self) -> dict[str, Any]:
        """What was said besides names of messages, for people."""
        if self.is_everything:
            return {"all": True}
        found = {
            "domain": self.domain,
            "sender": self.sender,
            "recipient": self.recipient,
            "states": list(self.states),
            "before": self.before,
            "deferred": self.deferred,
        }
        # An empty sender is one; nothing else that is empty was said.
        return {key: value for key, value in found.items() if value or (key == "sender" and value is not None)}

    def where(self) -> tuple[str, dict[str, Any]]:
        """A condition on ``recipients r`` and ``messages m``, and its values."""
        found = _Where()
        if self.messages:
            found.add(f"r.message IN ({', '.join(str(int(each)) for each in self.messages)})")
        if self.domain.startswith("."):
            found.add("r.domain LIKE :domain ESCAPE '!'", domain=f"%{_literal(self.domain)}")
        elif self.domain:
            found.add("r.domain = :domain", domain=self.domain)
        if self.sender is not None and self.sender.startswith("@"):
            found.add("LOWER(m.reverse_path) LIKE LOWER(:sender) ESCAPE '!'", sender=f"%{_literal(self.sender)}")
        elif self.sender is not None:
            found.add(_same("m.reverse_path", "sender"), sender=self.sender)
        if self.recipient:
            found.add(_same("r.address", "recipient"), recipient=self.recipient)
            if "@" in self.recipient:
                # There is an index.
                found.add("r.domain = :at", at=self.recipient.rpartition("@")[2].lower())
        if self.states:
            found.add(f"r.state IN ({', '.join(repr(str(state)) for state in self.states)})")
        if self.before is not None:
            found.add("m.arrived_at < :before", before=self.before)
        if self.deferred:
            found.add("r.attempts > 0 AND r.state IN ('queued', 'apart')")
        return " AND ".join(found.terms) or "1 = 1", found.values


@dataclass(slots=True)
class _Where:
    terms: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, term: str, **values: Any) -> None:
        self.terms.append(term)
        self.values.update(values)


def _same(column: str, name: str) -> str:
    # The database does it with both: SQLite knows ASCII alone.
    return f"LOWER({column}) = LOWER(:{name})"


def _literal(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
