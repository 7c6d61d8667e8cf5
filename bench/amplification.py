#!/usr/bin/env python3
"""How much larger than its request each kind of answer over UDP is: what somebody gains who forges addresses.

Nothing is timed and no socket is opened: requests go to the responder, and octets are counted with and without the
headers of IPv4 and UDP (28 octets on both ways; what a network carries). Printed as the table of docs/security.md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import common

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.cookies import Cookies
from mx10.nameserver.responder import EDNS_COOKIE, Responder
from mx10.nameserver.shield import Shield
from mx10.nameserver.table import ZoneTable
from mx10.zones.dnssec.keys import KeySet, SigningKey
from mx10.zones.dnssec.policy import Policy
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.dnssec.work import Arrangement
from mx10.zones.folder import ZoneFolder
from mx10.zones.zone import Zone

HEADERS = 28
"""Octets of IPv4 and UDP around a message."""
ADDRESS = b"\xc0\0\2\1"
HEAD = (
    "$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.53\nns2 A 192.0.2.54\n"
)
ZONE = (
    HEAD
    + "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 192.0.2.1\nmx1 AAAA 2001:db8::1\nmx2 A 192.0.2.2\nmx2 AAAA 2001:db8::2\n"
    + '@ TXT "v=spf1 mx -all"\nmany TXT '
    + '"'
    + "x" * 200
    + '"\n'
    + "\n".join(f'large TXT "{"x" * 200}{i}"' for i in range(30))
    + "\n*.wild A 192.0.2.7\nsub NS ns.sub\nns.sub A 192.0.2.9\n"
    + "\n".join(f"mx1 TXT {i}" for i in range(20))
    + "\n"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of answer: octets of the request and of the response, without headers of IP and UDP."""

    name: str
    request: int
    response: int

    @property
    def factor(self) -> float:
        return self.response / self.request

    @property
    def carried(self) -> float:
        """The factor with the headers that the network carries."""
        return (self.response + HEADERS) / (self.request + HEADERS)


def signed(zone: Zone, denial: Literal["nsec", "nsec3"], now: int) -> Zone:
    """The zone with a key of its own, of the default algorithm."""
    key = SigningKey.generate(13, "csk")
    keys = KeySet((key.dnskey,), (key,), (key,), (), ())
    return sign_zone(zone, Arrangement(Policy(denial=denial), keys), now, lambda: 0.5)


def responders(settings: NameserverSettings) -> dict[str, Responder]:
    """By how the zone is signed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "example.zone").write_text(ZONE)
        folder = ZoneFolder(Path(name), ZoneSettings())
        folder.load()
        plain = Zone.unpack(folder.zones[from_text("example.")])
    now = int(time.time())
    zones = {"unsigned": plain, "NSEC": signed(plain, "nsec", now), "NSEC3": signed(plain, "nsec3", now)}
    cookies = Cookies((bytes(16),))
    return {
        kind: Responder(ZoneTable({zone.apex: zone.pack()}), settings, None, cookies) for kind, zone in zones.items()
    }


QUESTIONS = (
    ("answer A", "mx1.example.", rr.A),
    ("answer MX with addresses", "example.", rr.MX),
    ("answer TXT of 200 octets", "many.example.", rr.TXT),
    ("answer that is too large (TC)", "large.example.", rr.TXT),
    ("ANY", "example.", rr.ANY),
    ("RRSIG", "example.", rr.RRSIG),
    ("DNSKEY", "example.", rr.DNSKEY),
    ("NS", "example.", rr.NS),
    ("answer from a wildcard", "a.wild.example.", rr.A),
    ("no such name", "nothing.here.example.", rr.A),
    ("no such data", "mx1.example.", rr.MX),
    ("referral", "www.sub.example.", rr.A),
    ("refused", "www.elsewhere.test.", rr.A),
)


def measure(settings: NameserverSettings | None = None) -> Iterator[Kind]:
    """Every kind of answer."""
    settings = settings or NameserverSettings()
    servers = responders(settings)
    for text, name, rrtype in QUESTIONS:
        for kind, responder in servers.items():
            do = kind != "unsigned"
            if rrtype in (rr.RRSIG, rr.DNSKEY) and not do:
                continue
            request = m.make_query(from_text(name), rrtype, id=1, do=do)
            yield _kind(f"{text}, {kind}{', DO' if do else ''}", request, responder.udp(request, ADDRESS))
    plain = servers["unsigned"]
    request = m.make_query(from_text("example."), rr.MX, id=1)
    yield _kind("wrong version of EDNS (BADVERS)", _version_1(request), plain.udp(_version_1(request), ADDRESS))
    yield _kind("not a question (NOTIMP)", b"\0\1\x10" + request[3:], plain.udp(b"\0\1\x10" + request[3:], ADDRESS))
    yield _kind("header alone (FORMERR)", bytes(12), plain.udp(bytes(12), ADDRESS))
    cookie = m.make_query(from_text("example."), rr.MX, id=1, options=((EDNS_COOKIE, b"chocolat"),))
    yield _kind("answer with a new cookie", cookie, plain.udp(cookie, ADDRESS))
    limited = replace(settings, responses_per_second=1, rate_limit_slip=1)
    for text, asked in (("beyond the rate limit (slip)", request), ("beyond it, asked with a cookie", cookie)):
        yield _kind(text, asked, _beyond(Shield(plain, limited, lambda: 1.0), plain, asked))


def _version_1(request: bytes) -> bytes:
    return request[:-5] + b"\1" + request[-4:]


def _beyond(shield: Shield, responder: Responder, request: bytes) -> bytes | None:
    """What the second request gets where one is allowed."""
    for _ in range(2):
        response = responder.udp(request, ADDRESS)
        body = shield.judge(request, response[2:], ADDRESS, 1.0) if response is not None else None
    return request[:2] + body if body is not None else None


def _kind(name: str, request: bytes, response: bytes | None) -> Kind:
    return Kind(name, len(request), len(response) if response is not None else 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object")
    parser.add_argument("--quick", action="store_true", help="the same: it takes a moment in any case")
    parser.add_argument("--rounds", type=int, help="ignored: nothing is timed")
    args = parser.parse_args()
    kinds = list(measure())
    if args.json:
        rows = [{"kind": k.name, "request": k.request, "response": k.response, "factor": k.factor} for k in kinds]
        json.dump({"benchmark": "amplification", "unit": "octets", "kinds": rows}, sys.stdout, indent=2)
        return
    headers = ["answer over UDP", "request", "response", "factor", "with IP and UDP"]
    table = [
        [each.name, str(each.request), str(each.response), f"{each.factor:.1f}", f"{each.carried:.1f}"]
        for each in kinds
    ]
    print(common.table(headers, table))


if __name__ == "__main__":
    main()
