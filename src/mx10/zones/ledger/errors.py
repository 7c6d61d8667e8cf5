"""What the ledger refuses, each with the mend."""

from collections.abc import Sequence

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import to_text
from mx10.zones.ledger.values import ChangeSet
from mx10.zones.problems import Problem


class LedgerError(Exception):
    """A change or a question that cannot be; nothing was changed."""


class NoSuchZoneError(LedgerError):
    """The store has no such zone."""

    def __init__(self, apex: bytes) -> None:
        super().__init__(f"there is no zone {_name(apex)} in the store; `mx10 zone list` shows those there are")
        self.apex = apex


class ZoneExistsError(LedgerError):
    """The zone is there already."""

    def __init__(self, apex: bytes) -> None:
        super().__init__(f"the zone {_name(apex)} is in the store already; change it, or delete it first")
        self.apex = apex


class RuleError(LedgerError):
    """Rules of zones (docs/zone-files.md) are against it; ``problems`` has all that was found."""

    def __init__(self, apex: bytes, problems: Sequence[Problem]) -> None:
        errors = [each for each in problems if each.severity == "error"]
        said = "; ".join(f"{each.what} [{each.code}] ({each.mend})" for each in errors[:3])
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        super().__init__(f"{_name(apex)} was not changed: {said}{more}")
        self.apex = apex
        self.problems = tuple(problems)


class ConflictError(LedgerError):
    """Somebody else changed the zone meanwhile.

    ``since`` are their change sets, oldest first (None: too long ago to tell); ``both`` owner and type of the record
    sets that they and the refused change touch.
    """

    def __init__(
        self,
        apex: bytes,
        expected: int,
        serial: int,
        since: Sequence[ChangeSet] | None,
        both: Sequence[tuple[bytes, int]],
    ) -> None:
        text = f"{_name(apex)} has serial {serial}, not {expected}"
        if since is None:
            text += ", and what came between is not known"
        for each in (since or ())[-3:]:
            text += f"; {each.author} made change {each.id}" + (f" ({each.message})" if each.message else "")
        if both:
            shown = ", ".join(f"{_name(owner)} {rr.type_to_text(rrtype)}" for owner, rrtype in both[:5])
            text += f"; both touch {shown}" + (f" and {len(both) - 5} more" if len(both) > 5 else "")
        elif since:
            text += "; they touch other records than this change"
        name = _name(apex)
        super().__init__(f"{text}. See `mx10 zone diff {name} {expected}`, and change it on serial {serial}")
        self.apex = apex
        self.expected = expected
        self.serial = serial
        self.since = since
        self.both = tuple(both)


class GeneratedRecordError(LedgerError):
    """mx10 itself makes records of this type in a zone that it signs."""

    def __init__(self, apex: bytes, rrtype: int) -> None:
        word = rr.type_to_text(rrtype)
        super().__init__(
            f"{word} records of {_name(apex)} are made by mx10, which signs it; leave them to `mx10 zone keys`,"
            " or end that with `mx10 zone unsign`"
        )


class SignerMissingError(LedgerError):
    """The zone is signed, and whoever opened the ledger has no way to its keys."""

    def __init__(self, apex: bytes) -> None:
        super().__init__(
            f"{_name(apex)} is signed, and its keys cannot be read here; see that dnssec.key_file is there and may be"
            " read, or give the passphrase"
        )


class NotEditableError(LedgerError):
    """The zone is another server's; here it is only followed."""

    def __init__(self, apex: bytes, kind: str) -> None:
        super().__init__(f"{_name(apex)} is a {kind} zone: change it where it comes from, not here")


class InvalidEditError(LedgerError):
    """What shall be cannot be: outside the zone, no data of its type, or too much."""


class HistoryError(LedgerError):
    """The history does not have what was asked for."""


class RevertError(LedgerError):
    """A change cannot be undone by itself any more."""


def _name(apex: bytes) -> str:
    return to_text(apex, final_dot=False)
