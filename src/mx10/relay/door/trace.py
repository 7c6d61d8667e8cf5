"""Fields that we put before a message: where it came from, through us (RFC 5321 section 4.4), and what was found out
about it (RFC 8601). Pure."""

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from mx10.relay.door.values import Visitor

_ODD: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_MAX_NAME: Final = 255


def received(
    visitor: Visitor,
    hostname: str,
    name: str,
    now: int,
    *,
    recipient: str = "",
    utf8: bool = False,
    priority: int | None = None,
) -> bytes:
    """The Received field of a message that just came.

    Args:
        name: of the message.
        now: milliseconds since 1970.
        recipient: shown where it is the only one: of several, none shall learn of the others.
        utf8: the message came with SMTPUTF8.
        priority: the message's (RFC 6710); None: it has none.
    """
    tls = f"\r\n\t({visitor.tls})" if visitor.tls else ""
    shown = f"\r\n\tfor <{recipient}>" if recipient and (recipient.isascii() or utf8) else ""
    urgency = "" if priority is None else f"\r\n\tPRIORITY {priority}"
    text = (
        f"{_from(visitor.helo, visitor.name, visitor.text)}"
        f"\tby {hostname} with {_protocol(visitor, utf8)} id {name}{tls}{shown}{urgency};\r\n"
        f"\t{date(now // 1000)}\r\n"
    )
    return text.encode()


@lru_cache(maxsize=4096)  # the same for all messages of a connection
def _from(helo: str, name: str, address: str) -> str:
    """Whom it came from."""
    helo = _ODD.sub("?", helo)[:_MAX_NAME] or "unknown"
    literal = f"IPv6:{address}" if ":" in address else address
    return f"Received: from {helo} ({f'{name} ' if name else ''}[{literal}])\r\n"


def _protocol(visitor: Visitor, utf8: bool) -> str:
    """RFC 3848, RFC 6531 section 4.3."""
    if not visitor.esmtp:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if visitor.tls else "") + ("A" if visitor.user else "")


@lru_cache(maxsize=4)
def date(seconds: int) -> str:
    """As RFC 5322 section 3.3 writes it. The same for all messages of a second."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def no_results(hostname: str) -> bytes:
    """Says that nothing was looked into (RFC 8601 section 2.2)."""
    return f"Authentication-Results: {hostname}; none\r\n".encode()
