"""Zones made and changed, on both databases."""

import pytest
from sqlalchemy import update

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store
from mx10.store.errors import DamagedStoreError
from mx10.store.tables import rrsets, zones
from mx10.zones.ledger import (
    Author,
    ConflictError,
    Edit,
    InvalidEditError,
    Ledger,
    LedgerError,
    NoSuchZoneError,
    RuleError,
    ZoneExistsError,
    ZoneOptions,
)
from mx10.zones.ledger.serials import serial_of, with_serial
from mx10.zones.zone import Zone
from tests.zones.ledger.making import ANN, BOB, Clock, edit, name, no, plain
from tests.zones.reading import ORIGIN, zone_of

WWW = edit("www 60 A 192.0.2.7")


def test_a_new_zone(ledger: Ledger, clock: Clock) -> None:
    zone = zone_of("a.b A 192.0.2.2")
    made = ledger.create(zone, BOB)
    assert (made.kind, made.serial_before, made.serial_after, made.changes) == ("create", None, 1, ())
    assert (made.author, made.message, made.at) == ("bob", "because", clock.now)
    assert ledger.zone(ORIGIN) == zone
    info = ledger.info(ORIGIN)
    assert (info.serial, info.rrsets, info.kind, info.served, info.signed) == (1, 4, "primary", True, False)
    assert info.options == ZoneOptions()


def test_serial_0_is_for_the_ledger_to_choose(ledger: Ledger) -> None:
    zone = zone_of("")
    zone.nodes[ORIGIN][rr.SOA] = _soa_with(zone, 0)
    assert ledger.create(zone, ANN).serial_after == 2026112301


def test_a_zone_is_there_once(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    with pytest.raises(ZoneExistsError, match="is in the store already"):
        ledger.create(zone_of(""), ANN)
    assert ledger.count() == 1


def test_a_zone_without_soa(ledger: Ledger) -> None:
    with pytest.raises(InvalidEditError, match="has no SOA record"):
        ledger.create(Zone(ORIGIN, {ORIGIN: {}}), ANN)


def test_rules_stop_a_new_zone(ledger: Ledger) -> None:
    zone = zone_of("www A 192.0.2.7")
    del zone.nodes[ORIGIN][rr.NS]
    with pytest.raises(RuleError, match="no-ns"):
        ledger.create(zone, ANN)
    assert ledger.count() == 0
    ledger.create(zone, BOB, force=True)
    assert [each.code for each in ledger.problems] == ["no-ns"]
    assert {each.severity for each in ledger.problems} == {"warning"}


def test_a_change_moves_the_serial(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    made = ledger.change(ORIGIN, [WWW], BOB)
    assert made
    assert (made.kind, made.serial_before, made.serial_after) == ("edit", 1, 2026112301)
    assert made.changes
    assert [(each.owner, each.type) for each in made.changes] == [(ORIGIN, rr.SOA), (name("www"), rr.A)]
    assert ledger.rrset(ORIGIN, name("www"), rr.A) == WWW.rrset
    assert ledger.info(ORIGIN).serial == ledger.zone(ORIGIN).serial == 2026112301
    assert ledger.info(ORIGIN).rrsets == 4


def test_what_is_so_already_is_no_change(ledger: Ledger) -> None:
    ledger.create(zone_of("www 60 A 192.0.2.7\nwww 60 A 192.0.2.8"), ANN)
    assert ledger.change(ORIGIN, [edit("www 60 A 192.0.2.8\nwww 60 A 192.0.2.7"), no("nobody", rr.A)], ANN) is None
    assert ledger.change(ORIGIN, [], ANN) is None
    assert ledger.replace(ORIGIN, ledger.zone(ORIGIN), ANN) is None
    assert ledger.info(ORIGIN).serial == 1
    assert len(ledger.history(ORIGIN, limit=10)) == 1


def test_records_go(ledger: Ledger) -> None:
    ledger.create(zone_of("www 60 A 192.0.2.7"), ANN)
    assert ledger.change(ORIGIN, [no("www", rr.A)], ANN)
    assert ledger.node(ORIGIN, name("www")) == {}
    # A set without records is none.
    ledger.change(ORIGIN, [WWW], ANN)
    assert ledger.change(ORIGIN, [Edit(name("www"), rr.A, (60, ()))], ANN)
    assert ledger.node(ORIGIN, name("www")) == {}
    assert ledger.info(ORIGIN).rrsets == 3


@pytest.mark.parametrize(
    ("written", "kept"),
    [(2026112350, True), (1, False), (0, False), ((1 << 31) + 2, False), (77, True)],
)
def test_the_serial_somebody_writes_is_kept_if_it_is_newer(ledger: Ledger, written: int, kept: bool) -> None:
    """RFC 1982 section 3.2: 2^31 + 2 is older than 1."""
    zone = zone_of("")
    ledger.create(zone, ANN)
    soa = Edit(ORIGIN, rr.SOA, _soa_with(zone, written))
    made = ledger.change(ORIGIN, [WWW, soa], ANN)
    assert made
    assert made.serial_after == (written if kept else 2026112301)


def test_only_the_serial_written_newer(ledger: Ledger) -> None:
    zone = zone_of("")
    ledger.create(zone, ANN)
    made = ledger.change(ORIGIN, [Edit(ORIGIN, rr.SOA, _soa_with(zone, 5))], ANN)
    assert made
    assert made.serial_after == 5
    assert ledger.change(ORIGIN, [Edit(ORIGIN, rr.SOA, _soa_with(zone, 3))], ANN) is None


def test_other_fields_of_the_soa(ledger: Ledger) -> None:
    zone = zone_of("")
    ledger.create(zone, ANN)
    ttl, (data,) = zone.nodes[ORIGIN][rr.SOA]
    assert ledger.change(ORIGIN, [Edit(ORIGIN, rr.SOA, (ttl + 1, (data,)))], ANN)
    assert ledger.change(ORIGIN, [Edit(ORIGIN, rr.SOA, (ttl + 1, (data[:-1] + b"\7",)))], ANN)
    found = ledger.rrset(ORIGIN, ORIGIN, rr.SOA)
    assert found
    assert (found[0], found[1][0][-1]) == (ttl + 1, 7)


def test_styles_of_serials(ledger: Ledger, clock: Clock) -> None:
    ledger.create(zone_of(""), ANN, options=ZoneOptions(serial_style="counter"))
    made = ledger.change(ORIGIN, [WWW], ANN)
    assert made
    assert made.serial_after == 2
    ledger.set_options(ORIGIN, ZoneOptions(serial_style="unixtime"), ANN)
    made = ledger.change(ORIGIN, [no("www", rr.A)], ANN)
    assert made
    assert made.serial_after == clock.now // 1000


def test_replacing_a_zone(ledger: Ledger) -> None:
    ledger.create(zone_of("a A 192.0.2.2\nb A 192.0.2.3\nc.d A 192.0.2.4"), ANN)
    newer = zone_of("b A 192.0.2.9\nb TXT x\ne A 192.0.2.5")
    made = ledger.replace(ORIGIN, newer, ANN)
    assert made
    assert made.kind == "import"
    newer.nodes[ORIGIN][rr.SOA] = _soa_with(newer, made.serial_after or 0)
    assert ledger.zone(ORIGIN) == newer
    assert ledger.info(ORIGIN).rrsets == sum(map(len, newer.nodes.values()))


def test_a_trial_changes_nothing(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    before = ledger.feed_position()
    made = ledger.change(ORIGIN, [WWW], ANN, dry_run=True)
    assert made
    assert made.changes
    made = ledger.replace(ORIGIN, zone_of("a A 192.0.2.2"), ANN, dry_run=True)
    assert made
    assert ledger.zone(ORIGIN) == zone_of("")
    assert ledger.feed_position() == before
    assert len(ledger.history(ORIGIN, limit=10)) == 1


def test_deleting(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    gone = ledger.delete(ORIGIN, BOB)
    assert (gone.serial_before, gone.serial_after) == (1, None)
    for call in (ledger.info, ledger.zone, lambda apex: ledger.delete(apex, ANN)):
        with pytest.raises(NoSuchZoneError, match=r"no zone example\.com in the store"):
            call(ORIGIN)
    assert [each.kind for each in ledger.history(ORIGIN, limit=10)] == ["delete", "create"]
    with ledger.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM rrsets").scalar() == 0


def test_a_zone_made_anew_has_a_newer_serial(ledger: Ledger) -> None:
    """Secondaries that still have the one before would not notice else."""
    ledger.create(zone_of(""), ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    ledger.delete(ORIGIN, ANN)
    assert ledger.create(zone_of(""), ANN).serial_after == 2026112302


def test_the_second_of_two_is_told(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    ledger.change(ORIGIN, [WWW], BOB)
    with pytest.raises(ConflictError) as caught:
        ledger.change(ORIGIN, [edit("www 60 A 192.0.2.8"), edit("b A 192.0.2.9")], ANN, expected_serial=1)
    error = caught.value
    assert (error.expected, error.serial, error.both) == (1, 2026112301, ((name("www"), rr.A),))
    assert error.since
    assert [each.author for each in error.since] == ["bob"]
    assert error.since[0].changes
    assert "bob made change 2 (because); both touch www.example.com A" in str(error)
    assert ledger.rrset(ORIGIN, name("www"), rr.A) == WWW.rrset
    with pytest.raises(ConflictError, match="they touch other records"):
        ledger.replace(ORIGIN, zone_of("www 60 A 192.0.2.7\nb A 192.0.2.9"), ANN, expected_serial=1)
    with pytest.raises(ConflictError, match="what came between is not known"):
        ledger.change(ORIGIN, [WWW], ANN, expected_serial=7)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Edit(name("example.net."), rr.A, (1, (bytes(4),))), "is not in the zone"),
        (Edit(name("xexample.com."), rr.A, None), "is not in the zone"),
        (Edit(ORIGIN, rr.SOA, None), "would have 0 SOA records"),
        (Edit(ORIGIN, rr.SOA, (1, (bytes(22), bytes(21) + b"\1"))), "would have 2 SOA records"),
        (Edit(name("a"), rr.SOA, (1, (bytes(22),))), "cannot have an SOA record within"),
        (Edit(name("a"), rr.A, (1 << 31, (bytes(4),))), "the TTL 2147483648"),
        (Edit(name("a"), rr.A, (-1, (bytes(4),))), "the TTL -1"),
        (Edit(name("a"), rr.A, (1, (bytes(5),))), "are not of that type"),
        (Edit(name("a"), rr.MX, (1, (b"\0",))), "are not of that type"),
        (Edit(name("a"), rr.ANY, (1, (b"",))), "questions only"),
        (Edit(name("a"), 0, (1, (b"",))), "questions only"),
        (Edit(name("a"), 65280, (1, (bytes(65536),))), "more than 65535 octets"),
    ],
)
def test_what_cannot_be(ledger: Ledger, wrong: Edit, said: str) -> None:
    ledger.create(zone_of(""), ANN)
    with pytest.raises(InvalidEditError, match=said):
        ledger.change(ORIGIN, [WWW, wrong], ANN)
    assert ledger.zone(ORIGIN) == zone_of("")
    assert len(ledger.history(ORIGIN, limit=10)) == 1


def test_force_says_why(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    with pytest.raises(LedgerError, match="message that says why"):
        ledger.change(ORIGIN, [WWW], Author("ann", "  "), force=True)


def test_odd_texts_of_authors(ledger: Ledger) -> None:
    """From a command line or an API anything may come; NUL has no place in a text of PostgreSQL."""
    ledger.create(zone_of(""), Author("a\0nn\udcff", "x" * 10_000 + "ü"[:0]))
    assert ledger.history(ORIGIN, limit=1)[0].author == "ann?"
    with pytest.raises(LedgerError, match="10001 characters"):
        ledger.change(ORIGIN, [WWW], Author("ann", "x" * 10_001))


def test_more_records_than_a_zone_may_have(store: Store, clock: Clock) -> None:
    ledger = Ledger(store, ZoneSettings(max_records=4), clock=clock)
    ledger.create(zone_of(""), ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    with pytest.raises(InvalidEditError, match=r"raise zones\.max_records"):
        ledger.change(ORIGIN, [edit("b A 192.0.2.9")], ANN)
    assert ledger.change(ORIGIN, [no("www", rr.A)], ANN)


def test_listing(ledger: Ledger) -> None:
    apexes = sorted(name(f"z{number}.") for number in range(25))
    for apex in apexes:
        ledger.create(_moved(zone_of(""), apex), ANN, force=False)
    assert [each.apex for each in ledger.infos()] == apexes
    assert [each.apex for each in ledger.infos(after=apexes[3], limit=4)] == apexes[4:8]
    assert ledger.count() == 25


def test_iterating(ledger: Ledger) -> None:
    """The SOA record first, then in canonical order (RFC 4034 section 6.1)."""
    ledger.create(zone_of("b A 192.0.2.3\nz.a A 192.0.2.2\na A 192.0.2.2\n\\001.z.a A 192.0.2.4\n* A 192.0.2.4"), ANN)
    found = list(ledger.iterate(ORIGIN))
    assert found[0][:2] == (ORIGIN, rr.SOA)
    assert [owner for owner, _, _ in found[1:]] == [
        ORIGIN,
        *map(name, ("*", "a", "z.a", "\\001.z.a", "b", "ns1")),
    ]


def test_a_secondary_before_and_after_its_first_transfer(ledger: Ledger) -> None:
    ledger.follow(ORIGIN, ANN, ZoneOptions(primaries=("127.0.0.1",)))
    info = ledger.info(ORIGIN)
    assert (info.kind, info.serial, info.rrsets, info.served) == ("secondary", 0, 0, False)
    assert ledger.zone(ORIGIN).nodes == {ORIGIN: {}}
    zone = zone_of("www CNAME a\nwww A 192.0.2.3".replace("CNAME a", "TXT x"))
    del zone.nodes[ORIGIN][rr.NS]  # no rule is asked
    made = ledger.replace(ORIGIN, zone, ANN, kind="transfer")
    assert made
    assert (made.serial_before, made.serial_after) == (None, 1)
    assert plain(ledger.zone(ORIGIN)) == plain(zone)
    assert ledger.info(ORIGIN).served
    # Its serial is the primary's business, even if it goes back.
    zone.nodes[ORIGIN][rr.SOA] = _soa_with(zone, 3_000_000_000)
    made = ledger.replace(ORIGIN, zone, ANN, kind="transfer")
    assert made
    assert ledger.info(ORIGIN).serial == 3_000_000_000
    assert ledger.replace(ORIGIN, zone, ANN, kind="transfer") is None
    with pytest.raises(LedgerError, match="change it where it comes from"):
        ledger.change(ORIGIN, [WWW], ANN)
    ledger.set_served(ORIGIN, False)
    assert not ledger.info(ORIGIN).served
    ledger.set_following(ORIGIN, '{"a": 1}')
    assert ledger.info(ORIGIN).following == '{"a": 1}'


def test_the_feed(ledger: Ledger) -> None:
    assert ledger.feed_since(0) == (0, [])
    ledger.create(zone_of(""), ANN)
    first = ledger.feed_position()
    ledger.change(ORIGIN, [WWW], ANN)
    other = name("other.")
    ledger.create(_moved(zone_of(""), other), ANN)
    ledger.change(ORIGIN, [no("www", rr.A)], ANN)
    found = ledger.feed_since(first)
    assert found
    assert found == (ledger.feed_position(), [ORIGIN, other])
    assert ledger.feed_since(found[0]) == (found[0], [])
    assert ledger.feed_since(found[0] + 1) is None  # another database than before
    with ledger.store.begin() as connection:
        connection.exec_driver_sql("DELETE FROM feed WHERE seq = (SELECT min(seq) FROM feed)")
    assert ledger.feed_since(0) is None


def _soa_with(zone: Zone, serial: int) -> tuple[int, tuple[bytes, ...]]:
    ttl, (data,) = zone.nodes[ORIGIN][rr.SOA]
    assert serial_of(data) == 1
    return ttl, (with_serial(data, serial),)


def _moved(zone: Zone, apex: bytes) -> Zone:
    """The zone under another name; its records still name hosts of the old one."""
    return Zone(apex, {owner[: -len(zone.apex)] + apex: node for owner, node in zone.nodes.items()})


def test_what_mx10_never_wrote_is_told(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    with ledger.store.begin() as connection:
        connection.execute(update(zones).values(options='{"notify": 7, "of a newer version": 1}'))
    with pytest.raises(DamagedStoreError, match="options of a zone are damaged"):
        ledger.info(ORIGIN)
    with ledger.store.begin() as connection:
        connection.execute(update(zones).values(options='{"notify": ["::1"], "of a newer version": 1}'))
        connection.execute(update(rrsets).values(data=b""))
    assert ledger.info(ORIGIN).options.notify == ("::1",)
    for read in (ledger.zone, lambda apex: list(ledger.iterate(apex)), lambda apex: ledger.node(apex, apex)):
        with pytest.raises(DamagedStoreError, match="put back a backup"):
            read(ORIGIN)


def test_progress_is_told(ledger: Ledger) -> None:
    told: list[int] = []
    ledger.create(zone_of("a A 192.0.2.2"), ANN, progress=told.append)
    assert told == [3]  # the SOA record is written last
    ledger.replace(ORIGIN, zone_of("a A 192.0.2.3\nb A 192.0.2.2"), ANN, progress=told.append)
    assert told == [3, 2]
