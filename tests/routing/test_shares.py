"""Shares of mail, and who gets it when some are down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.routing.values import ExchangerStatus, Result
from tests.routing.dns_world import attempts, codes, routed, shares

WORLD = """
    example.org MX 10 a.example.org.
    example.org MX 10 b.example.org.
    example.org MX 10 c.example.org.
    example.org MX 20 d.example.net.
    example.org MX 20 e.example.net.
    a.example.org A 192.0.2.1
    a.example.org AAAA 2001:db8::1
    b.example.org A 192.0.2.2
    c.example.org A 192.0.2.3
    d.example.net A 203.0.113.1
    e.example.net A 203.0.113.2
"""


def split(route_shares: dict[str, float]) -> list[float]:
    return [round(share, 3) for share in route_shares.values()]


def test_equal_ones_share_evenly() -> None:
    assert split(shares(routed(WORLD))) == [0.333, 0.333, 0.333, 0, 0]


def test_what_cannot_be_used_leaves_its_share_to_its_equals() -> None:
    assert split(shares(routed(WORLD.replace("b.example.org A 192.0.2.2", "")))) == [0.5, 0, 0.5, 0, 0]


def test_then_to_the_next_preference() -> None:
    route = routed(WORLD, down=("a.example.org", "b.example.org", "c.example.org"))
    assert split(shares(route)) == [0, 0, 0, 0.5, 0.5]
    assert [round(one.share_normally, 3) for one in route.exchangers()] == [0.333, 0.333, 0.333, 0, 0]


@pytest.mark.parametrize(
    "down", [("a.example.org",), ("A.EXAMPLE.org.",), ("192.0.2.1", "2001:db8::1"), ("192.0.2.1", "2001:db8::/32")]
)
def test_a_host_is_down_by_name_or_by_all_its_addresses(down: tuple[str, ...]) -> None:
    route = routed(WORLD, down=down)
    assert next(route.exchangers()).status is ExchangerStatus.DOWN
    assert split(shares(route)) == [0, 0.5, 0.5, 0, 0]
    assert attempts(route) == ["192.0.2.2", "192.0.2.3", "203.0.113.1", "203.0.113.2"]


def test_with_one_address_left_it_keeps_its_share() -> None:
    route = routed(WORLD, down=("192.0.2.1",))
    assert split(shares(route)) == [0.333, 0.333, 0.333, 0, 0]
    assert attempts(route)[0] == "2001:db8::1"
    assert "192.0.2.1" not in attempts(route)
    assert codes(route) == ["down-in-part"]


def test_a_host_takes_a_shared_address_down_with_it() -> None:
    route = routed(WORLD.replace("192.0.2.2", "192.0.2.3"), down=("c.example.org",))
    assert split(shares(route)) == [1, 0, 0, 0, 0]


def test_a_machine_is_known_by_its_other_names() -> None:
    route = routed(WORLD + "box7.example.com A 192.0.2.2", down=("box7.example.com",))
    assert split(shares(route)) == [0.5, 0, 0.5, 0, 0]


def test_all_down_means_that_mail_waits() -> None:
    route = routed(WORLD, down=("192.0.2.0/24", "203.0.113.0/24", "2001:db8::/32"))
    assert (route.result, route.verdict.code) == (Result.TEMPORARY, "4.4.1")
    assert sum(shares(route).values()) == 0


def test_down_hosts_that_are_none_of_the_exchangers() -> None:
    route = routed(WORLD, down=("other.example.com",))
    assert split(shares(route)) == [0.333, 0.333, 0.333, 0, 0]
    assert codes(route) == ["down-not-an-exchanger"]


def test_an_unknown_one_can_be_down() -> None:
    route = routed("example.org MX 1 a.example.org.\na.example.org !A timeout", down=("a.example.org",))
    assert (route.result, route.verdict.code) == (Result.TEMPORARY, "4.4.1")


def test_implicit_and_literal_can_be_down() -> None:
    assert routed("example.org A 192.0.2.1", down=("example.org",)).verdict.code == "4.4.1"
    assert routed("example.org TXT x", "[192.0.2.1]", down=("192.0.2.1",)).verdict.code == "4.4.1"


EXCHANGERS = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 5), st.sampled_from(["A 192.0.2.", "AAAA 2001:db8::", "!A lost ", "TXT "])
    ),
    min_size=1,
    max_size=8,
)


@given(EXCHANGERS, st.sets(st.integers(0, 5), max_size=4))
def test_shares_are_all_or_nothing_and_only_of_the_best_group(rows: list[tuple[int, int, str]], down: set[int]) -> None:
    world = "\n".join(f"example.org MX {preference} m{at}.example.org." for preference, at, _ in rows)
    world += "\n" + "\n".join(f"m{at}.example.org {data}{at}" for _, at, data in rows)
    route = routed(world, down=tuple(f"192.0.2.{at}" for at in sorted(down)))
    total = sum(group.share for group in route.groups)
    assert total == pytest.approx(1 if route.result is Result.ROUTABLE else 0)
    assert (route.result is Result.ROUTABLE) == bool(attempts(route))
    assert sum(group.share > 0 for group in route.groups) <= 1
    preferences = [group.preference for group in route.groups]
    assert preferences == sorted(set(preferences))
    for one in route.exchangers():
        assert (one.share > 0) <= bool(one.usable)
