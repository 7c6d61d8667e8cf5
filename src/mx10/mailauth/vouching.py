"""Who vouches for a message: SPF for the domain of its reverse-path, and DKIM for all that signed it; as a list of
domains, and as a field Authentication-Results (RFC 8601).

A domain *vouches* for a sender if it is the domain of the reverse-path and SPF passes, or if it signed and is of the
same organization. What stands in From plays no part: reports go to the reverse-path, and somebody may well sign his own
From and forge that.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from mx10.mailauth.alignment import aligned
from mx10.mailauth.asking import Ask
from mx10.mailauth.dkim import Dkim, DkimResult, Verifier, passing
from mx10.mailauth.spf import Spf, SpfResult, check_host
from mx10.names import DomainError, ascii_text, domain_from_text

MAX_HEADER: Final = 1 << 19
"""Octets of a header; of a message with a longer one no signature is looked at."""
_ODD: Final = re.compile(r"[^A-Za-z0-9._/+=-]")
_ATOM: Final = re.compile(r"[^\x20-\x7e]|[()\\\"]")
_REASON: Final = 120


@dataclass(frozen=True, slots=True)
class Vouched:
    """What was found out.

    Attributes:
        domains: that vouch for the sender; empty: nobody does.
        field: Authentication-Results, with its line end.
    """

    spf: Spf
    dkim: tuple[Dkim, ...]
    domains: tuple[str, ...]
    field: bytes


async def vouched(
    address: bytes,
    helo: str,
    reverse_path: str,
    chunks: AsyncIterator[bytes],
    ask: Ask,
    *,
    hostname: str,
    now: int,
) -> Vouched:
    """Who vouches for a message.

    Args:
        address: of the client, 4 or 16 octets.
        helo: what it called itself.
        reverse_path: the sender; empty: nobody.
        chunks: the message as it came, header and body; lines end in CR LF.
        hostname: ours: who says so.
        now: seconds since 1970.
    """
    sender = _a_labels(reverse_path.rpartition("@")[2])
    claimed = sender or _a_labels(helo)
    local = reverse_path.rpartition("@")[0] or "postmaster"
    spf = await check_host(address, claimed, f"{local}@{claimed}", helo, ask, receiver=hostname, now=now)
    verifier = await _read(chunks, now)
    dkim = tuple(await verifier.finish(ask)) if verifier is not None else ()
    domains = []
    if sender:
        if spf.result is SpfResult.PASS:
            domains.append(sender)
        for each in passing(dkim):
            if each not in domains and await aligned(sender, each, ask):
                domains.append(each)
    return Vouched(spf, dkim, tuple(domains), results_field(hostname, spf, dkim, from_helo=not sender))


def _a_labels(text: str) -> str:
    """A domain in A-labels and lower case; empty: it is none."""
    try:
        return ascii_text(domain_from_text(text)).lower() if text else ""
    except DomainError:
        return ""


async def _read(chunks: AsyncIterator[bytes], now: int) -> Verifier | None:
    """Read a message; None: its header has no end within the limit."""
    verifier: Verifier | None = None
    head = b""
    async for chunk in chunks:
        if verifier is not None:
            verifier.feed(chunk)
            continue
        head += chunk
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n") + 2
        if end == 1:
            if len(head) > MAX_HEADER:
                return None
            continue
        verifier = Verifier(head[:end], now)
        if not verifier.wants_body:
            return verifier
        verifier.feed(head[end + 2 :])
    return verifier if verifier is not None else Verifier(head, now)


# ---------------------------------------------------------------- as a field


def results_field(hostname: str, spf: Spf, dkim: tuple[Dkim, ...], *, from_helo: bool = False) -> bytes:
    """The field Authentication-Results. All in it that somebody else wrote is made harmless.

    Args:
        from_helo: SPF looked at what the client called itself.
    """
    identity = "smtp.helo" if from_helo else "smtp.mailfrom"
    parts = [f"spf={spf.result}{_because(spf.reason)} {identity}={_value(spf.domain)}"]
    for each in dkim:
        about = [f"header.d={_value(each.domain)}"] if each.domain else []
        about += [f"header.s={_value(each.selector)}"] if each.selector else []
        about += [f'header.b="{_ODD.sub("", each.signature)}"'] if each.signature else []
        parts.append(" ".join([f"dkim={each.result}{_because(each.reason)}", *about]))
    if not dkim:
        parts.append(f"dkim={DkimResult.NONE}")
    return (
        f"Authentication-Results: {hostname}".encode() + "".join(f";\r\n\t{part}" for part in parts).encode() + b"\r\n"
    )


def _because(reason: str) -> str:
    return f" ({_ATOM.sub('?', reason)[:_REASON]})" if reason else ""


def _value(text: str) -> str:
    return _ODD.sub("?", text)[:255] or "unknown"
