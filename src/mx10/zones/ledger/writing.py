"""One change set in the making: what is written to the tables, piece by piece, within one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, is_under, order_key, to_text
from mx10.zones.ledger import rows
from mx10.zones.ledger.difference import Keyed, keyed, same
from mx10.zones.ledger.errors import GeneratedRecordError, InvalidEditError, SignerMissingError
from mx10.zones.ledger.serials import is_newer, next_serial, serial_of, with_serial
from mx10.zones.ledger.values import GENERATED, Author, Change, ChangeSet, Edit, Signer, ZoneInfo
from mx10.zones.zone import RRset, Zone

KEPT: Final = 100_000
"""Changes of one change set up to which they are kept in memory and given back."""
_PIECE: Final = 2000
_MOST_TTL: Final = (1 << 31) - 1
_MOST_DATA: Final = 65535
_QUIET: Final = frozenset({rr.RRSIG, rr.NSEC, rr.NSEC3})
"""What follows from other records, and does not itself call for signatures elsewhere."""


class Writing:
    """A change set in the making.

    Args:
        connection: of a transaction that writes.
        info: of the zone before the change.
        now: milliseconds since 1970.
    """

    def __init__(
        self, connection: Connection, info: ZoneInfo, author: Author, kind: str, now: int, *, begins: bool = False
    ) -> None:
        self.connection = connection
        self.info = info
        self.begins = begins
        """Whether the zone begins with this: then nothing is noted, since nothing was there."""
        self._author = author
        self._now = now
        self._kind = kind
        self.count = info.rrsets
        """Record sets the zone has now."""
        self._kept: dict[tuple[bytes, int], Change] | None = {}
        self.soa = None if begins else rows.soa_of(connection, info.id)
        """The SOA record set as it is now."""
        before = None if begins else info.serial
        self.id = rows.add_change_set(connection, info.apex, kind, before, None, author, now)

    @property
    def changed(self) -> bool:
        """Whether anything is different now."""
        return self._kept is None or bool(self._kept)

    @property
    def changes(self) -> tuple[Change, ...] | None:
        """What is different, in canonical order; None if it is too much to keep."""
        if self._kept is None:
            return None
        apex = self.info.apex
        return tuple(sorted(self._kept.values(), key=lambda each: (order_key(each.owner, apex), each.type)))

    def apply(
        self,
        edits: Iterable[Edit],
        *,
        generated: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> RRset | None:
        """Write what shall be.

        Args:
            edits: the SOA record's is left out: it is given back, for ``conclude``.
            generated: record sets that only mx10 may write are among them.
            progress: told now and then how many edits are done.

        Raises:
            InvalidEditError: an edit cannot be.
            GeneratedRecordError: mx10 makes such records itself.
        """
        soa = None
        done = 0
        stream = iter(edits)
        while piece := list(islice(stream, _PIECE)):
            wished: dict[tuple[bytes, int], Edit] = {}
            for edit in piece:
                self._check(edit, generated)
                if edit.type == rr.SOA:
                    soa = edit.rrset
                else:
                    wished[edit.owner, edit.type] = edit
            self._write(wished)
            done += len(piece)
            progress(done)
        return soa

    def fill(self, zone: Zone, progress: Callable[[int], None]) -> RRset | None:
        """Write all that a zone begins with.

        Args:
            progress: told now and then how many record sets are written.

        Returns:
            Its SOA record set, which is left out, for ``conclude``.

        Raises:
            InvalidEditError: the zone has something no zone can have.
        """
        soa = None
        stream = self._fitting(zone)
        while piece := list(islice(stream, _PIECE)):
            states: list[tuple[bytes, int, RRset | None]] = [each for each in piece if each[1] != rr.SOA]
            soa = next((each[2] for each in piece if each[1] == rr.SOA), soa)
            rows.write(self.connection, self.info.id, states, fresh=True)
            self.count += len(states)
            progress(self.count)
        return soa

    def _fitting(self, zone: Zone) -> Iterator[Keyed]:
        for owner in zone.nodes:
            if not owner.endswith(self.info.apex):
                self._check(Edit(owner, rr.TXT, None), generated=True)
        for key, rrtype, rrset in keyed(zone):
            if rrtype == rr.SOA or not 0 <= rrset[0] <= _MOST_TTL:
                self._check(Edit(from_order_key(key, zone.apex), rrtype, rrset), generated=True)
            yield key, rrtype, rrset

    def _check(self, edit: Edit, generated: bool) -> None:
        apex = self.info.apex
        if not generated and self.info.signed and edit.type in GENERATED:
            raise GeneratedRecordError(apex, edit.type)
        if edit.owner != apex and not is_under(edit.owner, apex):
            what = f"{to_text(edit.owner)} is not in the zone {to_text(apex)}"
            raise InvalidEditError(f"{what}; write it to the zone it belongs to")
        if edit.type == rr.SOA:
            self._check_soa(edit)
        if edit.rrset is None:
            return
        ttl, datas = edit.rrset
        word = f"{rr.type_to_text(edit.type)} of {to_text(edit.owner)}"
        if not 0 <= ttl <= _MOST_TTL:
            raise InvalidEditError(f"{word}: the TTL {ttl} is not from 0 to {_MOST_TTL} s (RFC 2181 section 8)")
        if any(len(data) > _MOST_DATA for data in datas):
            raise InvalidEditError(f"{word}: data of more than {_MOST_DATA} octets; cut it into several records")
        if not 0 < edit.type < 65536 or edit.type == rr.OPT or 128 <= edit.type <= 255:
            raise InvalidEditError(f"{word}: the type is for questions only (RFC 6895 section 3.1); leave it out")

    def _check_soa(self, edit: Edit) -> None:
        apex = to_text(self.info.apex)
        if edit.owner != self.info.apex:
            raise InvalidEditError(
                f"{to_text(edit.owner)} cannot have an SOA record within the zone {apex};"
                " make it a zone of its own (RFC 1035 section 5.2)"
            )
        if edit.rrset is None or len(edit.rrset[1]) != 1:
            count = len(edit.rrset[1]) if edit.rrset else 0
            raise InvalidEditError(f"{apex} would have {count} SOA records; a zone has one (RFC 1035 section 5.2)")
        if len(edit.rrset[1][0]) < 22:
            raise InvalidEditError(f"the SOA record of {apex} is cut short; write all seven fields")

    def _write(self, wished: dict[tuple[bytes, int], Edit]) -> None:
        apex = self.info.apex
        keys = {owner: order_key(owner, apex) for owner, _ in wished}
        present = {} if self.begins else rows.nodes(self.connection, self.info.id, keys.values())
        states: list[tuple[bytes, int, RRset | None]] = []
        noted: list[tuple[bytes, int, RRset | None, RRset | None]] = []
        for (owner, rrtype), edit in wished.items():
            key = keys[owner]
            before = present.get(key, {}).get(rrtype)
            after = edit.rrset if edit.rrset and edit.rrset[1] else None
            if same(before, after):
                continue
            states.append((key, rrtype, after))
            noted.append((key, rrtype, before, after))
            self.count += (after is not None) - (before is not None)
            if not self.begins:
                self._keep(Change(owner, rrtype, before, after))
        rows.write(self.connection, self.info.id, states, fresh=self.begins)
        if not self.begins:
            rows.add_changes(self.connection, self.id, noted)

    def _keep(self, change: Change) -> None:
        if self._kept is None:
            return
        key = change.owner, change.type
        earlier = self._kept.get(key)
        if earlier is not None:
            change = Change(change.owner, change.type, earlier.before, change.after)
        self._kept[key] = change
        if len(self._kept) > KEPT:
            self._kept = None

    def conclude(self, soa: RRset | None, *, as_given: bool = False) -> bool:
        """Move the serial; call once everything else is written.

        Args:
            soa: the SOA record as it shall be, None for the present one. Its serial is kept where it is newer.
            as_given: keep its serial in any case: it is another server's.

        Returns:
            Whether there was anything to change: if not, undo the transaction.
        """
        present = self.soa
        wished = soa or present
        if wished is None:
            raise InvalidEditError(f"{to_text(self.info.apex)} would have no SOA record; write one")
        data = wished[1][0]
        serial = serial_of(data)
        if as_given:
            if present == wished and not self.changed:
                return False
        elif present is not None:
            old = serial_of(present[1][0])
            fields_differ = present[0] != wished[0] or with_serial(present[1][0], serial) != data
            if not is_newer(serial, old):
                if not self.changed and not fields_differ:
                    return False
                serial = next_serial(old, self.info.options.serial_style, self._now)
        elif serial == 0:
            serial = next_serial(0, self.info.options.serial_style, self._now)
        self.set_soa((wished[0], (with_serial(data, serial),)))
        return True

    def set_soa(self, soa: RRset) -> None:
        """Write the SOA record, and the serial with it."""
        self._write({(self.info.apex, rr.SOA): Edit(self.info.apex, rr.SOA, soa)})
        self.soa = soa

    def sign(self, signer: Signer | None) -> None:
        """Have the signatures brought up to date."""
        info = self.result()
        if not info.signed:
            return
        if signer is None:
            raise SignerMissingError(info.apex)
        assert self.soa is not None
        changed: dict[tuple[bytes, int], RRset | None] = {(info.apex, rr.SOA): self.soa}
        for change in self._each_change():
            if change.type not in _QUIET:
                changed[change.owner, change.type] = change.after
        edits = signer.resign(self.connection, info, changed, self.soa, self._now)
        self.apply(edits, generated=True)

    def all_changes(self) -> Sequence[Change]:
        """What is different, however much it is; not for a zone that begins."""
        return list(self._each_change())

    def _each_change(self) -> Iterable[Change]:
        if self._kept is not None:
            return self._kept.values()
        return rows.read_changes(self.connection, self.info.apex, self.id)

    def result(self) -> ZoneInfo:
        """What is known of the zone after the change; read anew, since others may have set what signing needs."""
        info = rows.find_zone(self.connection, self.info.apex)
        assert info is not None
        return info

    def finish(self) -> ChangeSet:
        """Write the serial and the count of record sets to the zone, and tell the nameservers."""
        assert self.soa is not None
        serial = serial_of(self.soa[1][0])
        rows.update_zone(self.connection, self.info.id, serial=serial, rrsets=self.count)
        rows.set_serial_after(self.connection, self.id, serial)
        rows.tell(self.connection, self.info.apex, self._now)
        before = None if self.begins else self.info.serial
        name, message = (
            rows.clean(self._author.name, rows.MAX_AUTHOR),
            rows.clean(self._author.message, rows.MAX_MESSAGE),
        )
        found = () if self.begins else self.changes
        return ChangeSet(self.id, self.info.apex, self._kind, before, serial, name, message, self._now, found)
