"""What is known of a recipient, and who said it. Values only; times are milliseconds since 1970, UTC."""

from enum import StrEnum

from mx10.values import value_class


class Verdict(StrEnum):
    """Whether a recipient exists."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNSURE = "unsure"
    """Nobody can say now: its primary is down, or gave no answer that is about the recipient."""
    BUSY = "busy"
    """Too many are being asked about already; a moment later is fine. Nothing is known of this one."""


class Source(StrEnum):
    """Who said it."""

    RULE = "rule"
    """`any`: every address of the domain counts as known."""
    LIST = "list"
    PATTERN = "pattern"
    SQL = "sql"
    CALL = "call"
    """The primary was asked."""
    DELIVERY = "delivery"
    """The primary took, or refused, a message for it."""
    GIVEN = "given"
    """Somebody named it to `mx10 backup`, and the primary could not be asked then."""
    MAILBOX = "mailbox"
    """It is delivered here: there is a Maildir for it, or a webhook takes it."""
    TAKES_ALL = "takes-all"
    """The primary takes every address, even one that was made up."""


@value_class
class Answer:
    """What is known of a recipient. ``why``: a sentence or less, for people and for replies."""

    verdict: Verdict
    why: str
    source: Source


@value_class
class Known:
    """One row of the memory.

    Attributes:
        local: the local part as it was asked for; empty: what is known of the domain, ``known`` means then that its
            primary takes every address.
        reply: what the primary said.
        at: when that was.
        expires_at: from then on it is as if it had never been known.
    """

    domain: str
    local: str
    known: bool
    reply: str
    source: Source
    at: int
    expires_at: int
