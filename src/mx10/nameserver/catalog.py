"""Our catalog zone (RFC 9432, version 2): it lists the primary zones of the store, so that secondaries follow each new
one by themselves.

It is a zone of the store like others: with history, transferred and notified as they are; one zone more is a small
change for secondaries. The name that stands for a member is made from the member's own, so that neither a restart nor a
new store makes secondaries begin anew.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import MAX_NAME, ROOT, NameSyntaxError, fold, from_text, is_under, order_key, to_text
from mx10.logs import get_logger
from mx10.nameserver.signing import InStore
from mx10.nameserver.steward import Steward
from mx10.zones.ledger import Author, Edit, Ledger, LedgerError, NoSuchZoneError, ZoneInfo, ZoneOptions, rows
from mx10.zones.zone import Node, Zone

AUTHOR: Final = Author("mx10", "catalog")
KIND: Final = "catalog"
TTL: Final = 0
"""Of its records: nobody but secondaries asks for them (RFC 9432 section 4.1 leaves it open)."""
AT_ONCE: Final = 10_000
"""Members that come or go in one change set."""
_TIMES: Final = (3600, 600, 2_147_483_646, 0)
"""Of its SOA record, in seconds: refresh, retry, expire, minimum. NOTIFY tells of changes sooner; and a catalog that
expires would take its zones with it."""
_NOBODY: Final = from_text("invalid.")
_PAGE: Final = 1000

log = get_logger("catalog")


class CatalogNameError(ValueError):
    """``nameserver.catalog`` is no name a zone can have: why."""


def owner_of(member: bytes, catalog: bytes) -> bytes:
    """The name in the catalog that stands for a member: a hash of its own name."""
    return bytes((32,)) + hashlib.sha256(member).hexdigest()[:32].encode() + b"\5zones" + catalog


def empty(catalog: bytes, serial: int) -> Zone:
    """The catalog without members (RFC 9432 section 4)."""
    numbers = b"".join(each.to_bytes(4, "big") for each in (serial, *_TIMES))
    apex: Node = {rr.SOA: (TTL, (_NOBODY + _NOBODY + numbers,)), rr.NS: (TTL, (_NOBODY,))}
    return Zone(catalog, {catalog: apex, b"\7version" + catalog: {rr.TXT: (TTL, (b"\0012",))}})


def is_member(info: ZoneInfo | None, catalog: bytes) -> bool:
    """Whether a zone is to stand in the catalog: those we have from ourselves, unless they are left out by their
    ``catalog`` option."""
    return info is not None and info.kind == "primary" and info.options.catalog and info.apex != catalog


class CatalogKeeper:
    """Keeps the catalog as the store's zones are, for as long as ``run`` runs.

    Args:
        catalog: its name, folded.
        in_store: runs a function in the thread of the store.
    """

    def __init__(self, ledger: Ledger, in_store: InStore, catalog: bytes) -> None:
        self._ledger = ledger
        self._in_store = in_store
        self._catalog = catalog
        self._ready = False

    async def run(self) -> None:
        """Compare all at the start; then what is told to us."""
        await self._all()

    async def changed(self, apexes: Sequence[bytes]) -> None:
        """Told of changes in the store.

        Args:
            apexes: none: nobody knows which.
        """
        if not self._ready:
            return  # all is compared first
        if not apexes:
            await self._all()
        for at in range(0, len(apexes), AT_ONCE):
            await self._in_store(self._update, apexes[at : at + AT_ONCE])

    async def _all(self) -> None:
        # Told of changes from now on: what changes during the comparison is looked at again after it.
        self._ready = True
        try:
            await self._in_store(self._compare)
        except LedgerError as error:
            log.error("the catalog is not kept", catalog=to_text(self._catalog), cause=str(error))

    # ---------------------------------------------------------------- in the thread of the store

    def _begin(self) -> bool:
        """Make the catalog where there is none; whether it is ours to keep."""
        try:
            info = self._ledger.info(self._catalog)
        except NoSuchZoneError:
            options = ZoneOptions(catalog=False, serial_style="unixtime")
            self._ledger.create(
                empty(self._catalog, self._ledger.clock() // 1000 % (1 << 32)), AUTHOR, kind=KIND, options=options
            )
            log.info("a catalog begins", catalog=to_text(self._catalog))
            return True
        if info.kind != KIND:
            log.error(
                "the catalog is not kept: there is a zone of that name; set nameserver.catalog to another",
                catalog=to_text(self._catalog),
            )
        return info.kind == KIND

    def _compare(self) -> None:
        """Make the catalog what the store says."""
        if not self._begin():
            return
        present: dict[bytes, bytes] = {}
        zones = b"\5zones" + self._catalog
        for owner, rrtype, rrset in self._ledger.iterate(self._catalog):
            if rrtype == rr.PTR and is_under(owner, zones):
                present[owner] = rrset[1][0]
        edits: list[Edit] = []
        for info in self._ledger.infos():
            if not is_member(info, self._catalog):
                continue
            owner = owner_of(info.apex, self._catalog)
            if present.pop(owner, None) != info.apex:
                edits.append(_listing(owner, info.apex))
                if len(edits) == AT_ONCE:
                    self._change(edits)
                    edits = []
        edits += [Edit(owner, rr.PTR, None) for owner in present]
        for at in range(0, len(edits), AT_ONCE):
            self._change(edits[at : at + AT_ONCE])

    def _update(self, apexes: Iterable[bytes]) -> None:
        """Look at some zones again."""
        edits: list[Edit] = []
        with self._ledger.store.read() as connection:
            catalog = rows.find_zone(connection, self._catalog)
            names = {owner_of(apex, self._catalog): apex for apex in apexes if apex != self._catalog}
            keys = {order_key(owner, self._catalog): owner for owner in names}
            found = rows.nodes(connection, catalog.id, keys) if catalog is not None else {}
            for key, owner in keys.items():
                wanted = is_member(rows.find_zone(connection, names[owner]), self._catalog)
                if wanted != (rr.PTR in found.get(key, {})):
                    edits.append(_listing(owner, names[owner]) if wanted else Edit(owner, rr.PTR, None))
        if catalog is None:
            self._compare()
        elif edits and catalog.kind == KIND:
            self._change(edits)

    def _change(self, edits: Sequence[Edit]) -> None:
        try:
            made = self._ledger.change(self._catalog, edits, AUTHOR, kind="edit")
        except LedgerError as error:
            log.error("the catalog is not as the store is", catalog=to_text(self._catalog), cause=str(error))
            return
        if made is not None:
            come = sum(each.rrset is not None for each in edits)
            said = {"come": come, "gone": len(edits) - come, "serial": made.serial_after}
            log.info("the catalog changed", catalog=to_text(self._catalog), **said)


def _listing(owner: bytes, member: bytes) -> Edit:
    return Edit(owner, rr.PTR, (TTL, (member,)))


def catalog_name(text: str) -> bytes | None:
    """The name of the catalog as it is set (``nameserver.catalog``); None for the empty text: there is none.

    Raises:
        CatalogNameError: it is no name that leaves room for its members.
    """
    if not text:
        return None
    try:
        name = fold(from_text(text))
    except NameSyntaxError as error:
        raise CatalogNameError(f"nameserver.catalog: {text!r} is no name: {error}") from None
    if name == ROOT or len(owner_of(name, name)) > MAX_NAME:
        raise CatalogNameError(f"nameserver.catalog: {text!r} cannot be a catalog; take a name as catalog.example")
    return name


def plug_in(steward: Steward) -> CatalogKeeper | None:
    """Have the steward keep the catalog, if there is to be one."""
    name = catalog_name(steward.config.nameserver.catalog)
    if name is None:
        return None
    made = CatalogKeeper(steward.ledger, steward.in_store, name)
    steward.services.append(made)
    steward.on_feed(made.changed)
    return made
