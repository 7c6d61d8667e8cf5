"""Compiled answers: an answer as bytes, kept by the bytes of its question.

Two tables. ``exact`` leads from a whole request, all but its id, to the whole response, all but its id; it is what the
hot loop looks up. Only requests without oddities enter it. For the others (mixed case, cookies) there is ``Compiled``:
all of an answer apart from the packet that asked, made once for a folded question and good for every client.

Both are bounded together, by generations: when the young one is full it becomes the old one, and what is asked for
again moves back. Whoever asks for random names can push out only what nobody asked for in the meantime.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from sys import getsizeof
from typing import Final, NamedTuple

from mx10.dns.message import write_record
from mx10.dns.rrtypes import IN, RRSIG, Rcode
from mx10.nameserver.answers import Entry, Reply

_ENTRY_OVERHEAD: Final = 120
"""Octets an entry takes beyond its key and value: its slot in the dictionary (which is at least a third full) and in
the list of its zone.
"""
_LIST_OVERHEAD: Final = 240
"""Octets the list of a zone takes, with its slot in the dictionary of lists."""
_COMPILED_OVERHEAD: Final = 500
"""Octets a ``Compiled`` takes beyond its tail."""
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
        if entry[1] == RRSIG:
            cuts.pop()  # A record set goes with its signatures or not at all (RFC 4035 section 3.1.1).
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

    __slots__ = ("by_apex", "compiled", "exact", "size", "woven")

    def __init__(self) -> None:
        self.exact: dict[bytes, bytes] = {}
        self.compiled: dict[bytes, Compiled] = {}
        self.by_apex: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self.woven: set[bytes] = set()
        """Requests whose response was made from several zones."""
        self.size = 0

    def drop(self, apex: bytes) -> None:
        for key in self.by_apex.pop(apex, ()):
            self.exact.pop(key, None)
            self.compiled.pop(key, None)
            self.woven.discard(key)

    def shrink(self) -> None:
        """Free a few entries, for a generation that is not looked at any more."""
        for table in (self.exact, self.compiled, self.by_apex):
            for _ in range(min(_FREED_AT_ONCE, len(table))):
                table.popitem()
        for _ in range(min(_FREED_AT_ONCE, len(self.woven))):
            self.woven.pop()


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
        self._account(key, getsizeof(compiled.tail) + _COMPILED_OVERHEAD, compiled.apexes)
        self._young.compiled[key] = compiled

    def older(self, request: bytes) -> bytes | None:
        """The response to a request (both without id) that the old generation remembers, if it was made from the one
        zone that the name is in; ``keep_exact`` makes it young again."""
        return None if request in self._old.woven else self._old.exact.get(request)

    def keep_exact(self, request: bytes, response: bytes, apexes: Collection[bytes]) -> None:
        """Remember the whole response to a request; both without their id."""
        self._account(request, getsizeof(response), apexes)
        self._young.exact[request] = response
        if len(apexes) > 1:
            self._young.woven.add(request)

    def _account(self, key: bytes, octets: int, apexes: Iterable[bytes]) -> None:
        octets += getsizeof(key) + _ENTRY_OVERHEAD
        if self._young.size + octets > self._half:
            self._dying, self._old, self._young = self._old, self._young, _Generation()
            self.exact = self._young.exact
        self._dying.shrink()
        by_apex = self._young.by_apex
        for apex in apexes:
            keys = by_apex[apex]
            if not keys:
                octets += _LIST_OVERHEAD
            keys.append(key)
        self._young.size += octets

    def drop(self, apex: bytes) -> None:
        """Forget every answer made from a zone, and no other."""
        self._young.drop(apex)
        self._old.drop(apex)
