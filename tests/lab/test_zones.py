"""The zone files that come with mx10: right where they are meant to be, wrong where they say so, all on the list."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ancestors, from_text, to_text
from mx10.lab import ZONES
from mx10.lab.guide import KINDS, CopyError, copy_zones, examples
from mx10.lab.server import DELIBERATE
from mx10.zones.folder import ZoneFolder
from mx10.zones.zone import Zone

IPV4, IPV6 = ip_network("127.25.0.0/16"), ip_network("2001:db8:25::/48")
WRONG_ON_PURPOSE = {
    "mx-ip.test.zone": "target-is-address",
    "null-others.test.zone": "null-mx-not-alone",
    "slow.test.zone": "single-ns",
}


def load(**settings: object) -> tuple[dict[bytes, Zone], dict[str, str]]:
    """The zones, and for each file with a problem its code."""
    folder = ZoneFolder(ZONES, ZoneSettings(**settings))  # type: ignore[arg-type]
    problems = {Path(problem.path).name: problem.code for problem in folder.load()}
    return {apex: Zone.unpack(packed) for apex, packed in folder.zones.items()}, problems


def test_they_keep_our_own_rules_but_for_those_that_say_they_do_not() -> None:
    zones, problems = load(tolerate=DELIBERATE)
    assert problems == WRONG_ON_PURPOSE
    assert len(zones) == len(list(ZONES.glob("*.zone")))
    for file in WRONG_ON_PURPOSE:
        assert "on purpose" in (ZONES / file).read_text()


def test_what_is_tolerated_is_an_error_elsewhere() -> None:
    zones, _ = load()
    assert from_text("mx-ip.test.") not in zones
    assert from_text("null-others.test.") not in zones


def test_every_zone_is_delegated_to_the_servers_it_names() -> None:
    zones, _ = load(tolerate=DELIBERATE)
    for apex, zone in zones.items():
        if apex == b"\0":
            continue
        above = next(zones[name] for name in ancestors(apex[apex[0] + 1 :]) if name in zones)
        assert set(above.nodes[apex][rr.NS][1]) == set(zone.nodes[apex][rr.NS][1]), to_text(apex)


def test_addresses_are_those_of_the_lab_and_each_has_its_host() -> None:
    zones, _ = load(tolerate=DELIBERATE)
    hosts: dict[IPv4Address | IPv6Address, set[bytes]] = {}
    for zone in zones.values():
        for owner, rrtype, _, data in zone.records():
            if rrtype in (rr.A, rr.AAAA):
                hosts.setdefault(ip_address(data), set()).add(owner)
    of_exchangers = {address for address in hosts if address in IPV4 or address in IPV6}
    for address in of_exchangers:
        name = from_text(address.reverse_pointer + ".")
        zone = next(zones[above] for above in ancestors(name) if above in zones)
        assert set(zone.nodes[name][rr.PTR][1]) <= hosts[address]
    shared = {address for address in of_exchangers if len(hosts[address]) > 1}
    assert shared == {ip_address("127.25.54.1")}  # duplicates.test
    others = {str(address) for address in hosts.keys() - of_exchangers if not str(address).startswith("127.53.")}
    private = {"10.0.0.25", "192.168.25.25"}
    reserved = {"0.0.0.0", "169.254.1.1", "224.0.0.1", "240.0.0.1", "::1", "fe80::1"}
    assert {address for address in others if not address.startswith("192.0.2.")} == private | reserved


def test_the_list_tells_of_every_domain_in_the_order_of_kinds() -> None:
    found = examples(ZONES)
    assert len(found) > 55
    assert {each.kind for each in found} == set(KINDS)
    assert [each.kind for each in found] == sorted((each.kind for each in found), key=list(KINDS).index)
    assert len({each.domain for each in found}) == len(found)
    # Each file of a domain is on the list; servers' and providers' need not be.
    silent = {path.name for path in ZONES.glob("*.zone")} - {each.file for each in found}
    assert {name for name in silent if name.count(".") > 1} <= {
        "127.in-addr.arpa.zone",
        "5.2.0.0.8.b.d.0.1.0.0.2.ip6.arpa.zone",
        "google.com.zone",
        "ns.test.zone",
        "outlook.com.zone",
    }


def test_a_copy_never_writes_over_anything(tmp_path: Path) -> None:
    count = copy_zones(ZONES, tmp_path / "a" / "b")
    assert count == len(list((tmp_path / "a" / "b").iterdir())) == len(list(ZONES.glob("*.zone")))
    (tmp_path / "a" / "b" / "com.zone").write_text("mine")
    with pytest.raises(CopyError, match="already"):
        copy_zones(ZONES, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "com.zone").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(CopyError, match="file"):
        copy_zones(ZONES, tmp_path / "file")
