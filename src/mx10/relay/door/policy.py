"""Who may send to whom. Pure: what we take mail for comes as an argument.

Strangers may send to domains that we back up, to those that are delivered here, and to our postmaster; whoever logged
in or comes from a trusted network, to anywhere. An address that hides another behind it (``user%elsewhere@ours``,
``elsewhere!user@ours``, ``"user@elsewhere"@ours``) is refused from strangers: the host we pass it to trusts us, and
might follow it (RFC 5321 section 3.6.1 and appendix C).
"""

import unicodedata
from collections.abc import Callable, Container
from typing import Final

from mx10.relay.door.values import FOREIGN, Refused, Visitor
from mx10.smtp.replies import Reply

_HIDING: Final = frozenset("%!@|")
_ROUTED: Final = Reply.of(
    550, "5.1.3", "an address with another one behind it (%, !, @) is not taken: send it straight"
)
_LOG_IN: Final = Reply.of(530, "5.7.0", "this port is for users: log in first (AUTH)")
_NO_POSTMASTER: Final = Reply.of(550, "5.1.1", "no postmaster is set up here: relay.postmaster names one")
_LITERAL: Final = Reply.of(550, "5.1.2", "we take no mail for addresses in brackets")
_BARE: Final = Reply.of(550, "5.1.3", "write the whole address, with its domain")


class Policy:
    """What is taken.

    Args:
        names: of this host, in lower case: its postmaster is ours.
        ours: whether we take mail for a domain; None: that has to be asked for.
        postmaster: who gets mail for ours; empty: nobody.
    """

    def __init__(self, names: Container[str], ours: Callable[[str], bool | None], postmaster: str) -> None:
        self._names = names
        self._ours = ours
        self._postmaster = postmaster

    def sender(self, visitor: Visitor) -> Refused | None:
        """Whether a client may begin a message."""
        if visitor.kind != "mx" and not visitor.user:
            return Refused(_LOG_IN, "login")
        return None

    def recipient(self, visitor: Visitor, address: str, *, ours: bool | None = None) -> str | Refused | None:
        """To whom a message for an address goes here, or why not; None: whether its domain is ours has to be asked for.

        Args:
            address: as ``smtp.syntax.parse_rcpt`` gives it.
            ours: what came of asking.
        """
        local, at, domain = address.rpartition("@")
        if not at or domain in self._names:
            if (local or address).lower() == "postmaster":
                # RFC 5321 section 4.5.1: with a domain or without.
                return self._postmaster or Refused(_NO_POSTMASTER, "postmaster")
            if not at:
                return Refused(_BARE, "no-domain")
        if visitor.may_relay:
            return address
        if domain.startswith("["):
            return Refused(_LITERAL, "literal")
        # Wide forms, as U+FF05, become the same characters where somebody normalizes them.
        if not _HIDING.isdisjoint(local if local.isascii() else unicodedata.normalize("NFKC", local)):
            return Refused(_ROUTED, "routed")
        known = self._ours(domain) if ours is None else ours
        if known is None:
            return None
        return address if known else Refused(FOREIGN, "relay")
