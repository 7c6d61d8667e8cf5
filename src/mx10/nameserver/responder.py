"""From request bytes to response bytes: everything a nameserver decides about a packet, and no socket.

The hot loop asks ``cache.exact`` first and comes here on a miss; streams come here always. What may go wrong with a
request has its answer in ``mx10.dns.question``; what stands in the zones is found by ``answers``.
"""

from collections.abc import Collection, Iterable
from struct import Struct
from typing import Final

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, AD, CD, QR, RD, TC, Edns, encode_opt
from mx10.dns.question import Query, Refused, read_question
from mx10.dns.wirename import from_text, parent
from mx10.logs import get_logger
from mx10.nameserver.answers import answer
from mx10.nameserver.compiled import AnswerCache, Compiled, compile_reply
from mx10.nameserver.cookies import Cookies
from mx10.nameserver.counters import Counters
from mx10.nameserver.relay import Relay, is_operation
from mx10.nameserver.table import NotServedError, ZoneTable

EDNS_NSID: Final = 3
"""Option code of the name server identifier (RFC 5001)."""
EDNS_COOKIE: Final = 10
"""Option code of a cookie (RFC 7873)."""
EDNS_EDE: Final = 15
"""Option code of the extended DNS error (RFC 8914)."""
MAX_TCP: Final = 0xFFFF
_MOST_OVER_TCP: Final = MAX_TCP - 12 - 259 - 300
"""Octets of records that fit into a message with any question and any OPT record of ours."""
_WORTH_KEEPING: Final = 1500
"""Octets of records: to write more of them down costs more than ten ordinary answers."""

_HEADER: Final = Struct("!6H")
_NO_RECORDS: Final = (b"\0\0\0\0\0\0", b"\0\0\0\0\0\1")
# Types that ask for an operation and not for data: which response code says that we do not do it (RFC 8906 section
# 3.1.3 wants a code, never silence). Transfers are refused rather than unimplemented: the client must not retry them
# here.
_META_TYPES: Final = {
    rr.OPT: (rr.Rcode.FORMERR, None),
    rr.TSIG: (rr.Rcode.FORMERR, None),
    rr.TKEY: (rr.Rcode.REFUSED, rr.Ede.NOT_SUPPORTED),
    rr.AXFR: (rr.Rcode.REFUSED, rr.Ede.PROHIBITED),
    rr.IXFR: (rr.Rcode.REFUSED, rr.Ede.PROHIBITED),
    rr.MAILA: (rr.Rcode.NOTIMP, rr.Ede.NOT_SUPPORTED),
    rr.MAILB: (rr.Rcode.NOTIMP, rr.Ede.NOT_SUPPORTED),
}
# Over UDP one record set answers for all of the name's (RFC 8482): nobody gets a large answer for a small question.
_BRIEF_OVER_UDP: Final = frozenset({rr.ANY, rr.RRSIG})

log = get_logger("nameserver")


class Responder:
    """Answers requests over one set of zones.

    Args:
        table: the zones.
        settings: sizes, and what the server tells about itself.
        relay: the way to the steward, for what is more than a question; without one that is refused.
        cookies: what is done about cookies; without it they are ignored.
    """

    __slots__ = (
        "_cache_size",
        "_chaos",
        "_do_opt",
        "_faults",
        "_limit",
        "_nsid",
        "_opt",
        "_require_cookies",
        "cache",
        "cookies",
        "counters",
        "proven",
        "relay",
        "table",
    )

    proven: bool
    """Whether the request just answered came with a good cookie."""

    def __init__(
        self,
        table: ZoneTable,
        settings: NameserverSettings,
        relay: Relay | None = None,
        cookies: Cookies | None = None,
    ) -> None:
        self.table = table
        self.relay = relay
        self.cookies = cookies
        self.counters = Counters()
        self.proven = False
        self._require_cookies = settings.require_cookies and cookies is not None
        self._cache_size = settings.answer_cache_mb << 20
        self.cache = AnswerCache(self._cache_size)
        self._faults = 0
        self._limit = settings.edns_payload
        self._opt = encode_opt(Edns(self._limit))
        self._do_opt = encode_opt(Edns(self._limit, do=True))
        self._nsid = settings.nsid.encode()
        self._chaos = _chaos_records(settings)

    def put_zone(self, apex: bytes, packed: bytes) -> None:
        """Add or replace a zone, and forget the answers this makes stale: its own; for a new zone, also those of the
        zone around it, and of chains that left our zones.
        """
        if apex not in self.table:
            self._drop_around(apex)
        self.table.put(apex, packed)
        self.cache.drop(apex)

    def remove_zone(self, apex: bytes) -> None:
        """Take a zone away, and the answers made from it."""
        self.table.remove(apex)
        self.cache.drop(apex)

    def store_moved(self, apexes: Iterable[bytes] | None, new: Collection[bytes]) -> None:
        """Forget the answers that changes in the store make stale.

        Args:
            apexes: zones that changed; None: nobody knows which.
            new: those among them that were not there before.
        """
        if apexes is None:
            self.cache = AnswerCache(self._cache_size)
            return
        for apex in apexes:
            if apex in new:
                self._drop_around(apex)
            self.cache.drop(apex)

    def _drop_around(self, apex: bytes) -> None:
        around = self.table.apex_of(parent(apex)) if apex != b"\0" else None
        if around is not None:
            self.cache.drop(around)
        self.cache.drop(b"")

    def udp(self, packet: bytes, address: bytes = b"") -> bytes | None:
        """The response to a datagram, or None where silence is right.

        A response is at most 512 octets long, or as many as both sides named by EDNS (RFC 6891 section 6.2.5); what
        does not fit has the TC bit.

        Args:
            address: the client's IP address, 4 or 16 octets; without it, it gets no cookie.
        """
        self.proven = False
        exact = self.cache.exact.get(packet[2:])
        if exact is not None:
            self.counters.hits((exact,), full=False)
            return packet[:2] + exact
        if self.relay is not None and is_operation(packet):
            return None  # whoever has the socket hands it in
        return self._respond_whatever_happens(packet, address, udp=True)

    def tcp(self, message: bytes, address: bytes = b"") -> bytes | None:
        """The response to a message from a stream, without its length; at most 65535 octets. What is the steward's is
        to be handed in before (``relay.is_operation``)."""
        self.counters.tcp += 1
        return self._respond_whatever_happens(message, address, udp=False)

    def short(self, packet: bytes, address: bytes) -> bytes | None:
        """What is sent instead of a response beyond the rate limit: no longer than the request but for a cookie. Who
        asked with a cookie gets a good one (RFC 7873 section 5.2.3), others the TC bit."""
        query = read_question(packet)
        if not isinstance(query, Query):
            return None
        cookie = self._cookie(query, address)
        return self._send_for_cookie(cookie[0]) if cookie is not None else None

    def _respond_whatever_happens(self, packet: bytes, address: bytes, udp: bool) -> bytes | None:
        """The response, which is SERVFAIL where we have a fault: it must not take the rest of a batch, or a stream,
        with it.
        """
        try:
            return self._respond(packet, address, udp)
        except Exception:
            # Whoever found the fault can send the packet again and again; the log needs it once in a while.
            self._faults += 1
            if self._faults & (self._faults - 1) == 0:
                log.exception(
                    "a fault of ours: the question gets SERVFAIL; please report it",
                    request=packet[:512].hex(),
                    faults=self._faults,
                )
            self.counters.count(0, rr.Rcode.SERVFAIL)
            flags = QR | rr.Rcode.SERVFAIL | int.from_bytes(packet[2:4], "big") & (0x7800 | RD | CD)
            return packet[:2] + flags.to_bytes(2, "big") + bytes(8)

    def _respond(self, packet: bytes, address: bytes, udp: bool) -> bytes | None:
        query = read_question(packet)
        if query is None:
            return None
        self.counters.misses += 1
        if isinstance(query, Refused):
            return self._refuse(query)
        if query.options or self._require_cookies:
            cookie = self._cookie(query, address)
            if cookie is None:
                return self._refuse(Refused(query.id, query.flags, rr.Rcode.FORMERR, query.question, edns=True))
            query, self.proven = cookie
            self.counters.proven += self.proven
            if self._require_cookies and udp and address and not self.proven:
                return self._send_for_cookie(query)
        refusal = _META_TYPES.get(query.type)
        if refusal is not None:
            return self._refuse_query(query, *refusal)
        if query.klass != rr.IN:
            return self._answer_chaos(query, udp)
        # Only the plainest form of a question earns a whole response of its own: there are few such forms of each.
        plain = udp and not query.options and not query.flags & ~(RD | AD | CD) and query.question[:-4] == query.name
        if plain and (older := self._older(packet[2:], query)) is not None:
            self.counters.hits((older,), full=False)
            return packet[:2] + older
        try:
            compiled = self._compiled(query, udp, keep=not plain)
        except NotServedError:
            return self._refuse_query(query, rr.Rcode.SERVFAIL, rr.Ede.NOT_READY)
        if compiled is None:
            return self._refuse_query(query, rr.Rcode.REFUSED, rr.Ede.NOT_AUTHORITATIVE)
        response = self._write(query, compiled, udp)
        if plain:
            self.cache.keep_exact(packet[2:], response[2:], compiled.apexes)
        return response

    def _cookie(self, query: Query, address: bytes) -> tuple[Query, bool] | None:
        """The query with the cookie to send back, and whether it came with a good one; None where its own is not
        well-formed."""
        for code, value in query.options if self.cookies is not None and address else ():
            if code == EDNS_COOKIE:
                cookie = self.cookies.read(value, address) if self.cookies is not None else None
                return (query._replace(cookie=cookie.option), cookie.proven) if cookie is not None else None
        return query, False

    def _send_for_cookie(self, query: Query) -> bytes:
        """A response that only says: come again with this cookie, or else by TCP."""
        if query.cookie:
            self.counters.bad_cookies += 1
            return self._refuse_query(query, rr.Rcode.BADCOOKIE)
        self.counters.truncated += 1
        return self._refuse_query(query, rr.Rcode.NOERROR, flags=TC)

    def _older(self, request: bytes, query: Query) -> bytes | None:
        """The response that is remembered from a while ago, remembered anew."""
        older = self.cache.older(request)
        # A DS set is the one thing that does not come from the zone its name is in.
        apex = self.table.apex_of(query.name) if older is not None and query.type != rr.DS else None
        if older is None or apex is None:
            return None
        self.cache.keep_exact(request, older, (apex,))
        return older

    def _compiled(self, query: Query, udp: bool, keep: bool) -> Compiled | None:
        """The compiled answer, made now if need be; None for a name in no zone of ours."""
        # Only the name is folded: the octets of the type may be letters too (65 is HTTPS, and "A").
        question = query.name + query.question[-4:]
        brief = udp and query.type in _BRIEF_OVER_UDP
        key = question + (b"\1" if query.do else b"\0") + (b"u" if brief else b"")
        compiled = self.cache.compiled(key)
        if compiled is None:
            reply = answer(self.table, query.name, query.type, dnssec=query.do, whole=not udp)
            if reply is None:
                return None
            compiled = compile_reply(reply, question)
            if not udp and query.type in _BRIEF_OVER_UDP and compiled.cuts[0][1] > _MOST_OVER_TCP:
                # All of them do not fit into any message; one does.
                reply = answer(self.table, query.name, query.type, dnssec=query.do)
                compiled = compiled if reply is None else compile_reply(reply, question)
            # One that was much work is kept in any case: the client may ask in thousands of forms, each plain.
            if keep or len(compiled.tail) > _WORTH_KEEPING:
                self.cache.keep_compiled(key, compiled)
        return compiled

    def _write(self, query: Query, compiled: Compiled, udp: bool) -> bytes:
        opt = self._opt_for(query)
        limit = (min(query.payload, self._limit) if query.edns else 512) if udp else MAX_TCP
        room = limit - 12 - len(query.question) - len(opt)
        flags = compiled.flags | compiled.rcode | query.flags & (RD | CD)
        self.counters.count(query.type, compiled.rcode)
        for additionals, length in reversed(compiled.cuts):
            if length <= room:
                counts = (compiled.answers, compiled.authorities, additionals + bool(opt))
                return _HEADER.pack(query.id, flags, 1, *counts) + query.question + compiled.tail[:length] + opt
        self.counters.truncated += 1
        # Part of an answer misleads; none at all, with TC, sends the client to TCP and gives an attacker nothing to
        # amplify.
        return _HEADER.pack(query.id, flags | TC, 1, 0, 0, bool(opt)) + query.question + opt

    def _opt_for(self, query: Query, why: rr.Ede | None = None, rcode: int = 0) -> bytes:
        """The OPT record of a response: only where the request had one (RFC 6891 section 6.1.1), its DO bit copied (RFC
        3225 section 3).

        Args:
            why: goes along as an extended error, a number without text: six octets.
            rcode: the whole response code, of which the record carries the upper bits.
        """
        if not query.edns:
            return b""
        nsid = self._nsid and any(code == EDNS_NSID for code, _ in query.options)
        if not nsid and why is None and not query.cookie and rcode <= 0xF:
            return self._do_opt if query.do else self._opt
        options: tuple[tuple[int, bytes], ...] = ((EDNS_NSID, self._nsid),) if nsid else ()
        if query.cookie:
            options += ((EDNS_COOKIE, query.cookie),)
        if why is not None:
            options += ((EDNS_EDE, why.to_bytes(2, "big")),)
        return encode_opt(Edns(self._limit, do=query.do, options=options), rcode)

    def _refuse_query(self, query: Query, rcode: rr.Rcode, why: rr.Ede | None = None, flags: int = 0) -> bytes:
        opt = self._opt_for(query, why, rcode)
        flags |= QR | rcode & 0xF | query.flags & (RD | CD)
        self.counters.count(query.type, rcode)
        return (
            query.id.to_bytes(2, "big")
            + flags.to_bytes(2, "big")
            + b"\0\1"
            + _NO_RECORDS[bool(opt)]
            + query.question
            + opt
        )

    def _refuse(self, request: Refused) -> bytes:
        """A response code alone. The upper bits of an extended one, BADVERS, go into the OPT record."""
        self.counters.count(0, request.rcode)
        opt = b""
        if request.edns:
            why = rr.Ede.NOT_SUPPORTED.to_bytes(2, "big") if request.rcode == rr.Rcode.NOTIMP else b""
            opt = encode_opt(Edns(self._limit, options=((EDNS_EDE, why),) if why else ()), request.rcode)
        flags = QR | request.flags & (0x7800 | RD | CD) | request.rcode & 0xF
        count = b"\0\1" if request.question else b"\0\0"
        return (
            request.id.to_bytes(2, "big")
            + flags.to_bytes(2, "big")
            + count
            + _NO_RECORDS[bool(opt)]
            + request.question
            + opt
        )

    def _answer_chaos(self, query: Query, udp: bool) -> bytes:
        """What the server tells of itself in class CH (RFC 4892), if the configuration says so; other classes are
        refused.
        """
        text = self._chaos.get(query.name) if query.klass == rr.CH else None
        if text is None or query.type not in (rr.TXT, rr.ANY):
            return self._refuse_query(query, rr.Rcode.REFUSED, rr.Ede.NOT_AUTHORITATIVE)
        record = b"\xc0\x0c" + _HEADER.pack(rr.TXT, rr.CH, 0, 0, len(text) + 1, 0)[:10] + bytes((len(text),)) + text
        compiled = Compiled(QR | AA, rr.Rcode.NOERROR, 1, 0, record, ((0, len(record)),), frozenset())
        return self._write(query, compiled, udp)


def _chaos_records(settings: NameserverSettings) -> dict[bytes, bytes]:
    """Name to text of the class CH records that are switched on."""
    texts = {"version.bind": settings.version, "version.server": settings.version}
    texts |= {"id.server": settings.nsid, "hostname.bind": settings.nsid}
    return {from_text(name): text.encode()[:255] for name, text in texts.items() if text}
