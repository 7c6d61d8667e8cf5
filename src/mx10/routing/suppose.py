"""What a question supposes: that we are one of the exchangers (``--as``), that some of them are down (``--down``)."""

from dataclasses import replace

from mx10.dns import wirename
from mx10.names import display
from mx10.resolver.answer import Status
from mx10.routing.findings import Findings
from mx10.routing.hosts import Hosts
from mx10.routing.notes import Note, note
from mx10.routing.values import Exchanger, ExchangerStatus


def located(hosts: Hosts, findings: Findings, notes: list[Note]) -> Hosts:
    """The hosts with the addresses that were found for their names, so that they are known under their other names
    too."""
    found: list[bytes] = []
    for name in sorted(hosts.names):
        found += findings.addresses_of(name)
        answers = findings.hosts.get(name)
        for answer in answers or ():
            if answer.status is Status.FAILURE:
                text = f"the addresses of {display(name)} cannot be looked up now; it is known by its name alone"
                notes.append(note("host-unknown", text))
                break
    return hosts.also_at(found)


def without_this_host(exchangers: list[Exchanger], this_host: Hosts, notes: list[Note]) -> list[Exchanger]:
    """RFC 5321 section 5.1: a relay that finds itself among the exchangers leaves out itself and all that are not
    better.

    Whether the better ones can be reached today does not matter: sending mail to an equal or worse one could only bring
    it back.
    """
    if not this_host or not exchangers:
        return exchangers
    mine = [one for one in exchangers if _is_among(one, this_host)]
    if not mine:
        notes.append(note("this-host-not-an-exchanger", f"{_listing(this_host)} is none of the exchangers"))
        return exchangers
    best = min(one.preference for one in mine)
    kept: list[Exchanger] = []
    for one in exchangers:
        if one.preference < best:
            kept.append(one)
            continue
        if one in mine:
            why = note("this-host", f"{_shown(one)} is this host")
        else:
            why = note(
                "not-better-than-this-host", f"preference {one.preference} is not better than this host's, {best}"
            )
        kept.append(replace(one, status=ExchangerStatus.ELIMINATED, notes=(*one.notes, why)))
    return kept


def _is_among(one: Exchanger, hosts: Hosts) -> bool:
    return hosts.named((one.name, *one.aliases)) or any(hosts.at(address.packed) for address in one.addresses)


def with_down(exchangers: list[Exchanger], down: Hosts, notes: list[Note]) -> list[Exchanger]:
    """The exchangers when the hosts of ``down`` do not answer.

    A host falls with all its addresses, and an address with every exchanger that has it. An exchanger of which one
    address is left keeps its mail: senders try them all.
    """
    if not down or not exchangers:
        return exchangers
    # A host that is down takes its addresses with it, whichever other exchanger has them too.
    down = down.also_at(
        address.packed for one in exchangers if down.named((one.name, *one.aliases)) for address in one.addresses
    )
    if not any(_is_among(one, down) for one in exchangers):
        notes.append(note("down-not-an-exchanger", f"{_listing(down)}: none of the exchangers, so nothing changes"))
    return [_fallen(one, down) for one in exchangers]


def _fallen(one: Exchanger, down: Hosts) -> Exchanger:
    named = down.named((one.name, *one.aliases))
    if one.status is ExchangerStatus.UNKNOWN and named:
        return replace(one, status=ExchangerStatus.DOWN, notes=(*one.notes, note("down", f"{_shown(one)} is down")))
    if one.status is not ExchangerStatus.USABLE:
        return one
    after = tuple(
        replace(address, problem="down") if not address.problem and (named or down.at(address.packed)) else address
        for address in one.addresses
    )
    if after == one.addresses:
        return one
    if all(address.problem for address in after):
        why = note("down", f"{_shown(one)} is down")
        return replace(one, status=ExchangerStatus.DOWN, addresses=after, notes=(*one.notes, why))
    left = ", ".join(address.text for address in after if not address.problem)
    why = note("down-in-part", f"{_shown(one)} still answers at {left} and keeps its share")
    return replace(one, addresses=after, notes=(*one.notes, why))


def _shown(one: Exchanger) -> str:
    """The name of an exchanger for people; that of an address literal is its address."""
    return display(one.name) if one.name != wirename.ROOT else f"[{one.addresses[0].text}]"


def _listing(hosts: Hosts) -> str:
    return ", ".join(hosts.texts)
