"""Recipients with the same way travel together."""

from collections.abc import Sequence

from mx10.dns import wirename
from mx10.relay.courier.splitting import MAX_KEY, domain_of, route_key, shortened, split
from mx10.relay.courier.values import Addressee
from mx10.routing import Exchanger, ExchangerStatus, Group, Kind, Result, Route, Verdict
from mx10.routing.values import Address, Destination

ROUTABLE = Verdict(Result.ROUTABLE, None, None, "", "")


def route(*groups: Sequence[str], verdict: Verdict = ROUTABLE, preferences: Sequence[int] = (10, 20, 30)) -> Route:
    made = tuple(
        Group(preference, tuple(exchanger(name) for name in names))
        for preference, names in zip(preferences, groups, strict=False)
    )
    return Route(Destination("x"), Kind.MX, verdict, groups=made)


def exchanger(name: str, status: ExchangerStatus = ExchangerStatus.USABLE) -> Exchanger:
    return Exchanger(wirename.from_text(name), 0, status, (Address(b"\x7f\0\0\1"),))


def test_domains_with_the_same_exchangers_share_a_key() -> None:
    """Whatever order the shuffle gave them and whatever numbers the preferences have."""
    one = route(["a.example", "b.example"], ["c.example"])
    other = route(["b.example", "a.example"], ["c.example"], preferences=(0, 100))
    assert route_key(one, "one.example") == route_key(other, "other.example") == "a.example,b.example;c.example"


def test_another_order_of_preference_is_another_way() -> None:
    assert route_key(route(["a.example"], ["b.example"]), "x") != route_key(route(["b.example"], ["a.example"]), "x")
    assert route_key(route(["a.example"], ["b.example"]), "x") != route_key(route(["a.example", "b.example"]), "x")


def test_routes_to_nowhere_do_not_meet() -> None:
    nowhere = route(verdict=Verdict(Result.PERMANENT, 550, "5.1.2", "", ""))
    assert route_key(nowhere, "one.example") != route_key(nowhere, "other.example")


def test_an_address_literal_is_its_own_way() -> None:
    group = Group(0, (Exchanger(wirename.ROOT, 0, ExchangerStatus.USABLE, (Address(b"\x7f\0\0\2"),)),))
    literal = Route(Destination("[127.0.0.2]"), Kind.ADDRESS_LITERAL, ROUTABLE, groups=(group,))
    assert route_key(literal, "[127.0.0.2]") == "[127.0.0.2]"


def test_a_long_key_is_cut_and_stays_itself() -> None:
    long = ";".join(f"mx{number}.example.org" for number in range(50))
    assert len(shortened(long)) <= MAX_KEY
    assert shortened(long) == shortened(long) != shortened(long + "x")


def test_recipients_are_split_by_way_and_keep_their_order() -> None:
    everyone = [Addressee(text) for text in ("a@x", "b@y", "c@z", "d@x", "e@y")]
    ways = {"x": "one", "y": "two", "z": "one"}
    parts = split(everyone, lambda each: ways[domain_of(each.address)], most=2)
    assert [(part.key, "".join(each.address[0] for each in part.recipients)) for part in parts] == [
        ("one", "ac"),
        ("one", "d"),
        ("two", "be"),
    ]


def test_the_domain_of_odd_addresses() -> None:
    assert domain_of('"a@b"@example.org') == "example.org"
    assert domain_of("postmaster") == ""
