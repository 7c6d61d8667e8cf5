"""Which nameserver stands at which address of the lab, what it serves and how it behaves, and which exchangers there
are: all of it read from the zones.

A zone is served at the addresses that its own NS records' names have in the lab's zones. A TXT record "lab BEHAVIOUR"
at a nameserver's name makes the servers at its addresses misbehave; "lab mail" at an exchanger's name puts a host there
that takes mail, "lab relay" our relay. Pure: zones in, a plan out.
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
class MailPlace:
    """An exchanger that somebody runs.

    Args:
        addresses: of this machine, in the order of their numbers.
        domains: whose mail it takes, without the final dot, in A-labels and lower case: those whose MX records name
            it; of a relay only those that have better exchangers.
        people: local parts in lower case that exist; empty: all.
        relay: it is our relay, and no host that keeps mail.
    """

    addresses: tuple[str, ...]
    domains: frozenset[str]
    people: frozenset[str] = frozenset()
    relay: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole lab.

    Args:
        places: address to what is there.
        exchangers: name (A-labels, no final dot) to where it is and whose mail it takes.
        root: addresses of the root's servers.
        remarks: what is in the zones and cannot be done, for people.
    """

    places: dict[str, Place] = field(default_factory=dict)
    exchangers: dict[str, MailPlace] = field(default_factory=dict)
    root: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def make_plan(zones: Mapping[bytes, bytes]) -> Plan:
    """The plan of a lab with these zones, packed, by apex."""
    addresses: dict[bytes, set[str]] = {}
    servers: dict[bytes, list[bytes]] = {}
    manners: dict[bytes, Manner] = {}
    named: dict[bytes, set[bytes]] = {}
    behind: dict[bytes, set[bytes]] = {}
    running: dict[bytes, list[str]] = {}
    remarks: list[str] = []
    for apex, packed in zones.items():
        zone = Zone.unpack(packed)
        servers[apex] = [fold(target) for target in zone.nodes[apex].get(rr.NS, (0, ()))[1]]
        for owner, node in zone.nodes.items():
            for data in node.get(rr.A, (0, ()))[1]:
                addresses.setdefault(owner, set()).add(str(IPv4Address(data)))
            # Without MX records a host is its own exchanger (RFC 5321 section 5.1).
            exchanges = sorted((data[:2], fold(data[2:])) for data in node.get(rr.MX, (0, ()))[1]) or [(b"", owner)]
            for preference, exchange in exchanges:
                named.setdefault(exchange, set()).add(owner)
                if preference > exchanges[0][0]:
                    behind.setdefault(exchange, set()).add(owner)
            for data in node.get(rr.TXT, (0, ()))[1]:
                words = _words(data)
                if words[:2] == ["lab", "mail"] or words == ["lab", "relay"]:
                    running[owner] = words[1:]
                    continue
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
    exchangers = _exchangers(running, named, behind, addresses, remarks)
    return Plan(places, exchangers, tuple(root), tuple(remarks))


def _exchangers(
    running: Mapping[bytes, list[str]],
    named: Mapping[bytes, Iterable[bytes]],
    behind: Mapping[bytes, Iterable[bytes]],
    addresses: Mapping[bytes, Iterable[str]],
    remarks: list[str],
) -> dict[str, MailPlace]:
    """The exchangers that run, by name; two at one address are a remark, and so are one without an address of ours, and
    a second relay.

    Args:
        running: names of those that are to run, with what their records say.
        named: exchanger to the domains whose mail it takes.
        behind: the same of a relay.
        addresses: of every name.
    """
    found: dict[str, MailPlace] = {}
    taken: dict[str, str] = {}
    for host, owner in sorted((to_text(owner, final_dot=False), owner) for owner in running):
        own = all_addresses(each for each in addresses.get(owner, ()) if IPv4Address(each).is_loopback)
        free = tuple(each for each in own if each not in taken)
        remarks.extend(
            f"{host} cannot take mail at {each}: {taken[each]} is there already" for each in own if each in taken
        )
        if not own:
            remarks.append(
                f"{host} has no address of this machine to take mail at: give it an A record of 127.25.0.0/16"
            )
        kind, *people = running[owner]
        relay = kind == "relay"
        if relay and (others := [name for name, place in found.items() if place.relay]):
            remarks.append(f"{host} does not run: {others[0]} is the lab's relay already, and there is one")
            continue
        if free:
            domains = (behind if relay else named).get(owner, ())
            shown = frozenset(to_text(domain, final_dot=False) for domain in domains)
            found[host] = MailPlace(free, shown, frozenset(each.lower() for each in people), relay)
            taken.update(dict.fromkeys(free, host))
    return found


def _manner(owner: bytes, data: bytes, remarks: list[str]) -> Manner | None:
    """The behaviour that a TXT record asks for; None for a TXT record about something else."""
    words = _words(data)
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
        f" lab slow SECONDS (up to {MAX_SLOW_SECONDS:g}), or for an exchanger lab mail, lab relay"
    )
    return None


def _words(data: bytes) -> list[str]:
    """The words in the strings of a TXT record: who forgets the quotes is understood all the same."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b" ".join(parts).decode("ascii", "replace").split()


def all_addresses(places: Iterable[str]) -> list[str]:
    """Addresses in the order of their numbers."""
    return sorted(places, key=lambda address: IPv4Address(address))
