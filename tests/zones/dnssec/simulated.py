"""A world in which a zone's keys live: its parent, its nameservers that lag, and validators with caches of any age.

It keeps its own books on what was ever published and for how long somebody may hold it, and its own idea of what
validates: it shares no code with what it tests.
"""

from dataclasses import dataclass, field, replace

from mx10.zones.dnssec.keystates import Key, Plan, Seen, Timing, ZoneKeys, start
from mx10.zones.dnssec.policy import Policy
from mx10.zones.dnssec.remembered import (
    Signing,
    key_from_json,
    key_to_json,
    signing_from_json,
    signing_to_json,
)
from mx10.zones.dnssec.rollover import advance

HOUR = 3600
DAY = 24 * HOUR
BEGIN = 1_800_000_000


@dataclass
class Published:
    """Something that could be fetched for a time."""

    keys: frozenset[int]
    signers: frozenset[int]
    ttl: int
    ended: int | None = None


@dataclass(repr=False)
class World:
    policy: Policy = field(default_factory=Policy)
    now: int = BEGIN
    zone_ttl: int = HOUR
    negative_ttl: int = 300
    ds_ttl: int = HOUR
    parent_delay: int = HOUR
    """Seconds until the parent does what CDS asks for."""
    parent_spread: int = 600
    """Seconds between the first and the last of its nameservers."""
    gradual: bool = False
    resign_seconds: int = 0
    lag: int = 0
    """Seconds by which the slowest nameserver of the zone is late; at most the policy's propagation."""

    zone: ZoneKeys = field(default_factory=lambda: start(BEGIN))
    plan: Plan | None = None
    made: int = 0
    algorithms: dict[int, int] = field(default_factory=dict)
    gone_at: int = 0
    log: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        nothing = frozenset[int]()
        self.dnskeys = [Published(nothing, nothing, self.negative_ttl)]
        self.signatures = [Published(nothing, nothing, self.zone_ttl)]
        # Two nameservers of the parent: the first changes early, the second late.
        self.parents = [[Published(nothing, nothing, self.ds_ttl)] for _ in range(2)]
        self.asked: frozenset[int] | None = None
        self.due: list[tuple[int, int, frozenset[int]]] = []
        self.resigned_at: int | None = None

    # -- time

    def run_to(self, end: int, *, parent: bool = True) -> None:
        """Let time pass: the service looks when it said it would, and while it waits for the parent every hour."""
        for _ in range(5000):
            moments = [end]
            if self.plan and self.plan.next is not None:
                moments.append(max(self.plan.next, self.now + 1))
            if self.plan and self.plan.ask_parent:
                moments.append(self.now + HOUR)
            if parent:
                moments += [at for at, _, _ in self.due]
            if self.resigned_at is not None:
                moments.append(self.resigned_at)
            self.now = max(self.now, min(moments))
            self._parents_act(parent)
            if self.resigned_at is not None and self.now >= self.resigned_at:
                self._resigned()
            self.tick()
            if self.now >= end:
                return
        raise AssertionError("the service never rests")

    def tick(self, *, look: bool = True) -> None:
        """One call, and another where keys were to be made; through JSON, as over a restart."""
        for _ in range(3):
            seen = Seen(resigned=self.resigned_at is None)
            if look:
                sets = frozenset(server[-1].keys for server in self.parents)
                seen = replace(seen, ds=sets, complete=True, ds_ttl=self.ds_ttl, text="asked")
            timing = Timing(self.zone_ttl, self.negative_ttl, self.gone_at, self.gradual)
            plan = advance(self._restarted(), self.policy, timing, self.now, seen)
            assert plan.next is None or plan.next >= self.now
            self.log += [(self.now, step) for step in plan.steps]
            self.zone = plan.zone
            self.plan = plan
            self._publish()
            if not plan.missing:
                return
            for role, algorithm in plan.missing:
                self.made += 1
                self.algorithms[self.made] = algorithm
                self.zone = self.zone.with_key(Key(self.made, role, algorithm, 1000 + self.made), self.now)
        raise AssertionError("keys are missing over and over")

    def _restarted(self) -> ZoneKeys:
        keys = [key_from_json(key.id, key.role, key.algorithm, key_to_json(key)) for key in self.zone.keys]
        return signing_from_json(signing_to_json(Signing({}, self.zone)), keys).zone

    # -- what others see

    def _publish(self) -> None:
        zone = self.zone
        present = self.dnskeys[-1]
        if (zone.publish, zone.sign_dnskey) != (present.keys, present.signers):
            present.ended = self.now
            ttl = self.policy.dnskey_ttl if zone.publish else self.negative_ttl
            self.dnskeys.append(Published(zone.publish, zone.sign_dnskey, ttl))
        present.ttl = max(present.ttl, self.policy.dnskey_ttl if present.keys else self.negative_ttl)
        if zone.sign_zone != self.signatures[-1].keys:
            self.signatures.append(Published(zone.sign_zone, frozenset(), self.zone_ttl))
            if self.gradual and zone.mode == "sign":
                self.resigned_at = self.now + self.resign_seconds
            else:
                self._resigned()
        if zone.cds != self.asked:
            self.asked = zone.cds
            # A parent acts on what it reads; what it read before may come out of a queue for some hours yet.
            latest = self.now + min(20 * HOUR, self.parent_delay - 1)
            self.due = [one for one in self.due if one[0] <= latest]
            if zone.cds is not None:
                self.due.append((self.now + self.parent_delay, 0, zone.cds))
                self.due.append((self.now + self.parent_delay + self.parent_spread, 1, zone.cds))
        self.check()

    def _resigned(self) -> None:
        self.resigned_at = None
        for old in self.signatures[:-1]:
            if old.ended is None:
                old.ended = self.now

    def _parents_act(self, willing: bool) -> None:
        for item in sorted(self.due):
            at, server, keys = item
            if willing and at <= self.now:
                self.due.remove(item)
                self.set_ds(server, keys)

    def set_ds(self, server: int, keys: frozenset[int]) -> None:
        """One of the parent's nameservers has another DS set from now on."""
        if self.parents[server][-1].keys != keys:
            self.parents[server][-1].ended = self.now
            self.parents[server].append(Published(keys, frozenset(), self.ds_ttl))
            self.check()

    def set_zone_ttl(self, ttl: int) -> None:
        """All records get another TTL; caches hold them with the old one for a while."""
        self.gone_at = max(self.gone_at, self.now + self.zone_ttl)
        self.zone_ttl = ttl
        for old in [one for one in self.signatures if one.ended is None]:
            old.ended = self.now
            self.signatures.append(Published(old.keys, old.signers, ttl))

    def check(self) -> None:
        """No validator finds the zone bogus, whatever it holds."""
        for ds in self._held([one for server in self.parents for one in server], 0):
            for dnskey in self._held(self.dnskeys, self.lag):
                for signed in self._held(self.signatures, self.lag):
                    assert self._valid(ds, dnskey, signed), (
                        f"at {self.now - BEGIN} s: bogus with DS {set(ds.keys)}, DNSKEY {set(dnskey.keys)} signed by"
                        f" {set(dnskey.signers)}, signatures of {set(signed.keys)};\n{self.story()}"
                    )

    def _held(self, all_of_it: list[Published], lag: int) -> list[Published]:
        return [one for one in all_of_it if one.ended is None or self.now < one.ended + lag + one.ttl]

    def _valid(self, ds: Published, dnskey: Published, signed: Published) -> bool:
        if not ds.keys:
            return True
        # Every algorithm that the DS set names must lead to a key that signed the DNSKEY set, and every algorithm in
        # the DNSKEY set must have signed the record.
        chained = [key for key in ds.keys if key in dnskey.keys and key in dnskey.signers]
        if {self.algorithms[key] for key in chained} != {self.algorithms[key] for key in ds.keys}:
            return False
        signing = [key for key in signed.keys if key in dnskey.keys]
        return bool(signing) and {self.algorithms[key] for key in dnskey.keys} <= {
            self.algorithms[key] for key in signing
        }

    def story(self) -> str:
        """What was done, and when."""
        return "\n".join(f"{(at - BEGIN) / HOUR:10.2f} h  {step}" for at, step in self.log[-40:])

    def settled(self) -> bool:
        """Whether nothing is under way."""
        return (
            not any(key.retired is not None for key in self.zone.keys)
            and self.plan is not None
            and not self.plan.waits
            and self.zone.caches.ds[0].keys == (self.zone.cds or frozenset())
        )
