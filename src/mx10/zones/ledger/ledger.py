"""The zones of the store: every way to change them. Those to read them are in ``reading``."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from mx10.config import ZoneSettings
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, to_text
from mx10.store.connect import Store
from mx10.zones.ledger import bulk, history, judging, rows
from mx10.zones.ledger.difference import differences, keyed
from mx10.zones.ledger.errors import (
    ConflictError,
    InvalidEditError,
    LedgerError,
    NotEditableError,
    RevertError,
    ZoneExistsError,
)
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.ledger.reading import MOST_SINCE, Reader
from mx10.zones.ledger.serials import first_serial, serial_of, with_serial
from mx10.zones.ledger.values import GENERATED, Author, ChangeSet, Edit, Signer, ZoneInfo
from mx10.zones.ledger.writing import Writing
from mx10.zones.problems import Problem
from mx10.zones.zone import RRset, Zone, add_empty_nonterminals

_BY_PEOPLE: Final = frozenset({"edit", "import", "update", "revert"})
"""Kinds of changes that a zone followed from elsewhere does not take."""


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _nobody(_count: int) -> None:
    """Who is told of progress when nobody wants to be."""


class _NothingDone(Exception):  # noqa: N818  # it undoes a transaction and is no error
    """Leaves a transaction without a trace."""


class Ledger(Reader):
    """The zones of a store.

    Every method is one transaction, and what it has done when it returns is durable. Threads may share a ledger, but
    ``problems`` tells of the last change of any of them.

    Args:
        settings: limits and tolerated rules (``[zones]``).
        signer: keeps signed zones true; without one they cannot be changed.
        clock: milliseconds since 1970 (UTC).
    """

    def __init__(
        self,
        store: Store,
        settings: ZoneSettings,
        *,
        signer: Signer | None = None,
        clock: Callable[[], int] = _milliseconds,
    ) -> None:
        super().__init__(store, settings)
        self.signer = signer
        self.clock = clock
        self.problems: tuple[Problem, ...] = ()
        """What the rules found and allowed in the last change: warnings, and errors overridden by force."""

    # ------------------------------------------------------------ zones

    def create(
        self,
        zone: Zone,
        author: Author,
        *,
        kind: str = "primary",
        options: ZoneOptions | None = None,
        force: bool = False,
        progress: Callable[[int], None] = _nobody,
    ) -> ChangeSet:
        """Add a zone.

        Its serial is kept, but 0 and one that is not newer than that of an earlier zone of this name.

        Args:
            kind: ``primary``, ``secondary`` or ``catalog``; the rules are for the first.
            progress: told now and then how many record sets are written.

        Raises:
            ZoneExistsError: it is there already.
            RuleError: an error the rules find; ``force`` overrides those that can be.
            InvalidEditError: no SOA record, or something else no zone can have.
        """
        self._allow_force(author, force)
        options = options or ZoneOptions()
        nodes = dict(zone.nodes)
        add_empty_nonterminals(zone.apex, nodes, self.settings.max_records)
        soa = nodes[zone.apex].get(rr.SOA)
        if soa is None:
            raise InvalidEditError(f"{to_text(zone.apex)} has no SOA record; write it first (RFC 1035 section 5.2)")
        found = judging.of_zone(Zone(zone.apex, nodes)) if kind == "primary" else []
        self.problems = judging.refuse_or_tell(zone.apex, found, self.settings, force=force)
        with self.store.begin() as connection:
            now = self.clock()
            info = self._begin_zone(connection, zone.apex, kind, options, served=True)
            writing = Writing(connection, info, author, "create", now, begins=True)
            writing.fill(zone, progress)
            if kind == "primary":
                soa = _begun(connection, zone.apex, soa, options, now, writing.id)
            writing.conclude(soa, as_given=kind != "primary")
            return writing.finish()

    def create_many(
        self,
        found: Iterable[Zone],
        author: Author,
        *,
        options: ZoneOptions | None = None,
        force: bool = False,
        progress: Callable[[int], None] = _nobody,
        refused: Callable[[bytes, LedgerError], None] | None = None,
    ) -> int:
        """Add many primary zones, in transactions of some thousand; memory is needed for one of these.

        Args:
            found: complete zones, as ``zones.folder`` and ``zones.build`` make them.
            progress: told after each transaction how many zones are there for good.
            refused: told of zones that cannot be added, which are left out. Without it the first of them ends all:
                what was told to ``progress`` stays, the rest is not added.

        Returns:
            How many were added.

        Raises:
            LedgerError: as ``create`` raises them, if ``refused`` is not given.
        """
        self._allow_force(author, force)

        def refuse(_apex: bytes, error: LedgerError) -> None:
            raise error

        return bulk.create_many(
            self.store,
            found,
            author,
            settings=self.settings,
            options=options or ZoneOptions(),
            force=force,
            clock=self.clock,
            progress=progress,
            refused=refused or refuse,
        )

    def follow(self, apex: bytes, author: Author, options: ZoneOptions) -> ChangeSet:
        """Add a secondary zone that has not been fetched yet: no records, not served, serial 0. The first ``replace``
        fills it.

        Raises:
            ZoneExistsError: it is there already.
        """
        self._allow_force(author, False)
        with self.store.begin() as connection:
            now = self.clock()
            self._begin_zone(connection, apex, "secondary", options, served=False)
            number = rows.add_change_set(connection, apex, "settings", None, None, author, now)
            rows.tell(connection, apex, now)
            return ChangeSet(number, apex, "settings", None, None, author.name, author.message, now, ())

    def _begin_zone(
        self, connection: Connection, apex: bytes, kind: str, options: ZoneOptions, *, served: bool
    ) -> ZoneInfo:
        if rows.find_zone(connection, apex):
            raise ZoneExistsError(apex)
        number = rows.add_zone(connection, apex, kind, 0, 0, served, options)
        return ZoneInfo(number, apex, kind, 0, 0, served, options, "", "")

    def delete(self, apex: bytes, author: Author) -> ChangeSet:
        """Take a zone away. Its history stays, and ``revert`` brings it back, but for its keys.

        Raises:
            NoSuchZoneError: it is not there.
        """
        self._allow_force(author, False)
        with self.store.begin() as connection:
            now = self.clock()
            info = self._info(connection, apex)
            before = info.serial if info.rrsets else None
            was = {"kind": info.kind, "signed": info.signed, "before": info.options.to_dict()}
            number = rows.add_change_set(connection, apex, "delete", before, None, author, now, was)
            rows.note_all_gone(connection, number, info.id)
            rows.remove_zone(connection, info.id)
            rows.tell(connection, apex, now)
            said = json.dumps(was)
            return ChangeSet(number, apex, "delete", before, None, author.name, author.message, now, None, said)

    def set_options(self, apex: bytes, options: ZoneOptions, author: Author) -> ChangeSet | None:
        """Set what is set for this zone alone; None if that is so already.

        Raises:
            NoSuchZoneError: it is not there.
        """
        self._allow_force(author, False)
        with self.store.begin() as connection:
            info = self._info(connection, apex)
            if info.options == options:
                return None
            return self._set_options(connection, info, options, author, "settings")

    def _set_options(
        self, connection: Connection, info: ZoneInfo, options: ZoneOptions, author: Author, kind: str
    ) -> ChangeSet:
        now, apex, serial = self.clock(), info.apex, info.serial
        rows.update_zone(connection, info.id, options=options.to_json())
        both = {"before": info.options.to_dict(), "after": options.to_dict()}
        number = rows.add_change_set(connection, apex, kind, serial, serial, author, now, both)
        rows.tell(connection, apex, now)
        said = json.dumps(both)
        return ChangeSet(number, apex, kind, serial, serial, author.name, author.message, now, (), said)

    def set_served(self, apex: bytes, served: bool) -> None:
        """Whether a zone is answered; if not, with SERVFAIL (a secondary that expired)."""
        with self.store.begin() as connection:
            info = self._info(connection, apex)
            if info.served != served:
                rows.update_zone(connection, info.id, served=int(served))
                rows.tell(connection, apex, self.clock())

    def set_following(self, apex: bytes, following: str) -> None:
        """Keep the state of a secondary (JSON); no change set, and nobody is told."""
        with self.store.begin() as connection:
            rows.update_zone(connection, self._info(connection, apex).id, following=following)

    # ------------------------------------------------------------ changes

    def change(
        self,
        apex: bytes,
        edits: Sequence[Edit],
        author: Author,
        *,
        expected_serial: int | None = None,
        force: bool = False,
        kind: str = "edit",
        dry_run: bool = False,
    ) -> ChangeSet | None:
        """Change record sets, and move the serial.

        Args:
            expected_serial: what the edits are based on; changes that only signed the zone anew do not count.
            force: override the rules that can be; the author's message says why.
            kind: ``edit``, ``update`` or ``transfer``; the last keeps the serial as given, and asks no rule.
            dry_run: undo it all at the end.

        Returns:
            None where everything is so already.

        Raises:
            NoSuchZoneError: the zone is not there.
            ConflictError: it has another serial.
            RuleError: the change brings an error that the rules find.
            GeneratedRecordError: mx10 makes such records itself.
            NotEditableError: the zone is followed from elsewhere.
            InvalidEditError: an edit cannot be.
        """
        self._allow_force(author, force)
        self.problems = ()
        if kind in _BY_PEOPLE:
            for edit in edits:
                _check_data(edit)
        with self._undoing_nothing() as done, self.store.begin() as connection:
            info = self._editable(connection, apex, kind)
            if expected_serial is not None and expected_serial != info.serial:
                self._refuse_conflict(connection, info, expected_serial, [(edit.owner, edit.type) for edit in edits])
            done.append(self._change(connection, info, edits, author, kind, force=force))
            if dry_run:
                raise _NothingDone
        return done[0] if done else None

    def _change(
        self, connection: Connection, info: ZoneInfo, edits: Iterable[Edit], author: Author, kind: str, *, force: bool
    ) -> ChangeSet:
        writing = Writing(connection, info, author, kind, self.clock())
        soa = writing.apply(edits)
        if not writing.conclude(soa, as_given=kind == "transfer"):
            raise _NothingDone
        if kind != "transfer":
            found = judging.of_change(connection, info, writing.all_changes(), self.settings)
            self.problems = judging.refuse_or_tell(info.apex, found, self.settings, force=force)
            self._limit(info, writing)
        writing.sign(self.signer)
        return writing.finish()

    def replace(
        self,
        apex: bytes,
        zone: Zone,
        author: Author,
        *,
        expected_serial: int | None = None,
        force: bool = False,
        kind: str = "import",
        dry_run: bool = False,
        progress: Callable[[int], None] = _nobody,
    ) -> ChangeSet | None:
        """Make a zone what ``zone`` is; what mx10 itself generates in it stays. The rules see the whole new zone.

        Args:
            kind: ``import``, or ``transfer`` for what another server says: no rule is asked, and its serial is kept.
            progress: told now and then how many record sets are written.

        Returns:
            None where everything is so already.

        Raises:
            The same as ``change``.
        """
        self._allow_force(author, force)
        self.problems = ()
        nodes = dict(zone.nodes)
        add_empty_nonterminals(apex, nodes, self.settings.max_records)
        soa = nodes[apex].get(rr.SOA)
        if soa is None:
            raise InvalidEditError(f"{to_text(apex)} has no SOA record; write it first (RFC 1035 section 5.2)")
        if kind != "transfer":
            found = judging.of_zone(Zone(apex, nodes))
            self.problems = judging.refuse_or_tell(apex, found, self.settings, force=force)
        with self._undoing_nothing() as done, self.store.begin() as connection:
            info = self._editable(connection, apex, kind)
            if expected_serial is not None and expected_serial != info.serial:
                touched = [(edit.owner, edit.type) for edit in self._edits_to(connection, info, zone)]
                self._refuse_conflict(connection, info, expected_serial, touched)
            begins = not info.rrsets
            writing = Writing(connection, info, author, kind, self.clock(), begins=begins)
            if begins:
                writing.fill(zone, progress)
            else:
                writing.apply(self._edits_to(connection, info, zone), progress=progress)
            if not writing.conclude(soa, as_given=kind == "transfer"):
                raise _NothingDone
            self._limit(info, writing)
            writing.sign(self.signer)
            if begins:
                rows.update_zone(connection, info.id, served=1)
            done.append(writing.finish())
            if dry_run:
                raise _NothingDone
        return done[0] if done else None

    @staticmethod
    def _edits_to(connection: Connection, info: ZoneInfo, zone: Zone) -> list[Edit]:
        """What makes the zone in the database the given one, its SOA record left out."""

        def plain(found: Iterable[tuple[bytes, int, RRset]]) -> Iterator[tuple[bytes, int, RRset]]:
            return (each for each in found if each[1] != rr.SOA and not (info.signed and each[1] in GENERATED))

        found = differences(plain(rows.iterate(connection, info.id)), plain(keyed(zone)))
        return [Edit(from_order_key(key, info.apex), rrtype, after) for key, rrtype, _, after in found]

    def generated(
        self,
        apex: bytes,
        edits: Iterable[Edit] | Callable[[Connection, ZoneInfo], Iterable[Edit]],
        author: Author,
        *,
        kind: str = "sign",
    ) -> ChangeSet | None:
        """Change record sets that signing makes, for those who do that. The serial moves, and the signer is asked as
        for any change (for the SOA record at least) if the zone is signed after the edits were made.

        Args:
            edits: or a function that says them when given the connection of the transaction and the zone: what else it
                writes there (keys, ``zones.signing``) is done with the change or not at all.

        Returns:
            None where everything is so already. What the function wrote is kept all the same.

        Raises:
            NoSuchZoneError: the zone is not there.
            InvalidEditError: an edit cannot be.
        """
        self._allow_force(author, False)
        with self.store.begin() as connection:
            info = self._info(connection, apex)
            with connection.begin_nested() as inner:
                found = edits(connection, info) if callable(edits) else edits
                writing = Writing(connection, info, author, kind, self.clock())
                soa = writing.apply(found, generated=True)
                if not writing.conclude(soa):
                    inner.rollback()
                    return None
                writing.sign(self.signer)
                return writing.finish()

    def revert(self, apex: bytes, number: int, author: Author, *, force: bool = False) -> ChangeSet | None:
        """Undo a change set, by a new one; that of a zone's deletion brings the zone back, but one that mx10 signed
        unsigned, for its keys are gone.

        Returns:
            None where it is undone already.

        Raises:
            HistoryError: the zone has no such change.
            RevertError: what it changed was changed again since, or it is not for people to undo.
            RuleError: the rules are against it.
        """
        self._allow_force(author, force)
        self.problems = ()
        with self._undoing_nothing() as done, self.store.begin() as connection:
            target = history.find(connection, apex, number)
            if not author.message:
                author = replace(author, message=f"change {number} undone")
            if target.kind == "delete":
                done.append(self._bring_back(connection, target, author))
            elif target.settings:
                info = self._info(connection, apex)
                if (options := history.options_before(info, target)) == info.options:
                    raise _NothingDone
                done.append(self._set_options(connection, info, options, author, "revert"))
            else:
                info = self._editable(connection, apex, "revert")
                edits = history.undoing(connection, info, target)
                done.append(self._change(connection, info, edits, author, "revert", force=force))
        return done[0] if done else None

    def _bring_back(self, connection: Connection, target: ChangeSet, author: Author) -> ChangeSet:
        now = self.clock()
        if rows.find_zone(connection, target.apex):
            raise ZoneExistsError(target.apex)
        last = next(each for each in history.newest_first(connection, target.apex))
        if last.id != target.id:
            raise RevertError(f"change {target.id} took the zone away, but not last; undo change {last.id} instead")
        if target.serial_before is None:
            raise RevertError(f"change {target.id} took a zone away that never had records; make it anew")
        was = history.was(target)
        options = ZoneOptions.from_dict(was["before"])
        info = self._begin_zone(connection, target.apex, str(was["kind"]), options, served=True)
        writing = Writing(connection, info, author, "revert", now, begins=True)
        gone = rows.read_changes(connection, target.apex, target.id)
        soa = writing.apply(
            Edit(each.owner, each.type, each.before)
            for each in gone
            # Without its keys nobody could keep signatures of ours true.
            if not (was["signed"] and each.type in GENERATED)
        )
        assert soa is not None
        followed = info.kind == "secondary"
        if not followed:
            soa = _begun(connection, target.apex, soa, options, now, writing.id)
        writing.conclude(soa, as_given=followed)
        return writing.finish()

    def prune(self, signing_days: int) -> int:
        """Take away what is needed no more: old rows of the feed, and what change sets of signing alone changed (that
        they were made stays on record). Cheap if called often; some minutes between two calls are right.

        Args:
            signing_days: days for which the latter are kept.

        Returns:
            How many change sets lost their changes.
        """
        return history.prune(self.store, self.clock(), signing_days)

    # ------------------------------------------------------------ what the above share

    def _editable(self, connection: Connection, apex: bytes, kind: str) -> ZoneInfo:
        info = self._info(connection, apex)
        if info.kind == "secondary" and kind in _BY_PEOPLE:
            raise NotEditableError(apex, info.kind)
        return info

    @staticmethod
    def _allow_force(author: Author, force: bool) -> None:
        if force and not author.message.strip():
            raise LedgerError("rules are overridden only with a message that says why; give one")
        if len(author.message) > rows.MAX_MESSAGE:
            raise LedgerError(f"the message has {len(author.message)} characters; {rows.MAX_MESSAGE} are allowed")

    @staticmethod
    @contextmanager
    def _undoing_nothing() -> Iterator[list[ChangeSet]]:
        done: list[ChangeSet] = []
        try:
            yield done
        except _NothingDone:
            return

    def _limit(self, info: ZoneInfo, writing: Writing) -> None:
        if writing.count > max(info.rrsets, self.settings.max_records):
            raise InvalidEditError(
                f"{to_text(info.apex)} would have more than {self.settings.max_records} record sets;"
                " split the zone, or raise zones.max_records"
            )

    @staticmethod
    def _refuse_conflict(
        connection: Connection, info: ZoneInfo, expected: int, touched: Sequence[tuple[bytes, int]]
    ) -> None:
        found = history.since(connection, info, expected, MOST_SINCE)
        if found and all(each.kind == "sign" for each in found):
            return
        theirs = {
            (change.owner, change.type)
            for each in found or ()
            for change in each.changes or ()
            if change.type != rr.SOA
        }
        both = [each for each in touched if each in theirs]
        raise ConflictError(info.apex, expected, info.serial, found, both)


def _check_data(edit: Edit) -> None:
    for data in edit.rrset[1] if edit.rrset else ():
        try:
            rdata.check(edit.type, data)
        except ValueError as error:
            what = f"{rr.type_to_text(edit.type)} of {to_text(edit.owner)}"
            raise InvalidEditError(f"{what}: the data are not of that type ({error})") from None


def _begun(connection: Connection, apex: bytes, soa: RRset, options: ZoneOptions, now: int, before: int) -> RRset:
    """The SOA record of a zone that begins."""
    former = None
    for each in history.newest_first(connection, apex, before):
        former = each.serial_before if each.serial_after is None else each.serial_after
        if former is not None:
            break
    serial = first_serial(serial_of(soa[1][0]), former, options.serial_style, now)
    return soa[0], (with_serial(soa[1][0], serial),)
