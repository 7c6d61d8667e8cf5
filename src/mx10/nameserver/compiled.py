"""Compiled answers: an answer as bytes, kept by the bytes of its question.

Two tables. ``Compiled`` is everything an answer is apart from the packet that asked: made once for a (folded) question,
and good for every client, whatever case it wrote, payload it takes or option it sends. ``AnswerCache.exact`` goes
further: a whole request, all but its id, to the whole response, all but its id; it is what the hot loop looks up. Only
requests without oddities enter it, so that mixed case (0x20) and cookies cannot fill it with copies.

Both are bounded together, by generations: when the young one is full it becomes the old one, and what is asked for
again moves back. Whoever asks for random names can push out only what nobody asked for in the meantime.
"""

from collections import defaultdict
from collections.abc import Iterable
from sys import getsizeof
from typing import Final, NamedTuple

from mx10.dns.message import write_record
from mx10.dns.rrtypes import IN, Rcode
from mx10.nameserver.answers import Entry, Reply

_ENTRY_OVERHEAD: Final = 160
"""Octets an entry takes beyond its key and value: its slots in the dictionary (at most 2/3 full) and its place in the
list of its zone.
"""
_FREED_AT_ONCE: Final = 4
"""Entries freed with each new one. To free a whole generation at once would hold up every question meanwhile."""


class Compiled(NamedTuple):
    """An answer's records as bytes, to stand behind a question of the same length.

    ``cuts`` are the places where it may end for want of room: number of additional records and octets up to there. At
    the first cut stand the records the answer cannot do without.
    """

    flags: int
    rcode: Rcode
    answers: int
    authorities: int
    tail: bytes
    cuts: tuple[tuple[int, int], ...]
    apexes: frozenset[bytes]


def compile_reply(reply: Reply, question: bytes) -> Compiled:
    """Write an answer down.

    Args:
        question: the question section, folded; the answer's names are compressed against it.
    """
    wire = bytearray(12)
    wire += question
    start = len(wire)
    offsets: dict[bytes, int] = {}
    at = 12
    while wire[at]:
        offsets[bytes(question[at - 12 : -4])] = at
        at += wire[at] + 1
    answers = _write(wire, reply.answer, offsets)
    authorities = _write(wire, reply.authority, offsets)
    additionals = _write(wire, reply.required, offsets)
    cuts = [(additionals, len(wire) - start)]
    for entry in reply.extra:
        additionals += _write(wire, [entry], offsets)
        cuts.append((additionals, len(wire) - start))
    return Compiled(
        0x8400 if reply.authoritative else 0x8000,
        reply.rcode,
        answers,
        authorities,
        bytes(wire[start:]),
        tuple(cuts),
        frozenset(reply.apexes),
    )


def _write(wire: bytearray, entries: Iterable[Entry], offsets: dict[bytes, int]) -> int:
    count = 0
    for owner, rrtype, (ttl, rdatas) in entries:
        for rdata in rdatas:
            write_record(wire, owner, rrtype, IN, ttl, rdata, offsets)
        count += len(rdatas)
    return count


class _Generation:
    """Entries of about the same age, and which of them were made from which zone."""

    __slots__ = ("by_apex", "compiled", "exact", "size")

    def __init__(self) -> None:
        self.exact: dict[bytes, bytes] = {}
        self.compiled: dict[bytes, Compiled] = {}
        self.by_apex: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self.size = 0

    def drop(self, apex: bytes) -> None:
        for key in self.by_apex.pop(apex, ()):
            self.exact.pop(key, None)
            self.compiled.pop(key, None)

    def shrink(self) -> None:
        """Free a few entries, for a generation that is not looked at any more."""
        for table in (self.exact, self.compiled, self.by_apex):
            for _ in range(min(_FREED_AT_ONCE, len(table))):
                table.popitem()


class AnswerCache:
    """The compiled answers of one worker.

    Args:
        limit: octets both tables may take together (``nameserver.answer_cache_mb``).
    """

    __slots__ = ("_dying", "_half", "_old", "_young", "exact")

    exact: dict[bytes, bytes]
    """The young generation's whole responses: request without id to response without id. Bound anew when generations
    change: do not keep it.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1 << 16)
        self._dying = _Generation()
        self._old = _Generation()
        self._young = _Generation()
        self.exact = self._young.exact

    @property
    def size(self) -> int:
        """Octets taken now, by our own count."""
        return self._young.size + self._old.size

    def __len__(self) -> int:
        return sum(len(each.exact) + len(each.compiled) for each in (self._young, self._old))

    def compiled(self, key: bytes) -> Compiled | None:
        """The compiled answer for a key made by the responder (folded question and DO bit)."""
        found = self._young.compiled.get(key)
        if found is None:
            found = self._old.compiled.get(key)
            if found is not None:
                self.keep_compiled(key, found)
        return found

    def keep_compiled(self, key: bytes, compiled: Compiled) -> None:
        """Remember a compiled answer."""
        self._account(key, getsizeof(compiled.tail) + 400, compiled.apexes)
        self._young.compiled[key] = compiled

    def keep_exact(self, request: bytes, response: bytes, apexes: Iterable[bytes]) -> None:
        """Remember the whole response to a request; both without their id."""
        self._account(request, getsizeof(response), apexes)
        self._young.exact[request] = response

    def _account(self, key: bytes, octets: int, apexes: Iterable[bytes]) -> None:
        octets += getsizeof(key) + _ENTRY_OVERHEAD
        if self._young.size + octets > self._half:
            self._dying, self._old, self._young = self._old, self._young, _Generation()
            self.exact = self._young.exact
        self._dying.shrink()
        self._young.size += octets
        for apex in apexes:
            self._young.by_apex[apex].append(key)

    def drop(self, apex: bytes) -> None:
        """Forget every answer made from a zone, and no other."""
        self._young.drop(apex)
        self._old.drop(apex)
