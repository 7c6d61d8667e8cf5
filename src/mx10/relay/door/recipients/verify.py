"""Whether a recipient exists, whoever knows it: a rule, a list, a pattern, a database, what is remembered, or its
primary; and what the door does about it.

While a primary is up it is asked, and what it says is remembered: that a recipient exists for 30 days, that it does not
for two hours (both are settings). Who is known is asked for again each day, whether mail comes or not, so that we still
know when the primary is down. One who is not known then is taken and kept apart: neither refused, which may be wrong,
nor returned to a sender who may be forged.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Final

from mx10.config.settings import RecipientSettings
from mx10.logs import get_logger
from mx10.relay.courier.values import End, Fate
from mx10.relay.door.recipients.asking import CallAhead, Heard, verdict_of
from mx10.relay.door.recipients.lists import AddressList, read_list
from mx10.relay.door.recipients.memory import Memory
from mx10.relay.door.recipients.query import Query, QueryBusyError, QueryFailedError
from mx10.relay.door.recipients.rules import Rule, RuleError, Rules
from mx10.relay.door.recipients.values import Answer, Known, Source, Verdict
from mx10.relay.door.values import Admitted, Refused, Visitor
from mx10.relay.values import NewRecipient
from mx10.smtp.replies import Reply
from mx10.store.connect import Store
from mx10.store.errors import StoreError

log = get_logger("recipients")

WRITE_SECONDS: Final = 1.0
"""How often what was learned is written."""
TIDY_MS: Final = 60_000
"""How often what expired is removed, and those looked for who are to be asked for again."""
ROUNDS: Final = 24
"""How often, in ``recipients.refresh_hours``, the table is gone through for those who are to be asked for again."""
PIECE: Final = 500
"""Recipients of one round of asking again."""
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
_WHY: Final = 160
"""Characters of what somebody said that stand in a reply of ours."""
_ADDRESS: Final = 120
_UNREAD: Final = "the list of its domain's recipients cannot be read"


def check_files(rules: Rules) -> None:
    """See that the files of some rules can be used. Databases are not asked.

    Raises:
        RuleError: one of them cannot.
    """
    for path in rules.lists:
        read_list(path)
    for path in rules.queries:
        Query(path).close()


class Recipients:
    """Who knows the recipients of the domains we take mail for. Begin with ``verify``; ``run`` keeps it current.

    Args:
        settings: section ``[recipients]``.
        rules: of the settings, read by ``parse_rules``.
        store: with the table ``known_recipients``.
        call: asks primaries; None: nobody is asked, and only what is remembered counts.
        clock: milliseconds since 1970.
        ours: whether we take mail for a domain, None: not known yet; of others, recipients are not asked for.
        tidied_at: when that was done last, milliseconds since 1970: several doors do not do it all at once.

    A file of a rule that cannot be used is told in the log, and nobody can say who is in it: mail for others goes on.
    ``check_files`` finds it before the relay starts.
    """

    def __init__(
        self,
        settings: RecipientSettings,
        rules: Rules,
        store: Store,
        call: CallAhead | None,
        *,
        clock: Callable[[], int],
        ours: Callable[[str], bool | None] = lambda _: True,
        tidied_at: int = 0,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._call = call
        self._clock = clock
        self._ours = ours
        self._memory = Memory(store)
        self._lists: dict[Path, AddressList] = {path: AddressList(path) for path in rules.lists}
        self._queries: dict[Path, Query | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked_again_from = ("", "")
        self._asked_again_at = 0
        self._asking_again: set[str] = set()
        self._tidied_at = tidied_at
        self._in_trouble = False
        self.counts: Counter[tuple[str, str]] = Counter()
        """Answers so far, as ``recipient-known`` and source; for metrics. May be shared with others that count."""
        for found in self._lists.values():
            self._read(found)
        for path in rules.queries:
            try:
                self._queries[path] = Query(path)
            except RuleError as error:
                self._queries[path] = None
                log.error("recipients cannot be looked up", reason=str(error))

    @property
    def memory(self) -> Memory:
        """What is remembered."""
        return self._memory

    @staticmethod
    def _read(found: AddressList) -> None:
        try:
            found.read()
        except RuleError as error:
            log.error("list not read; what it held before counts", reason=str(error))
        else:
            log.info("list read", file=str(found.path), addresses=len(found))

    # ---------------------------------------------------------------- one recipient

    def admit(self, visitor: Visitor, recipient: NewRecipient) -> Admitted | Awaitable[Admitted]:
        """See ``door.Verifier``. Whoever is known in memory, or by a list or pattern, is admitted at once."""
        del visitor
        address, now = recipient.address, self._clock()
        if self._ours(address.rpartition("@")[2]) is False:
            # Our postmaster's mail may go to a domain of others.
            return recipient
        answer = self.at_once(address, now)
        if answer is None:
            return self._admit(recipient, now)
        return self._admitted(recipient, self._counted(answer))

    async def _admit(self, recipient: NewRecipient, now: int) -> Admitted:
        return self._admitted(recipient, self._counted(await self._verify(recipient.address, now)))

    def _admitted(self, recipient: NewRecipient, answer: Answer) -> Admitted:
        refusal = self.reply(recipient.address, answer)
        if refusal is not None:
            return Refused(refusal, f"recipient-{answer.verdict}")
        return replace(recipient, apart=True) if self.apart(answer) else recipient

    async def verify(self, address: str, now: int) -> Answer:
        """Whether a recipient exists.

        Args:
            address: as ``smtp.syntax.RcptParameters`` has it: the domain in A-labels and lower case.
            now: milliseconds since 1970.
        """
        return self._counted(self.at_once(address, now) or await self._verify(address, now))

    def _counted(self, answer: Answer) -> Answer:
        self.counts[f"recipient-{answer.verdict}", str(answer.source)] += 1
        return answer

    def at_once(self, address: str, now: int) -> Answer | None:
        """What can be said of a recipient without asking anybody, the store included; None: nothing."""
        local, _, domain = address.rpartition("@")
        rule = self._rules.of(domain)
        if rule.any or local.lower() == "postmaster":
            # RFC 5321 section 4.5.1: a postmaster there is, whatever else.
            return Answer(Verdict.KNOWN, "every address of the domain is taken", Source.RULE)
        if not rule.ask:
            return self._by_file(rule, local, domain, now)
        if self._memory.cached(domain, local, now) is None or self._memory.cached(domain, "", now) is None:
            return None
        return self._remembered(domain, local, now)

    async def _verify(self, address: str, now: int) -> Answer:
        local, _, domain = address.rpartition("@")
        rule = self._rules.of(domain)
        if not rule.ask:
            return await self._by_queries(rule, local, domain, now)
        await self._memory.find(domain, (local, ""), now)
        return self._remembered(domain, local, now) or await self.ask(address, now)

    def reply(self, address: str, answer: Answer) -> Reply | None:
        """What is said to RCPT because of an answer; None: there is no objection."""
        shown, why = address[:_ADDRESS], answer.why[:_WHY]
        if answer.verdict is Verdict.UNKNOWN:
            text = f"<{shown}> is not known here: {why}; check how it is written, or ask its owner another way"
            return Reply.of(550, "5.1.1", text)
        if answer.verdict is Verdict.BUSY:
            return Reply.of(450, "4.3.2", f"<{shown}> cannot be looked up now: {why}; send it again in some minutes")
        if answer.verdict is Verdict.UNSURE and self._settings.unsure == "refuse":
            text = f"nobody can say now whether <{shown}> exists: {why}; send it again later, or to a better exchanger"
            return Reply.of(450, "4.4.3", text)
        return None

    def apart(self, answer: Answer) -> bool:
        """Whether mail for the recipient is taken and kept apart (``NewRecipient.apart``)."""
        return answer.verdict is Verdict.UNSURE and self._settings.unsure == "apart"

    # ---------------------------------------------------------------- lists, patterns, databases

    def _by_file(self, rule: Rule, local: str, domain: str, now: int) -> Answer | None:
        """What lists and patterns say; None: there are databases still to be asked."""
        unread = False
        for path in rule.lists:
            has = self._list(path, now).has(local, domain)
            if has:
                return Answer(Verdict.KNOWN, "it is in the list", Source.LIST)
            unread |= has is None
        for pattern in rule.patterns:
            if pattern.matches(local):
                return Answer(Verdict.KNOWN, f"it is of the form {pattern.text}", Source.PATTERN)
        if unread:
            return Answer(Verdict.UNSURE, _UNREAD, Source.LIST)
        if rule.queries:
            return None
        source = Source.LIST if rule.lists else Source.PATTERN
        return Answer(Verdict.UNKNOWN, "it is not among the recipients of this domain", source)

    async def _by_queries(self, rule: Rule, local: str, domain: str, now: int) -> Answer:
        answer = Answer(Verdict.UNKNOWN, "it is not in the database", Source.SQL)
        for path in rule.queries:
            answer = await self._by_query(path, local, domain, now)
            if answer.verdict is not Verdict.UNKNOWN:
                break
        return answer

    def _list(self, path: Path, now: int) -> AddressList:
        found = self._lists[path]
        if found.changed(now):
            self._begin(asyncio.to_thread(self._read, found))
        return found

    async def _by_query(self, path: Path, local: str, domain: str, now: int) -> Answer:
        query = self._queries[path]
        try:
            if query is None:
                raise QueryFailedError("its file could not be used when the relay started")
            known = await query.has(local, domain)
        except QueryBusyError:
            return Answer(Verdict.BUSY, "too many recipients are being looked up", Source.SQL)
        except QueryFailedError as error:
            self._trouble("database of recipients gave no answer", file=str(path), reason=str(error))
            found = (await self._memory.find(domain, (local,), now)).get(local)
            if found is not None and found.known:
                return Answer(Verdict.KNOWN, "it was known when the list of recipients could last be read", Source.SQL)
            return Answer(Verdict.UNSURE, _UNREAD, Source.SQL)
        if known:
            row = self._memory.latest(domain, local, now)
            if row is None or now - row.at > self._refresh_ms:
                self._learn(domain, local, known=True, reply="", source=Source.SQL, now=now)
            return Answer(Verdict.KNOWN, "it is in the database", Source.SQL)
        return Answer(Verdict.UNKNOWN, "it is not in the database", Source.SQL)

    # ---------------------------------------------------------------- the primary, and what it said before

    @property
    def _refresh_ms(self) -> int:
        return self._settings.refresh_hours * HOUR_MS

    def _remembered(self, domain: str, local: str, now: int) -> Answer | None:
        """What memory says; None: nothing."""
        row = self._memory.latest(domain, local, now)
        if row is not None:
            if row.known:
                return Answer(Verdict.KNOWN, row.reply or "its primary takes mail for it", row.source)
            return Answer(Verdict.UNKNOWN, row.reply or "its primary refuses it", row.source)
        of_domain = self._memory.latest(domain, "", now)
        if of_domain is None or not of_domain.known:
            return None
        return Answer(Verdict.KNOWN, "its primary takes every address", Source.TAKES_ALL)

    async def ask(self, address: str, now: int) -> Answer:
        """Ask the primary, whatever is remembered, and remember what it says. Arguments as for ``verify``."""
        domain = address.rpartition("@")[2]
        if self._call is None:
            return Answer(Verdict.UNSURE, "its primary is not asked", Source.CALL)
        heard = await self._call.ask(address, probe=lambda: self._wants_probe(domain))
        if not heard.asked:
            return Answer(heard.verdict, heard.reply, Source.MAILBOX)
        self.heard(address, heard, now)
        if heard.takes_all and heard.verdict is Verdict.KNOWN:
            return Answer(Verdict.KNOWN, "its primary takes every address", Source.TAKES_ALL)
        return Answer(heard.verdict, heard.reply, Source.CALL)

    def _wants_probe(self, domain: str) -> bool:
        """Whether it is not known, or not of late, if the primary of a domain takes every address."""
        now = self._clock()
        row = self._memory.latest(domain, "", now)
        return row is None or not 0 <= now - row.at < self._refresh_ms

    def heard(self, address: str, heard: Heard, now: int) -> None:
        """Remember what a primary said when it was asked for an address."""
        local, _, domain = address.rpartition("@")
        if heard.takes_all is not None:
            source = Source.TAKES_ALL if heard.takes_all else Source.CALL
            self._learn(domain, "", known=heard.takes_all, reply=heard.reply, source=source, now=now)
        of_domain = self._memory.latest(domain, "", now)
        takes_all = of_domain is not None and of_domain.known
        if heard.verdict is Verdict.UNKNOWN:
            self._learn(domain, local, known=False, reply=heard.reply, source=Source.CALL, now=now)
        elif heard.verdict is Verdict.KNOWN and not takes_all:
            self._learn(domain, local, known=True, reply=heard.reply, source=Source.CALL, now=now)

    def _learn(self, domain: str, local: str, *, known: bool, reply: str, source: Source, now: int) -> None:
        # What is known of a domain counts as long as what is known of a recipient does.
        lasts = self._settings.known_days * DAY_MS if known or not local else self._settings.unknown_hours * HOUR_MS
        self._memory.learn(Known(domain, local, known, reply, source, now, now + lasts))

    def given(self, address: str, now: int) -> None:
        """Somebody says that a recipient exists, and the primary cannot be asked now: remember it, until it can be."""
        local, _, domain = address.rpartition("@")
        self._learn(domain, local, known=True, reply="named to us", source=Source.GIVEN, now=now)

    def delivered(self, fate: Fate) -> None:
        """Learn from what became of a message: called with every fate of a delivery. Cheap where there is nothing new
        in it.

        Args:
            fate: as the courier gives it.
        """
        local, _, domain = fate.recipient.address.rpartition("@")
        if self._call is None or not self._call.is_primary(domain, fate.host) or not self._rules.of(domain).ask:
            return
        now = self._clock()
        verdict = verdict_of(fate)
        if verdict is Verdict.UNSURE:
            return
        if fate.end is End.DELIVERED:
            self._call.back(domain)
        row = self._memory.latest(domain, local, now)
        if row is not None and row.known is (verdict is Verdict.KNOWN) and now - row.at < self._refresh_ms:
            return
        of_domain = self._memory.latest(domain, "", now)
        # That it takes mail for somebody means something where it is known to refuse who does not exist.
        if verdict is Verdict.UNKNOWN or (of_domain is not None and not of_domain.known):
            said = f"{fate.host} said “{fate.reply}”" if fate.reply is not None else ""
            known = verdict is Verdict.KNOWN
            self._learn(domain, local, known=known, reply=said, source=Source.DELIVERY, now=now)

    # ---------------------------------------------------------------- keeping it current

    async def run(self) -> None:
        """Write what is learned, remove what expired, ask again for who is known; until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.tick(self._clock())

    async def tick(self, now: int) -> None:
        """What is to be done each second."""
        try:
            await self._memory.write()
            if not 0 <= now - self._tidied_at < TIDY_MS:
                self._tidied_at = now
                await self._memory.tidy(now)
                if self._call is not None:
                    await self._ask_again(self._call, now)
            self._in_trouble = False
        except StoreError as error:
            self._trouble("what is known of recipients cannot be kept", reason=str(error))

    async def _ask_again(self, call: CallAhead, now: int) -> None:
        """Ask for some of those who are known, in turn, who were not heard of for a day."""
        if now < self._asked_again_at <= now + self._refresh_ms:
            return
        rows = await self._memory.old(self._asked_again_from, now - self._refresh_ms, now, PIECE)
        if len(rows) == PIECE:
            self._asked_again_from = rows[-1].domain, rows[-1].local
        else:
            # Once round. To look through a million rows each minute for those that are due is not worth it.
            self._asked_again_from = ("", "")
            self._asked_again_at = now + self._refresh_ms // ROUNDS
        by_domain: dict[str, list[Known]] = {}
        for row in rows:
            if row.source is not Source.SQL and self._rules.of(row.domain).ask and self._ours(row.domain) is not False:
                by_domain.setdefault(row.domain, []).append(row)
        for domain, wanted in by_domain.items():
            if domain not in self._asking_again:
                self._asking_again.add(domain)
                self._begin(self._ask_again_for(call, domain, wanted))

    async def _ask_again_for(self, call: CallAhead, domain: str, rows: list[Known]) -> None:
        """Ask for some recipients, one after the other: a primary has better things to do."""
        try:
            await self._memory.find(domain, ("",), self._clock())
            await self._ask_each(call, domain, rows)
        finally:
            self._asking_again.discard(domain)

    async def _ask_each(self, call: CallAhead, domain: str, rows: list[Known]) -> None:
        for row in rows:
            # The primary's own postmaster stands for the domain: it is the made up one that is of interest.
            address = f"{row.local or 'postmaster'}@{domain}"
            heard = await call.ask(address, probe=lambda: self._wants_probe(domain))
            now = self._clock()
            if heard.verdict is Verdict.BUSY or not heard.asked:
                return
            if heard.verdict is Verdict.UNSURE and not heard.reached:
                return
            self.heard(address, heard, now)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _trouble(self, event: str, **values: str) -> None:
        """Log what goes wrong once, not for each recipient."""
        if not self._in_trouble:
            self._in_trouble = True
            log.warning(event, **values)

    async def close(self) -> None:
        """Write what is not written yet, and end all that is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for query in self._queries.values():
            if query is not None:
                query.close()
        try:
            await self._memory.write()
        except StoreError as error:
            log.warning("what is known of recipients cannot be kept", reason=str(error))
