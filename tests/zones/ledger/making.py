"""Short ways to say who changes what."""

from calendar import timegm

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.zones.build import TOLERABLE
from mx10.zones.ledger import Author, Edit
from mx10.zones.zone import Zone
from tests.zones.reading import HEAD, ORIGIN, load

ANN = Author("ann")
BOB = Author("bob", "because")


class Clock:
    """Milliseconds since 1970 that stand still unless set; at first, noon of 2026-11-23."""

    def __init__(self) -> None:
        self.now = timegm((2026, 11, 23, 12, 0, 0)) * 1000

    def __call__(self) -> int:
        return self.now


def name(text: str) -> bytes:
    """A folded absolute name."""
    return wirename.fold(wirename.from_text(text, ORIGIN))


def edit(text: str) -> Edit:
    """What shall be, as lines of a master file that make one record set: ``www 60 A 192.0.2.1``."""
    zone = load(HEAD + text, ZoneSettings(tolerate=tuple(TOLERABLE))).zone
    assert zone is not None
    first = text.split()[0]
    node = zone.nodes[name(first)]
    word = next(each for each in text.split()[1:] if not each.isdigit())
    rrtype = rr.type_from_text(word)
    return Edit(name(first), rrtype, node[rrtype])


def no(owner: str, rrtype: int) -> Edit:
    """The edit that takes a record set away."""
    return Edit(name(owner), rrtype, None)


def plain(zone: Zone) -> dict[bytes, dict[int, tuple[int, tuple[bytes, ...]]]]:
    """What a zone holds, to compare: without names that are only there because of others."""
    return {
        owner: {rrtype: (ttl, tuple(sorted(datas))) for rrtype, (ttl, datas) in node.items()}
        for owner, node in zone.nodes.items()
        if node
    }


def without_soa(zone: Zone) -> dict[bytes, dict[int, tuple[int, tuple[bytes, ...]]]]:
    """The same without the SOA record, whose serial goes on."""
    found = plain(zone)
    return found | {zone.apex: {each: found[zone.apex][each] for each in found[zone.apex] if each != rr.SOA}}
