"""What loses the mail altogether."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mx10.routing.whatif import AllDown, all_down
from tests.routing.dns_world import routed


def listed(found: AllDown) -> list[str]:
    return [
        " + ".join(f"{failure.cause}:{failure.name}" for failure in combination) for combination in found.combinations
    ]


def world(*hosts: tuple[int, str, str]) -> str:
    lines = []
    for preference, host, addresses in hosts:
        lines.append(f"example.org MX {preference} {host}.")
        lines += [f"{host} {'AAAA' if ':' in address else 'A'} {address}" for address in addresses.split()]
    return "\n".join(lines)


def test_a_single_host() -> None:
    route = routed(world((10, "mx.example.org", "192.0.2.1 192.0.2.2 2001:db8::1")))
    assert listed(all_down(route)) == ["host:mx.example.org"]


def test_the_backup_must_fail_too() -> None:
    route = routed(world((10, "mx.example.org", "192.0.2.1"), (20, "backup.example.net", "203.0.113.1")))
    assert listed(all_down(route)) == ["host:mx.example.org + host:backup.example.net"]


def test_a_shared_network_is_one_failure_and_comes_first() -> None:
    route = routed(world((10, "a.example.org", "192.0.2.1"), (20, "b.example.org", "192.0.2.200")))
    assert listed(all_down(route)) == ["network:192.0.2.0/24", "host:a.example.org + host:b.example.org"]


def test_exchangers_at_one_address_are_one_machine() -> None:
    route = routed(world((10, "a.example.org", "192.0.2.1"), (20, "b.example.org", "192.0.2.1")))
    assert listed(all_down(route)) == ["host:a.example.org = b.example.org"]


def test_a_provider_is_one_failure() -> None:
    route = routed(world((1, "aspmx.l.google.com", "192.0.2.1"), (5, "alt1.aspmx.l.google.com", "203.0.113.1")))
    assert listed(all_down(route))[0] == "provider:Google Workspace"
    assert len(all_down(route).combinations) == 2


def test_mixed_causes_are_minimal() -> None:
    route = routed(
        world(
            (10, "a.example.org", "192.0.2.1"), (10, "b.example.org", "192.0.2.2"), (20, "c.example.net", "203.0.113.1")
        )
    )
    assert listed(all_down(route)) == [
        "host:c.example.net + network:192.0.2.0/24",
        "host:a.example.org + host:b.example.org + host:c.example.net",
    ]


def test_a_network_with_a_part_of_one_host_is_not_named() -> None:
    route = routed(world((10, "a.example.org", "192.0.2.1 203.0.113.1")))
    assert listed(all_down(route)) == ["host:a.example.org"]


def test_a_stronger_cause_than_needed_is_not_named() -> None:
    """With a.example.org down already, the network would strike only what the host b.example.org is."""
    route = routed(world((10, "a.example.org", "192.0.2.1 203.0.113.1"), (10, "b.example.org", "192.0.2.2")))
    assert listed(all_down(route)) == ["host:a.example.org + host:b.example.org"]


def test_an_unknown_one_counts_as_a_host() -> None:
    route = routed(world((10, "a.example.org", "192.0.2.1"), (20, "b.example.org", "")) + "\nb.example.org !A timeout")
    assert listed(all_down(route)) == ["host:a.example.org + host:b.example.org"]


def test_nothing_to_lose() -> None:
    assert all_down(routed("example.org MX 0 .")) == AllDown(())


def test_what_is_down_already_is_not_named() -> None:
    route = routed(
        world((10, "a.example.org", "192.0.2.1"), (20, "b.example.net", "203.0.113.1")), down=("a.example.org",)
    )
    assert listed(all_down(route)) == ["host:b.example.net"]


def test_a_hundred_exchangers_take_bounded_work() -> None:
    pairs = [(at, f"m{at}.example.org", f"203.0.113.{at} 192.0.2.{at} 2001:db8:{at // 2}::{at}") for at in range(100)]
    found = all_down(routed(world(*pairs)))
    assert found.combinations
    assert found.truncated or len(found.combinations) < 50


def test_what_is_cut_off_is_said() -> None:
    pairs = [(at, f"m{at}.example.org", f"2001:db8:{at // 2}::{at}") for at in range(24)]
    found = all_down(routed(world(*pairs)), combinations=10)
    assert found.truncated
    assert len(found.combinations) == 10
    assert {len(combination) for combination in found.combinations} == {12, 13} or len(found.combinations[0]) == 12


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=3), min_size=1, max_size=5))
def test_combinations_are_all_there_are(hosts: list[set[int]]) -> None:
    """Beside trying every subset of the causes."""
    addresses = [f"2001:db8:{at // 3}::{at}" for at in range(8)]
    route = routed(
        world(
            *((10, f"m{n}.example.org", " ".join(addresses[at] for at in sorted(one))) for n, one in enumerate(hosts))
        )
    )
    found = all_down(route)
    assert not found.truncated
    everything = {at for one in hosts for at in one}
    units: list[frozenset[int]] = []
    units += {frozenset(one) for one in hosts}
    for network in range(3):
        struck = frozenset(at for at in everything if at // 3 == network)
        if struck and not any(struck <= one for one in hosts):
            units.append(struck)
    covers = [
        chosen
        for size in range(1, len(units) + 1)
        for chosen in itertools.combinations(units, size)
        if set().union(*chosen) == everything
    ]
    minimal = [
        one
        for one in covers
        if not any(set(other) < set(one) for other in covers)
        and not any(
            set().union(*set(one) - {unit}, weaker) == everything for unit in one for weaker in units if weaker < unit
        )
    ]
    assert [len(one) for one in found.combinations] == sorted(len(one) for one in minimal)
