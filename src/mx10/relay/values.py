"""What the rooms of the relay pass to each other about messages that it has. Values only.

Times are milliseconds since 1970, UTC.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal

from mx10.smtp.syntax import Body, Ret
from mx10.values import value_class

State = Literal["queued", "held", "apart", "return"]
"""Of a recipient: to be delivered; held by somebody's command or a filter; taken without knowing whether it exists, and
tried before others; to be returned to its sender, as somebody commanded."""

_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""Base32 without l, o, 0 and 1, which look like others."""
_DIGITS: Final = {char: value for value, char in enumerate(_ALPHABET)}
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
APART: Final = '{"apart":true'
"""How the options of a recipient begin of whom nobody knows whether it exists, whatever its state is by now."""
NAME_LENGTH: Final = 13
NODES: Final = 256
"""Relays that may share a spool."""
_NODE_BITS: Final = 8
_COUNT_BITS: Final = 13


class Ids:
    """Numbers of messages: in the order in which they came, and no other relay gives the same.

    63 bits: the millisecond (42), the node (8), a counter (13). When a millisecond is used up, or the clock goes back,
    the next one is begun early.
    """

    def __init__(self, node: int, clock: Callable[[], int]) -> None:
        self._node = node << _COUNT_BITS
        self._clock = clock
        self._at = 0
        self._count = 0

    def __call__(self) -> int:
        now = self._clock()
        if now > self._at:
            self._at, self._count = now, 0
        elif self._count == (1 << _COUNT_BITS) - 1:
            self._at, self._count = self._at + 1, 0
        else:
            self._count += 1
        return self._at << (_NODE_BITS + _COUNT_BITS) | self._node | self._count


@lru_cache(maxsize=1024)  # a message is named several times while it passes
def name_of(message: int) -> str:
    """How people see a message: 13 characters."""
    pairs = _PAIRS
    return (
        _ALPHABET[message >> 60]
        + pairs[message >> 50 & 1023]
        + pairs[message >> 40 & 1023]
        + pairs[message >> 30 & 1023]
        + pairs[message >> 20 & 1023]
        + pairs[message >> 10 & 1023]
        + pairs[message & 1023]
    )


def id_of(name: str) -> int:
    """The message that people call so.

    Raises:
        ValueError: nothing is called so.
    """
    try:
        if len(name) != NAME_LENGTH:
            raise KeyError(name)
        number = 0
        for char in name.lower():
            number = number << 5 | _DIGITS[char]
    except KeyError:
        raise ValueError(f"{name[:40]!r} is no name of a message; it has {NAME_LENGTH} letters and digits") from None
    if number >= 1 << 63:
        raise ValueError(f"{name!r} is no name of a message")
    return number


_KEYS: Final = (
    "smtputf8",
    "ret",
    "envid",
    "requiretls",
    "client",
    "helo",
    "tls",
    "user",
    "vouched",
    "whole_lines",
    "tls_optional",
)
"""Of an envelope as JSON, with ``body`` and ``priority``."""


@value_class
class Envelope:
    """What is known of a message besides its content. The first fields are those of ``smtp.syntax.MailParameters``.

    Attributes:
        client: address of who brought it; empty: it was made here.
        helo: what that called itself.
        tls: how the connection was encrypted, as ``TLSv1.3 …``; empty: not.
        user: who was logged in.
        vouched: domains that SPF or DKIM vouch for, and that are aligned with the sender's.
        whole_lines: it was seen that no CR or LF stands alone in the content.
        tls_optional: its header says ``TLS-Required: No`` (RFC 8689), and its sender did not ask for REQUIRETLS.
    """

    reverse_path: str
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False
    priority: int | None = None
    client: str = ""
    helo: str = ""
    tls: str = ""
    user: str = ""
    vouched: tuple[str, ...] = ()
    whole_lines: bool = False
    tls_optional: bool = False

    def to_json(self) -> str:
        """All but the reverse-path, without what is as usual."""
        if (
            self.ret is None
            and self.envid is None
            and self.priority is None
            and not self.vouched
            and not self.tls_optional
        ):
            # The messages of one connection have this in common.
            return _common(
                self.body,
                self.smtputf8,
                self.requiretls,
                self.client,
                self.helo,
                self.tls,
                self.user,
                self.whole_lines,
            )
        return self._to_json()

    def _to_json(self) -> str:
        found: dict[str, Any] = {}
        if self.body != "7BIT":
            found["body"] = self.body
        for key in _KEYS:
            if value := getattr(self, key):
                found[key] = value
        if self.priority is not None:
            found["priority"] = self.priority
        return json.dumps(found, separators=(",", ":"))

    def fields(self) -> tuple[Any, ...]:
        """Plain values, in the order of the attributes."""
        return (
            self.reverse_path,
            self.body,
            self.smtputf8,
            self.ret,
            self.envid,
            self.requiretls,
            self.priority,
            self.client,
            self.helo,
            self.tls,
            self.user,
            self.vouched,
            self.whole_lines,
            self.tls_optional,
        )

    @classmethod
    def from_json(cls, reverse_path: str, text: str) -> "Envelope":
        """The reverse of ``to_json``."""
        # What a later version adds does not keep this one from delivering.
        found = {key: value for key, value in json.loads(text).items() if key in _KEYS or key in ("body", "priority")}
        found["vouched"] = tuple(found.get("vouched", ()))
        return cls(reverse_path, **found)


@lru_cache(maxsize=1024)
def _common(
    body: Body, smtputf8: bool, requiretls: bool, client: str, helo: str, tls: str, user: str, whole_lines: bool
) -> str:
    usual = Envelope("", body, smtputf8, None, None, requiretls, None, client, helo, tls, user, (), whole_lines)
    return usual._to_json()


@value_class
class NewRecipient:
    """A recipient of a message that is being taken. ``apart``: nobody knows whether it exists."""

    address: str
    notify: frozenset[str] | None = None
    orcpt: str | None = None
    apart: bool = False

    def options(self) -> str:
        """``apart``, ``notify`` and ``orcpt`` as JSON; empty where there are none."""
        if self.notify is None and self.orcpt is None and not self.apart:
            return ""
        found: dict[str, Any] = {"apart": True} if self.apart else {}
        if self.notify is not None:
            found["notify"] = sorted(self.notify)
        if self.orcpt is not None:
            found["orcpt"] = self.orcpt
        return json.dumps(found, separators=(",", ":"))


@value_class
class Waiting:
    """A recipient in the spool.

    Attributes:
        number: from 0, within its message.
        due_at: when it is tried next; before now: as soon as its next hop can.
        last: how the last attempt ended, as JSON (``Last``); empty: there was none.
    """

    message: int
    number: int
    address: str
    domain: str
    node: int
    state: State
    due_at: int
    attempts: int
    options: str
    last: str

    @property
    def apart(self) -> bool:
        """Nobody knew whether it exists when it was taken; it may be held by now."""
        return self.state == "apart" or self.options.startswith(APART)

    @property
    def notify(self) -> frozenset[str] | None:
        """As ``smtp.syntax.RcptParameters``."""
        found = json.loads(self.options).get("notify") if self.options else None
        return None if found is None else frozenset(found)

    @property
    def orcpt(self) -> str | None:
        """As ``smtp.syntax.RcptParameters``."""
        found: str | None = json.loads(self.options).get("orcpt") if self.options else None
        return found
