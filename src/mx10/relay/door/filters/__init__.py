"""Filters that look at whole messages before they are kept: whoever speaks the milter protocol, and Rspamd.

``Filters.judge`` is a judge of the door. Each filter sees what those before it left.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from mx10.logs import get_logger
from mx10.relay.courier.values import Content
from mx10.relay.door.door import Judged
from mx10.relay.door.filters.edits import Edited, apply, split
from mx10.relay.door.filters.milter import Milter
from mx10.relay.door.filters.rspamd import Rspamd
from mx10.relay.door.filters.values import Filter, FilterError, Verdict
from mx10.relay.door.values import Visitor
from mx10.relay.spool.bodies import InMemory
from mx10.relay.values import Envelope, NewRecipient
from mx10.smtp.replies import Reply

__all__ = ["FilterSyntaxError", "Filters", "parse_filters"]

AT_ONCE: Final = 100
"""Messages that one filter is asked about at the same time; others wait, and that counts as its time."""
MAX_FILTERS: Final = 10
MAX_RECIPIENTS: Final = 1000
"""Recipients that filters may add to a message."""
_OUT_OF_ORDER: Final = Reply.of(451, "4.7.1", "a filter here is out of order; send the message again later")

log = get_logger("relay")


class FilterSyntaxError(ValueError):
    """A line of ``door.filters`` cannot be used: which, what is wrong, and the mend."""


def parse_filters(lines: Sequence[str], hostname: str, seconds: float) -> list[Filter]:
    """The filters of ``door.filters``.

    Raises:
        FilterSyntaxError: a line cannot be used.
    """
    if len(lines) > MAX_FILTERS:
        raise FilterSyntaxError(f"door.filters: {len(lines)} filters; there may be {MAX_FILTERS}")
    return [_parse(line.strip(), hostname, seconds) for line in lines]


def _parse(line: str, hostname: str, seconds: float) -> Filter:
    kind, _, place = line.partition(":")
    if kind == "milter" and place.startswith("/"):
        return Milter(line, place, hostname)
    try:
        if kind == "milter":
            parts = urlsplit(f"//{place}")
            if parts.hostname and parts.port and not (parts.path or parts.username):
                return Milter(line, (parts.hostname, parts.port), hostname)
        if kind == "rspamd":
            parts = urlsplit(place)
            if parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment):
                assert parts.port is None or parts.port
                return Rspamd(line, place, hostname, seconds)
    except (ValueError, AssertionError):
        pass
    raise FilterSyntaxError(
        f"door.filters: {line[:80]!r}: write milter:127.0.0.1:8891, milter:/run/opendkim/opendkim.sock or"
        " rspamd:http://127.0.0.1:11333"
    )


class Filters:
    """Asks filters, one after the other, each about what the one before left.

    Args:
        seconds: for each of them.
        accept: take messages where a filter is out of order; else they are to come again.

    Attributes:
        counts: failures of filters, ``filter-failed`` and a name, for the metrics. May be shared.
    """

    def __init__(self, filters: Sequence[Filter], seconds: float, *, accept: bool) -> None:
        self._filters = [(each, asyncio.Semaphore(AT_ONCE)) for each in filters]
        self._seconds = seconds
        self._accept = accept
        self.counts: Counter[tuple[str, str]] = Counter()

    async def judge(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Judged:
        """What they say, all together; the first that refuses, refuses.

        Raises:
            OSError: the message cannot be read.
        """
        before = envelope.reverse_path, tuple(recipients), content
        held = ""
        for each, room in self._filters:
            try:
                async with asyncio.timeout(self._seconds), room:
                    verdict = await each.judge(visitor, envelope, recipients, content)
                    if verdict.reply is not None:
                        return Judged(verdict.reply)
                    if verdict.discarded:
                        return Judged(discarded=True)
                    content, recipients = await _changed(content, verdict), _recipients(recipients, verdict)
            except (FilterError, OSError, TimeoutError) as error:
                cause = f"no answer in {self._seconds:g} s" if isinstance(error, TimeoutError) else str(error)
                self.counts["filter-failed", each.name] += 1
                log.error("a filter is out of order", filter=each.name, cause=cause, taken=self._accept)
                if not self._accept:
                    return Judged(_OUT_OF_ORDER)
                continue
            held = held or verdict.held
            if verdict.sender is not None:
                envelope = replace(envelope, reverse_path=verdict.sender)
            if not recipients:
                return Judged(discarded=True)  # a filter took them all away
        return Judged(
            held=held,
            content=None if content is before[2] else content,
            reverse_path=None if envelope.reverse_path == before[0] else envelope.reverse_path,
            recipients=None if tuple(recipients) == before[1] else tuple(recipients),
        )

    async def close(self) -> None:
        """Ask no more."""
        for each, _ in self._filters:
            await each.close()


async def _changed(content: Content, verdict: Verdict) -> Content:
    """A message as a filter wants it."""
    if not verdict.edits and verdict.body is None:
        return content
    fields, skip = await split(content)
    fields = apply(fields, verdict.edits)
    if verdict.body is not None:
        return InMemory(b"".join(fields) + b"\r\n" + verdict.body)
    return Edited(fields, content, skip)


def _recipients(recipients: Sequence[NewRecipient], verdict: Verdict) -> Sequence[NewRecipient]:
    if not verdict.added and not verdict.removed:
        return recipients
    gone = {each.lower() for each in verdict.removed}
    left = [each for each in recipients if each.address.lower() not in gone]
    here = {each.address for each in left}
    new = [each for each in dict.fromkeys(verdict.added) if each not in here]
    if len(new) > MAX_RECIPIENTS:
        raise FilterError(f"it adds more than {MAX_RECIPIENTS} recipients")
    # Nobody asked for reports about those: the sender does not know them (RFC 3461 section 5.2.7).
    return [*left, *(NewRecipient(each, frozenset()) for each in new)]
