"""What loses the mail: which failures together leave a route without a single address to try.

As long as one address of one exchanger answers, mail gets through: senders try them all, whatever their preference. So
delivery is lost when, and only when, all usable addresses fail, and the question is which *few causes* can do that.
Causes are of three kinds:

* a **host**: a machine, with all its addresses; exchangers with the same addresses are one machine;
* a **network**: all addresses in one IPv4 /24 or IPv6 /48, the smallest that are routed on the Internet as one;
* a **provider**: all exchangers that one provider runs.

A single address is no cause of its own: the machine behind it is, and a host of which one address is left still gets
its mail. A network or provider that strikes nothing but what one host has is left out: it says no more than that host.
The combinations listed are minimal: take one cause away, or put one that strikes less in its place, and mail flows
again. The smallest come first. The domain's own nameservers are left out: for every domain they would be one more line,
and the same one; while they fail, mail waits as it does here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from mx10.dns import wirename
from mx10.names import display
from mx10.routing import addresses
from mx10.routing.values import Exchanger, ExchangerStatus, Route

MAX_COMBINATIONS: Final = 50
"""How many combinations are listed."""
MAX_STEPS: Final = 20_000
"""How many partial combinations are tried: some tenths of a second."""
MAX_SIZE: Final = 200
"""How many failures a combination may have before it is put together without looking for a smaller one."""


class Cause(StrEnum):
    """The kinds of failure, in the order in which they are listed and preferred."""

    HOST = "host"
    NETWORK = "network"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Failure:
    """One cause: ``name`` for people and programs, ``exchangers``: the names of those it takes an address or all
    from."""

    cause: Cause
    name: str
    exchangers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AllDown:
    """``combinations``: minimal sets of failures that stop delivery, smallest first; ``truncated``: there are, or may
    be, more."""

    combinations: tuple[tuple[Failure, ...], ...]
    truncated: bool = False


class _Unit(NamedTuple):
    """A failure and what it strikes: a set of bits, one a target."""

    failure: Failure
    strikes: int


def all_down(route: Route, *, combinations: int = MAX_COMBINATIONS, steps: int = MAX_STEPS) -> AllDown:
    """Every minimal combination of failures that loses delivery altogether; none where nothing is deliverable to begin
    with.

    Args:
        combinations: list so many at most.
        steps: bounds the work; what is found by then is listed, and ``truncated`` says so.
    """
    units, everything = _units(route)
    if not everything:
        return AllDown(())
    search = _Search(units, everything, combinations, steps)
    found = search.run()
    return AllDown(tuple(tuple(unit.failure for unit in chosen) for chosen in found), search.truncated)


# ---------------------------------------------------------------- what can fail


def _units(route: Route) -> tuple[list[_Unit], int]:
    """The causes that can strike a route, and the set of all that must be struck.

    What can be struck is an address; for an exchanger whose address is not known now, its name stands for it.
    """
    bits: dict[bytes, int] = {}
    hosts: dict[int, list[Exchanger]] = {}
    by_network: dict[str, tuple[int, list[bytes]]] = {}
    by_provider: dict[str, tuple[int, list[bytes]]] = {}
    for one in route.exchangers():
        targets = [address.packed for address in one.usable]
        if one.status is ExchangerStatus.UNKNOWN:
            targets = [one.name]
        strikes = 0
        for target in targets:
            bit = bits.setdefault(target, 1 << len(bits))
            strikes |= bit
            if one.status is ExchangerStatus.USABLE:
                network = str(addresses.around(target, 24 if len(target) == 4 else 48))
                _strike(by_network, network, bit, one.name)
        if strikes:
            hosts.setdefault(strikes, []).append(one)
            if one.provider is not None:
                _strike(by_provider, one.provider, strikes, one.name)
    units = [_Unit(_host(members), strikes) for strikes, members in hosts.items()]
    for cause, table in ((Cause.NETWORK, by_network), (Cause.PROVIDER, by_provider)):
        for name, (strikes, names) in table.items():
            if all(strikes & ~unit.strikes for unit in units if unit.failure.cause is Cause.HOST) and all(
                unit.strikes != strikes for unit in units
            ):
                units.append(_Unit(Failure(cause, name, tuple(dict.fromkeys(names))), strikes))
    return units, (1 << len(bits)) - 1


def _strike(table: dict[str, tuple[int, list[bytes]]], key: str, bits: int, name: bytes) -> None:
    before, names = table.get(key, (0, []))
    table[key] = before | bits, [*names, name]


def _host(members: Sequence[Exchanger]) -> Failure:
    """The machine that some exchangers with the same addresses are."""
    names = tuple(one.name for one in members)
    shown = " = ".join(display(one.name) if one.name != wirename.ROOT else one.addresses[0].text for one in members)
    return Failure(Cause.HOST, shown, names)


# ---------------------------------------------------------------- which of them together


class _Search:
    """Minimal sets of units that strike everything, by size: for each size in turn, the target that fewest units strike
    is branched on."""

    def __init__(self, units: Sequence[_Unit], everything: int, combinations: int, steps: int) -> None:
        self.units = units
        self.everything = everything
        self.combinations = combinations
        self.steps = steps
        self.truncated = False
        self._largest = max(unit.strikes.bit_count() for unit in units)
        bits = [1 << at for at in range(everything.bit_length())]
        striking = {bit: [at for at, unit in enumerate(units) if unit.strikes & bit] for bit in bits}
        self._by_scarcity = sorted(striking.items(), key=lambda item: len(item[1]))

    def run(self) -> list[list[_Unit]]:
        found: dict[frozenset[int], None] = {}
        for size in range(1, min(len(self.units), MAX_SIZE) + 1):
            for chosen in self._of_size(frozenset(), 0, size):
                if self._minimal(chosen):
                    found.setdefault(chosen)
                if len(found) > self.combinations:
                    self.truncated = True
                    break
            if self.truncated:
                break
        if not found:
            found = {self._greedy(): None}
            self.truncated = True
        return [[self.units[at] for at in sorted(chosen)] for chosen in list(found)[: self.combinations]]

    def _of_size(self, chosen: frozenset[int], struck: int, size: int) -> Iterator[frozenset[int]]:
        """Sets of exactly ``size`` units that include ``chosen`` and strike everything."""
        self.steps -= 1
        if self.steps < 0:
            self.truncated = True
            return
        left = self.everything & ~struck
        room = size - len(chosen)
        if not left:
            if room == 0:
                yield chosen
            return
        if left.bit_count() > room * self._largest:
            return
        striking = next(units for bit, units in self._by_scarcity if left & bit)
        for at in striking:
            yield from self._of_size(chosen | {at}, struck | self.units[at].strikes, size)
            if self.truncated:
                return

    def _minimal(self, chosen: frozenset[int]) -> bool:
        """Whether no unit can be left out, nor be replaced by one that strikes only a part of what it strikes."""
        for at in chosen:
            others = 0
            for other in chosen - {at}:
                others |= self.units[other].strikes
            needed = self.everything & ~others
            own = self.units[at].strikes
            if not needed or any(
                needed & ~unit.strikes == 0 and unit.strikes != own and unit.strikes & ~own == 0 for unit in self.units
            ):
                return False
        return True

    def _strikes_all(self, chosen: frozenset[int]) -> bool:
        struck = 0
        for at in chosen:
            struck |= self.units[at].strikes
        return struck == self.everything

    def _greedy(self) -> frozenset[int]:
        """One minimal set, for when the search had to stop before it found any: take what strikes most, then drop what
        is not needed."""
        chosen: frozenset[int] = frozenset()
        left = self.everything
        while left:
            at = max(range(len(self.units)), key=lambda at: (self.units[at].strikes & left).bit_count())
            chosen |= {at}
            left &= ~self.units[at].strikes
        for at in sorted(chosen):
            if self._strikes_all(chosen - {at}):
                chosen -= {at}
        return chosen
