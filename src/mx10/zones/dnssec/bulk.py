"""Many zones signed for the first time: on all processors, and written by the batch.

What a single ``Keeper.sign`` does one statement after the other is computed by worker processes here, from rows that
they are given, and comes back as rows; this process only reads and writes. A batch is one transaction: interrupted or
killed, all zones of some batches are signed and none of the others has been touched. Zones that are more than new (with
a history, keys of their own, or too large to hurry) go the ordinary way.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from random import SystemRandom
from signal import SIG_IGN, SIGINT, signal
from typing import Any, Final, cast

from sqlalchemy import Connection, bindparam, select, text, update

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key
from mx10.store import datas
from mx10.store.bulk import insert_rows, reserve_ids
from mx10.store.connect import Store
from mx10.store.tables import change_sets, changes, feed, keys, rrsets, zones
from mx10.zones.dnssec.keeping import Keeper, next_look
from mx10.zones.dnssec.kept import Kept, Row, key_set
from mx10.zones.dnssec.keys import Role, SigningKey
from mx10.zones.dnssec.keystates import Key, Plan, Seen, Timing, start
from mx10.zones.dnssec.policy import DAY, Policy
from mx10.zones.dnssec.remembered import Signing, key_to_json, signing_to_json
from mx10.zones.dnssec.rollover import advance
from mx10.zones.dnssec.signer import AT_ONCE
from mx10.zones.dnssec.whole import whole
from mx10.zones.dnssec.work import Arrangement, Work
from mx10.zones.ledger import GENERATED, Author, LedgerError
from mx10.zones.ledger.options import SerialStyle
from mx10.zones.ledger.rows import MAX_AUTHOR, MAX_MESSAGE, clean
from mx10.zones.ledger.rows import info as info_of
from mx10.zones.ledger.serials import next_serial, serial_of, with_serial
from mx10.zones.zone import Node, RRset

BATCH: Final = 200
"""Zones of one transaction."""
FEW: Final = 50
"""Fewer zones than these are signed one after the other before workers have even started."""
_JOB: Final = 25
"""Zones a worker gets at once: few enough to share out a batch, enough to make sending them cheap."""
_AHEAD: Final = 2
"""Batches that are in the works at a time."""

_ZONES: Final = select(zones).where(zones.c.apex.in_(bindparam("apexes", expanding=True)))
_STATES: Final = select(zones.c.id, zones.c.serial, zones.c.signing).where(
    zones.c.id.in_(bindparam("ids", expanding=True))
)
_ROWS: Final = (
    select(rrsets.c.zone, rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data)
    .where(rrsets.c.zone.in_(bindparam("ids", expanding=True)))
    .order_by(rrsets.c.zone, rrsets.c.owner, rrsets.c.type)
)
_CHANGED: Final = (
    select(change_sets.c.apex)
    .where(change_sets.c.apex.in_(bindparam("apexes", expanding=True)), change_sets.c.kind != "create")
    .distinct()
)
_SET_SOA: Final = text("UPDATE rrsets SET data = :data WHERE zone = :zone AND owner = :owner AND type = 6")
_NO_OWNER: Final = b""

StoredRow = tuple[bytes, int, int, bytes]
"""Key of the owner, type, TTL and packed data."""


@dataclass(frozen=True, slots=True)
class Task:
    """A zone to sign, as a worker gets it. ``numbers`` are for its keys; ``now`` is in milliseconds since 1970."""

    zone: int
    apex: bytes
    serial: int
    style: SerialStyle
    policy: Policy
    said: dict[str, Any]
    numbers: tuple[int, ...]
    now: int
    rows: tuple[StoredRow, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a worker made of a zone: the state of its keys, their secrets, and rows to add; the SOA record before and
    after."""

    task: Task
    signing: str
    keys_at: int
    resign_at: int | None
    keys: tuple[tuple[Key, bytes, bytes], ...]
    rows: tuple[StoredRow, ...]
    soa_ttl: int
    soa_before: bytes
    soa_after: bytes


def sign_many(
    keeper: Keeper,
    apexes: Iterable[bytes],
    author: Author,
    overrides: Mapping[str, Any] | None = None,
    *,
    progress: Callable[[bytes], None] = lambda _: None,
    refused: Callable[[bytes, LedgerError], None] | None = None,
    processes: int | None = None,
) -> int:
    """Sign zones that are not signed yet.

    Args:
        overrides: what differs from the configuration's policy.
        progress: told of each zone when it is signed, and that is durable.
        refused: told of zones that cannot be signed; without it the first one ends it.
        processes: workers; by default one for each processor we may use, and none for a few zones.

    Returns:
        How many were signed.

    Raises:
        KeysError: the policy cannot be.
    """
    said = dict(overrides or {})
    policy = keeper.policy(said)
    count = processes or len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin_worker)
    batches: list[_Batch] = []
    done = 0
    stream = iter(apexes)
    try:
        while True:
            while len(batches) < _AHEAD and (piece := list(islice(stream, BATCH))):
                if len(piece) < FEW and processes is None and not done and not batches:
                    batches.append(_Batch(slow=piece))
                else:
                    batches.append(_submit(keeper, pool, piece, policy, said))
            if not batches:
                return done
            batch = batches.pop(0)
            signed, slow = _write(keeper, batch, author)
            for apex in signed:
                progress(apex)
            done += len(signed)
            for apex in slow:
                try:
                    keeper.sign(apex, author, said)
                except LedgerError as error:
                    if refused is None:
                        raise
                    refused(apex, error)
                else:
                    progress(apex)
                    done += 1
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    # Ctrl-C ends the process that shares out the work, and that ends the workers.
    signal(SIGINT, SIG_IGN)


@dataclass(slots=True)
class _Batch:
    jobs: list["Future[list[Signed]]"] = field(default_factory=list)
    slow: list[bytes] = field(default_factory=list)


def _submit(
    keeper: Keeper, pool: ProcessPoolExecutor, apexes: Sequence[bytes], policy: Policy, said: dict[str, Any]
) -> _Batch:
    """Read zones, and have them signed; those that are not plainly new are left for the ordinary way."""
    store = keeper.ledger.store
    now = keeper.ledger.clock()
    batch = _Batch()
    wanted = len(policy.roles)
    with store.read() as connection:
        found = {row.apex: info_of(row) for row in connection.execute(_ZONES, {"apexes": list(apexes)})}
        changed = set(connection.execute(_CHANGED, {"apexes": list(apexes)}).scalars())
        infos = []
        for apex in apexes:
            info = found.get(apex)
            if info is None or info.kind != "primary" or info.signing or apex in changed or info.rrsets > AT_ONCE:
                batch.slow.append(apex)
            else:
                infos.append(info)
        rows: dict[int, list[StoredRow]] = {info.id: [] for info in infos}
        for zone, owner, rrtype, ttl, data in connection.execute(_ROWS, {"ids": list(rows)}):
            rows[zone].append((owner, rrtype, ttl, data))
    first = _reserve_keys(store, wanted * len(infos))
    tasks = []
    for at, info in enumerate(infos):
        if any(row[1] in GENERATED for row in rows[info.id]):
            batch.slow.append(info.apex)
            continue
        numbers = tuple(range(first + at * wanted, first + (at + 1) * wanted))
        style = info.options.serial_style
        tasks.append(Task(info.id, info.apex, info.serial, style, policy, said, numbers, now, tuple(rows[info.id])))
    batch.jobs = [pool.submit(sign_tasks, tasks[at : at + _JOB]) for at in range(0, len(tasks), _JOB)]
    return batch


def _reserve_keys(store: Store, count: int) -> int:
    """The first of so many numbers for keys that nobody else gets from now on."""
    if not count:
        return 0
    with store.begin() as connection:
        first = reserve_ids(connection, keys, count)
        if store.is_sqlite:
            last = {"seq": first + count - 1}
            if not connection.execute(text("UPDATE sqlite_sequence SET seq = :seq WHERE name = 'keys'"), last).rowcount:
                connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('keys', :seq)"), last)
        return first


# ---------------------------------------------------------------- in workers


class _Open:
    """Instead of a vault, where secrets have not been sealed yet."""

    def seal(self, apex: bytes, dnskey: bytes, secret: bytes) -> bytes:
        return secret

    def unseal(self, apex: bytes, dnskey: bytes, sealed: bytes) -> bytes:
        return sealed


def sign_tasks(tasks: Sequence[Task]) -> list[Signed]:
    """Sign zones; pure but for the making of keys and chance."""
    return [_sign(task) for task in tasks]


def _sign(task: Task) -> Signed:
    nodes: dict[bytes, Node] = {}
    longest = 0
    for owner, rrtype, ttl, data in task.rows:
        nodes.setdefault(owner, {})[rrtype] = ttl, datas.unpack(data)
        longest = max(longest, ttl)
    seconds = task.now // 1000
    before: RRset = nodes[_NO_OWNER][rr.SOA]
    ttl, (old,) = before
    negative = min(ttl, int.from_bytes(old[-4:], "big"))
    kept, plan, made = _begun(task, Timing(longest, negative), seconds)
    serial = next_serial(serial_of(old), task.style, task.now)
    soa = ttl, (with_serial(old, serial),)
    nodes[_NO_OWNER][rr.SOA] = soa
    arrangement = Arrangement(task.policy, key_set(task.apex, kept, _Open()))
    work = Work(task.apex, arrangement, soa, seconds, SystemRandom().random, fresh=None)
    rows = tuple(
        (order_key(edit.owner, task.apex), edit.type, edit.rrset[0], datas.pack(edit.rrset[1]))
        for edit in whole(work, sorted(nodes.items()))
        if edit.rrset is not None
    )
    signing = replace(kept.signing, zone=plan.zone, next=plan.next, ask_parent=plan.ask_parent)
    return Signed(
        task,
        signing_to_json(signing),
        next_look(plan, task.policy, seconds),
        None if work.earliest is None else work.earliest - task.policy.refresh_days * DAY,
        tuple((plan.zone.key(number), key.dnskey, key.secret()) for number, key in made.items()),
        rows,
        ttl,
        old,
        soa[1][0],
    )


def _begun(task: Task, timing: Timing, now: int) -> tuple[Kept, Plan, dict[int, SigningKey]]:
    """The first keys of a zone, and what they do."""
    zone = start(now)
    made: dict[int, SigningKey] = {}
    rows: dict[int, Row] = {}
    numbers = iter(task.numbers)
    while True:
        plan = advance(zone, task.policy, timing, now, Seen(resigned=True))
        zone = plan.zone
        if not plan.missing:
            return Kept(Signing(task.said, zone), rows), plan, made
        for role, algorithm in plan.missing:
            key = SigningKey.generate(algorithm, cast(Role, role), rsa_bits=task.policy.rsa_bits)
            number = next(numbers)
            made[number] = key
            rows[number] = Row(number, role, algorithm, key.dnskey, key.secret())
            zone = zone.with_key(Key(number, role, algorithm, key.tag), now)


# ---------------------------------------------------------------- writing


def _write(keeper: Keeper, batch: _Batch, author: Author) -> tuple[list[bytes], list[bytes]]:
    """Write what workers made of a batch; the names of the zones that are signed, and of those left for the ordinary
    way: among them those that were changed meanwhile."""
    signed = [each for job in batch.jobs for each in job.result()]
    slow = list(batch.slow)
    if not signed:
        return [], slow
    with keeper.ledger.store.begin() as connection:
        found = connection.execute(_STATES, {"ids": [each.task.zone for each in signed]})
        states = {row.id: (row.serial, row.signing) for row in found}
        good = [each for each in signed if states.get(each.task.zone) == (each.task.serial, "")]
        slow += [each.task.apex for each in signed if states.get(each.task.zone) != (each.task.serial, "")]
        if good:
            _write_zones(connection, keeper, good)
            _write_history(connection, good, author)
    return [each.task.apex for each in good], slow


def _write_zones(connection: Connection, keeper: Keeper, signed: Sequence[Signed]) -> None:
    found = (
        (key.id, each.task.zone, key.role, key.algorithm, dnskey, keeper.vault.seal(each.task.apex, dnskey, secret),
         key_to_json(key))
        for each in signed for key, dnskey, secret in each.keys
    )  # fmt: skip
    insert_rows(connection, keys, ("id", "zone", "role", "algorithm", "dnskey", "secret", "state"), list(found))
    rows = [(each.task.zone, *row) for each in signed for row in each.rows]
    insert_rows(connection, rrsets, ("zone", "owner", "type", "ttl", "data"), rows)
    soas = [{"zone": each.task.zone, "owner": _NO_OWNER, "data": datas.pack([each.soa_after])} for each in signed]
    connection.execute(_SET_SOA, soas)
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}") for name in ("signing", "keys_at", "resign_at", "serial", "rrsets")
    }
    connection.execute(
        update(zones).where(zones.c.id == bindparam("zone")).values(values),
        [
            {
                "zone": each.task.zone,
                "new_signing": each.signing,
                "new_keys_at": each.keys_at,
                "new_resign_at": each.resign_at,
                "new_serial": serial_of(each.soa_after),
                "new_rrsets": len(each.task.rows) + len(each.rows),
            }
            for each in signed
        ],
    )


def _write_history(connection: Connection, signed: Sequence[Signed], author: Author) -> None:
    name, message = clean(author.name, MAX_AUTHOR), clean(author.message, MAX_MESSAGE)
    first = reserve_ids(connection, change_sets, len(signed))
    columns = ("id", "apex", "kind", "serial_before", "serial_after", "author", "message", "at")
    insert_rows(
        connection,
        change_sets,
        columns,
        [
            (number, each.task.apex, "sign", each.task.serial, serial_of(each.soa_after), name, message, each.task.now)
            for number, each in enumerate(signed, first)
        ],
    )
    insert_rows(
        connection,
        changes,
        ("change_set", "owner", "type", "ttl_before", "data_before", "ttl_after", "data_after"),
        [row for number, each in enumerate(signed, first) for row in _changes(number, each)],
    )
    insert_rows(connection, feed, ("apex", "at"), [(each.task.apex, each.task.now) for each in signed])


def _changes(number: int, each: Signed) -> Iterator[tuple[object, ...]]:
    before, after = datas.pack([each.soa_before]), datas.pack([each.soa_after])
    yield number, _NO_OWNER, rr.SOA, each.soa_ttl, before, each.soa_ttl, after
    for owner, rrtype, ttl, data in each.rows:
        yield number, owner, rrtype, None, None, ttl, data
