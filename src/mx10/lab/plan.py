"""Which nameserver stands at which address of the lab, what it serves and how it behaves: all of it read from the
zones.

A zone is served at the addresses that its own NS records' names have in the lab's zones. A TXT record "lab BEHAVIOUR"
at a nameserver's name makes the servers at its addresses misbehave. Pure: zones in, a plan out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ROOT, fold, to_text
from mx10.zones.zone import Zone

MAX_SLOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a server behaves: ``answer``, ``off``, ``silent``, ``servfail`` or ``slow``, the last with its
    ``seconds``."""

    name: str = "answer"
    seconds: float = 0.0


ANSWER: Final = Manner()


@dataclass(frozen=True, slots=True)
class Place:
    """What is at one address: the zones served there, by apex, and the manner."""

    zones: frozenset[bytes] = frozenset()
    manner: Manner = ANSWER


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole lab.

    Args:
        places: address to what is there.
        root: addresses of the root's servers.
        remarks: what is in the zones and cannot be done, for people.
    """

    places: dict[str, Place] = field(default_factory=dict)
    root: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def make_plan(zones: Mapping[bytes, bytes]) -> Plan:
    """The plan of a lab with these zones, packed, by apex."""
    addresses: dict[bytes, set[str]] = {}
    servers: dict[bytes, list[bytes]] = {}
    manners: dict[bytes, Manner] = {}
    remarks: list[str] = []
    for apex, packed in zones.items():
        zone = Zone.unpack(packed)
        servers[apex] = [fold(target) for target in zone.nodes[apex].get(rr.NS, (0, ()))[1]]
        for owner, node in zone.nodes.items():
            for data in node.get(rr.A, (0, ()))[1]:
                addresses.setdefault(owner, set()).add(str(IPv4Address(data)))
            for data in node.get(rr.TXT, (0, ()))[1]:
                manner = _manner(owner, data, remarks)
                if manner is not None:
                    manners[owner] = manner
    by_address = {address: manner for host, manner in manners.items() for address in addresses.get(host, ())}
    served: dict[str, set[bytes]] = {}
    for apex, hosts in servers.items():
        found = {address for host in hosts for address in addresses.get(host, ())}
        usable = {address for address in found if IPv4Address(address).is_loopback}
        remarks.extend(
            f"{to_text(apex)} names a nameserver at {address}, which is not of this machine: use 127.53.0.0/16"
            for address in sorted(found - usable)
        )
        if not usable:
            names = ", ".join(map(to_text, hosts))
            remarks.append(
                f"{to_text(apex)} is served nowhere: no zone of the lab has an address of its nameservers ({names})"
            )
        for address in usable:
            served.setdefault(address, set()).add(apex)
    places = {
        address: Place(frozenset(served.get(address, ())), by_address.get(address, ANSWER))
        for address in served.keys() | by_address.keys()
    }
    root = sorted({address for host in servers.get(ROOT, ()) for address in addresses.get(host, ())})
    if not root:
        remarks.append("there is no root zone with the address of a nameserver: nothing can be found")
    return Plan(places, tuple(root), tuple(remarks))


def _manner(owner: bytes, data: bytes, remarks: list[str]) -> Manner | None:
    """The behaviour that a TXT record asks for; None for a TXT record about something else."""
    words = _strings(data).split()
    if not words or words[0] != "lab":
        return None
    match words[1:]:
        case ["off" | "silent" | "servfail" as name]:
            return Manner(name)
        case ["slow", number]:
            try:
                seconds = float(number)
            except ValueError:
                seconds = -1.0
            if 0 <= seconds <= MAX_SLOW_SECONDS:
                return Manner("slow", seconds)
    remarks.append(
        f"{to_text(owner)}: {' '.join(words)!r} is no behaviour: write lab off, lab silent, lab servfail,"
        f" or lab slow SECONDS (up to {MAX_SLOW_SECONDS:g})"
    )
    return None


def _strings(data: bytes) -> str:
    """The strings of a TXT record, with a space between them: who forgets the quotes is understood all the same."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b" ".join(parts).decode("ascii", "replace")


def all_addresses(places: Iterable[str]) -> list[str]:
    """Addresses in the order of their numbers."""
    return sorted(places, key=lambda address: IPv4Address(address))
