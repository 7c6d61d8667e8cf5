"""Writes down what became of recipients, and tells senders what they are to hear.

A report and the end of the recipients that it is about are one transaction: nobody is told twice, and nobody is
forgotten untold. What could not be written is written later; until then its recipients stay in memory, so that none is
delivered again.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from mx10.logs import get_logger
from mx10.relay import loading
from mx10.relay.courier.classify import expired
from mx10.relay.courier.reports import Action, Copy, Issuer, Order, Receiver, copy_of, orders, write_report
from mx10.relay.courier.values import Addressee, End, Fate, Stage, Step
from mx10.relay.history import fate_from_json, fate_to_json
from mx10.relay.jobs import FromSpool, Job, letter_of
from mx10.relay.journal import Journal
from mx10.relay.loading import Message
from mx10.relay.queue import Hop, Schedule
from mx10.relay.spool.opening import Opened
from mx10.relay.spool.spool import Spool, Taken
from mx10.relay.spool.writing import Work
from mx10.relay.tasks import Tasks
from mx10.relay.values import Envelope, NewRecipient, Waiting, name_of
from mx10.store.errors import StoreError
from mx10.values import value_class

LOOK_SECONDS: Final = 10.0
"""Between two looks for messages that have waited too long."""
AT_ONCE: Final = 200
"""Messages of one such look."""
AGAIN_SECONDS: Final = 5.0
"""When what could not be written is written again."""
FAULT_MS: Final = 60_000
"""After a fault of ours: when recipients are tried again."""
TOLD_ALL: Final = 20
"""Attempts to reach a next hop that are all kept; of later ones, one in so many: a host may be down for days."""
_HELD_MS: Final = 3_600_000
"""Messages with recipients that are held do not end; they are looked at again so much later."""
_EMPTIED: Final = "DELETE FROM messages WHERE id = ? AND NOT EXISTS (SELECT 1 FROM recipients WHERE message = ?)"
_FORGOTTEN: Final = "DELETE FROM attempts WHERE message = ? AND number = ?"

log = get_logger("relay")


@value_class
class _Ending:
    """What is written of one message."""

    settled: tuple[int, ...]
    work: Work
    whole: bool


class Settler:
    """See the module.

    Args:
        taken: told of each report that is in the spool now.
        learned: told of each fate of each recipient.
    """

    def __init__(
        self,
        opened: Opened,
        spool: Spool,
        schedule: Schedule,
        issuer: Issuer,
        clock: Callable[[], int],
        taken: Callable[[Taken], None],
        journal: Journal,
        *,
        learned: Callable[[Fate], None] | None = None,
    ) -> None:
        self._opened = opened
        self._spool = spool
        self._schedule = schedule
        self._issuer = issuer
        self._clock = clock
        self.taken = taken
        self._journal = journal
        self._learned = learned
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self.forget: Callable[[set[int]], None] = lambda _: None
        """Takes messages out of the dispatcher's memory."""
        self.is_here: Callable[[int, int], bool] = lambda _message, _number: False
        """Whether a recipient is in the dispatcher's memory."""
        self.counts: Counter[str] = Counter()

    # ---------------------------------------------------------------- after an attempt

    def settle(
        self,
        job: Job,
        fates: Sequence[Fate],
        steps: Sequence[Step],
        hop: Hop[Job],
        now: int,
        drop: Callable[[Job], None],
        left: Callable[[Waiting], None],
    ) -> None:
        """Write down an attempt.

        Args:
            drop: called when all is durable: the job may leave memory.
            left: called then with each recipient that is to be tried again, and when.
        """
        message, whole = job.message, job.whole
        if whole and all(fate.end is End.DELIVERED for fate in fates) and not self._wants(job, fates):
            history = any(each.attempts for each in job.recipients.values())
            work = Work(gone=(message.id,), histories=(message.id,) if history or self._has_parts(message) else ())
            self._write(work, lambda: self._gone(job, drop))
            self._tell(job, fates, now)
            return
        later = [fate for fate in fates if fate.end is End.LATER]
        ended = [fate for fate in fates if fate.end is not End.LATER]
        work = Work()
        waiting = self._later(work, job, later, steps, hop, now)
        self._ended(work, message.id, [fate.recipient.key for fate in ended])
        self._tell(job, fates, now)

        def done() -> None:
            drop(job)
            for each in waiting:
                left(each)
            if ended:
                self._clean([message])

        apart = {number for number, each in job.recipients.items() if each.apart}

        def failed() -> None:
            # Of those delivered nobody hears; those that failed are tried again, and told of then.
            delivered = [fate.recipient.key for fate in ended if fate.end is End.DELIVERED]
            rest = [job.recipients[fate.recipient.key] for fate in ended if fate.end is End.FAILED]
            waiting.extend(replace(each, due_at=now + FAULT_MS) for each in rest)
            without = Work(later=work.later, attempts=work.attempts)
            self._ended(without, message.id, delivered)
            self._write(without, done)

        self._report(job.message, job.letter, ended, apart, work, done, failed)

    def not_reached(self, job: Job, fates: Sequence[Fate], steps: Sequence[Step], hop: Hop[Job], now: int) -> None:
        """Write down that nobody could be spoken to; its recipients are as due as they were."""
        rows, updates = [], []
        for fate in fates:
            each = job.recipients.get(fate.recipient.key)
            if each is None:
                continue
            text = fate_to_json(fate, now, None, steps, hop.key)
            if each.attempts < TOLD_ALL or each.attempts % TOLD_ALL == 0:
                rows.append((job.message.id, each.number, now, text))
            updates.append((each.due_at, each.attempts + 1, text, job.message.id, each.number))
        self._write(Work(attempts=rows, later=updates), lambda: None)
        self._tell(job, fates, now)

    def _later(
        self, work: Work, job: Job, fates: Sequence[Fate], steps: Sequence[Step], hop: Hop[Job], now: int
    ) -> list[Waiting]:
        """Put into the work when each of some recipients is tried again."""
        waiting, rows, updates = [], [], []
        for fate in fates:
            each = job.recipients[fate.recipient.key]
            attempts = each.attempts + 1
            due = self._schedule.next_at(attempts, now, random.random())
            text = fate_to_json(fate, now, due, steps, hop.key)
            rows.append((job.message.id, each.number, now, text))
            updates.append((due, attempts, text, job.message.id, each.number))
            waiting.append(replace(each, due_at=due, attempts=attempts))
        work.attempts, work.later = rows, updates
        return waiting

    @staticmethod
    def _ended(work: Work, message: int, numbers: Sequence[int]) -> None:
        if numbers:
            pairs = [(message, number) for number in numbers]
            work.settled = pairs
            work.statements = [(_FORGOTTEN, pairs), (_EMPTIED, [(message, message)])]

    def _wants(self, job: Job, fates: Sequence[Fate]) -> bool:
        """Whether somebody may want to hear that it went well."""
        return any(fate.recipient.notify is not None and "SUCCESS" in fate.recipient.notify for fate in fates)

    def _has_parts(self, message: Message) -> bool:
        return self._opened.folder is None and message.size > self._spool.body_in_database

    def _gone(self, job: Job, drop: Callable[[Job], None]) -> None:
        drop(job)
        if job.message.size > self._spool.body_in_database:
            self._spool.remove_bodies([job.message.id])

    def _tell(self, job: Job, fates: Sequence[Fate], now: int) -> None:
        name = job.letter.name
        for fate in fates:
            if self._learned is not None:
                self._learned(fate)
            if fate.end is End.DELIVERED:
                self._journal(
                    "delivered",
                    message=name,
                    to=fate.recipient.address,
                    host=fate.host,
                    address=fate.address,
                    seconds=round((now - job.message.arrived_at) / 1000, 3),
                    reply=str(fate.reply) if fate.reply is not None else "",
                )
            else:
                self._journal(
                    "deferred" if fate.end is End.LATER else "failed",
                    message=name,
                    to=fate.recipient.address,
                    host=fate.host,
                    address=fate.address,
                    code=fate.enhanced,
                    cause=fate.reason[:300],
                )

    # ---------------------------------------------------------------- reports

    def _report(
        self,
        message: Message,
        letter: Any,
        fates: Sequence[Fate],
        apart: set[int],
        work: Work,
        done: Callable[[], None],
        failed: Callable[[], None],
        *,
        delay: bool = False,
    ) -> None:
        """Write a piece of work together with the reports that fates give rise to. ``failed``: called where a fault of
        ours keeps a report from being made, and nothing was written."""
        envelope = message.envelope
        unknown = [fate for fate in fates if fate.recipient.key in apart]
        known = [fate for fate in fates if fate.recipient.key not in apart]
        wanted = orders(letter, known, self._issuer, delay=delay) if known else []
        if unknown:
            vouched = bool(envelope.vouched or envelope.user)
            wanted += orders(letter, unknown, self._issuer, delay=delay, authenticated=vouched)
        told = [order for order in wanted if order.receiver is not Receiver.NOBODY]
        for order in wanted:
            if order.receiver is Receiver.NOBODY:
                self.counts["dropped"] += len(order.fates)
                whom = [fate.recipient.address for fate in order.fates[:10]]
                log.warning("nobody is told of a failure", message=letter.name, to=whom, cause=order.why)
        if not told:
            self._write(work, done)
            return
        self._tasks.start(self._guarded(self._write_reports(message, letter, told, work, done), message, failed))

    async def _guarded(self, work: Coroutine[Any, Any, None], message: Message, failed: Callable[[], None]) -> None:
        try:
            await work
        except Exception:
            log.exception("a report could not be made; tried again later", message=name_of(message.id))
            failed()

    async def _write_reports(
        self, message: Message, letter: Any, told: Sequence[Order], work: Work, done: Callable[[], None]
    ) -> None:
        made = []
        for order in told:
            try:
                copy = await copy_of(letter.content, order, letter)
            except OSError as error:
                # It cannot be read any more; the sender shall hear of the failure all the same.
                log.error("a message cannot be read", message=letter.name, cause=str(error))
                copy = Copy(b"")
            report = write_report(
                order,
                letter,
                copy,
                self._issuer,
                arrived=message.arrived_at,
                expires=message.expires_at,
                now=self._clock(),
                token=secrets.token_hex(16),
                client=message.envelope.helo,
            )
            made.append((order, report))
        while True:
            taken = []
            work.messages, work.recipients = [], []
            for _, report in made:
                envelope = Envelope("", report.body, report.smtputf8, requiretls=report.requiretls)
                incoming = self._spool.begin(envelope)
                part = Work()
                taken.append(incoming.rows(part, b"", report.content, [NewRecipient(report.to, frozenset({"NEVER"}))]))
                work.messages = [*work.messages, *part.messages]
                work.recipients = [*work.recipients, *part.recipients]
            try:
                await self._spool.write(work)
                break
            except StoreError as error:
                log.error("a report cannot be kept; tried again soon", cause=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
        done()
        for (order, report), each in zip(made, taken, strict=True):
            self.counts["delay_warnings" if order.action is Action.DELAYED else "reports"] += 1
            log.info(
                "report", message=letter.name, report=name_of(each.message), action=order.action.value, to=report.to
            )
            self.taken(each)

    # ---------------------------------------------------------------- what waited too long

    def look_now(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Look for messages whose senders are to hear something, until cancelled."""
        while True:
            try:
                more = await self._look()
            except StoreError as error:
                log.error("the spool cannot be read", cause=str(error))
                more = False
            self._wake.clear()
            if not more:
                try:
                    # Not wait_for: that of Python 3.11 forgets to end when it is woken at the same moment.
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _look(self) -> bool:
        now, node, opened = self._clock(), self._spool.node, self._opened
        late = await loading.in_thread(loading.to_remind, opened, node, now, AT_ONCE)
        returned = await loading.in_thread(loading.to_return, opened, node, AT_ONCE)
        ids = list(dict.fromkeys([*late, *returned]))
        if not ids:
            return False
        self.forget(set(ids))
        recipients, messages = await loading.in_thread(loading.of_messages, opened, ids)
        by_message: dict[int, list[Waiting]] = {}
        for each in recipients:
            if each.node == node and not self.is_here(each.message, each.number):
                by_message.setdefault(each.message, []).append(each)
        finished: list[asyncio.Future[None]] = []
        for number, members in by_message.items():
            if (message := messages.get(number)) is not None:
                finished.append(self._remind(message, members, now))
        if finished:
            await asyncio.wait(finished)
        return max(len(late), len(returned)) >= AT_ONCE and bool(finished)

    def _remind(self, message: Message, members: list[Waiting], now: int) -> asyncio.Future[None]:
        """Return what is to be returned of a message, or tell that it waits."""
        letter = letter_of(message, FromSpool(self._opened, message))
        fates: list[Fate] = []
        for each in members:
            addressee = Addressee(each.address, each.number, each.notify, each.orcpt)
            if each.state == "return":
                reason = "the administrator of this host returned it"
                fates.append(Fate(addressee, End.FAILED, "5.3.0", reason, stage=Stage.ROUTE))
            elif message.expires_at <= now and each.state != "held":
                fates.append(expired(fate_from_json(each.last, addressee), now - message.arrived_at))
        work = Work()
        future: asyncio.Future[None] = self._loop.create_future()

        def done() -> None:
            if fates:
                self._clean([message])
            if not future.done():
                future.set_result(None)

        def failed() -> None:
            if not future.done():
                future.set_result(None)

        # Who commands a return wants it.
        apart = {each.number for each in members if each.apart and each.state != "return"}
        self._ended(work, message.id, [fate.recipient.key for fate in fates])
        if message.expires_at <= now:
            if any(each.state == "held" for each in members):
                work.reminded = [(now + _HELD_MS, message.id)]
            for fate in fates:
                log.info("failed", message=letter.name, to=fate.recipient.address, cause=fate.reason[:300])
            self._report(message, letter, fates, apart, work, done, failed)
        elif fates:
            for fate in fates:
                log.info("failed", message=letter.name, to=fate.recipient.address, cause=fate.reason)
            self._report(message, letter, fates, apart, work, done, failed)
        else:
            waits = [
                fate_from_json(each.last, Addressee(each.address, each.number, each.notify, each.orcpt))
                for each in members
                if each.state == "queued"
            ]
            work.reminded = [(message.expires_at, message.id)]
            self._report(message, letter, waits, apart, work, done, failed, delay=True)
        return future

    # ---------------------------------------------------------------- writing

    def _write(self, work: Work, done: Callable[[], None]) -> None:
        """Have it written, however long that takes."""

        def written(error: StoreError | None) -> None:
            if error is None:
                done()
                return
            log.error("the spool cannot be written; tried again soon", cause=str(error))
            self._loop.call_later(AGAIN_SECONDS, self._spool.put, work)

        work.done = written
        self._spool.put(work)

    def _clean(self, messages: Iterable[Message]) -> None:
        """Remove the bodies of messages that have no rows any more."""
        large = [each.id for each in messages if each.size > self._spool.body_in_database]
        if large:
            self._tasks.start(self._remove(large))

    async def _remove(self, ids: list[int]) -> None:
        try:
            _, left = await loading.in_thread(loading.of_messages, self._opened, ids)
        except StoreError:
            return  # at the next start
        gone = [each for each in ids if each not in left]
        self._spool.remove_bodies(gone)
        if gone and self._opened.folder is None:
            self._spool.put(Work(histories=gone))
