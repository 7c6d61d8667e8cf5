"""The rules of routing, each named by the section it comes from."""

import random
from dataclasses import replace

import pytest

from mx10.config.settings import RoutingSettings
from mx10.routing.values import ExchangerStatus, Kind, Result, Route
from tests.routing.dns_world import SETTINGS, attempts, codes, hosts, routed, shares

TWO_AND_A_BACKUP = """
example.org MX 10 mx1.example.org.
example.org MX 10 mx2.example.org.
example.org MX 20 backup.example.net.
mx1.example.org A 192.0.2.1
mx2.example.org A 192.0.2.2
backup.example.net A 203.0.113.1
"""


def refused(route: Route) -> tuple[Result, int | None, str | None]:
    return route.result, route.verdict.reply, route.verdict.code


PERMANENT, TEMPORARY, ROUTABLE = Result.PERMANENT, Result.TEMPORARY, Result.ROUTABLE


class TestRfc5321Section51:
    """Locating the target host."""

    def test_lower_preference_numbers_come_first(self) -> None:
        route = routed(TWO_AND_A_BACKUP)
        assert route.kind is Kind.MX
        assert [group.preference for group in route.groups] == [10, 20]
        assert attempts(route) == ["192.0.2.1", "192.0.2.2", "203.0.113.1"]

    def test_preferences_are_numbers_and_not_text(self) -> None:
        world = "example.org MX 9 a.example.org.\nexample.org MX 10 b.example.org.\nexample.org MX 65535 c.example.org."
        assert hosts(routed(world)) == [["a.example.org"], ["b.example.org"], ["c.example.org"]]

    @pytest.mark.parametrize("other", [1, 10, 65535])
    def test_preference_0_is_a_preference_like_any_other(self, other: int) -> None:
        world = f"""
            example.org MX {other} second.example.org.
            example.org MX 0 first.example.org.
            first.example.org A 192.0.2.1
            second.example.org A 192.0.2.2
        """
        route = routed(world)
        assert [group.preference for group in route.groups] == [0, other]
        assert shares(route) == {"first.example.org": 1.0, "second.example.org": 0.0}
        assert hosts(routed(world, this_host=("first.example.org",))) == [["first.example.org"], ["second.example.org"]]
        assert refused(routed(world, this_host=("first.example.org",))) == (PERMANENT, 554, "5.4.6")

    def test_equal_preferences_are_shuffled(self) -> None:
        names = [f"mx{number}.example.org" for number in range(6)]
        world = "\n".join(f"example.org MX 5 {name}.\n{name} A 192.0.2.{at}" for at, name in enumerate(names))
        drawn = {tuple(hosts(routed(world, chance=random.Random(seed)))[0]) for seed in range(40)}
        assert len(drawn) > 30
        assert all(sorted(order) == names for order in drawn)
        assert routed(world, chance=random.Random(7)) == routed(world, chance=random.Random(7))
        assert hosts(routed(world)) == [names], "without chance they are sorted by name"

    def test_shuffling_stays_within_a_preference(self) -> None:
        for seed in range(20):
            assert attempts(routed(TWO_AND_A_BACKUP, chance=random.Random(seed)))[2] == "203.0.113.1"

    def test_implicit_mx_where_there_is_no_mx_and_an_address(self) -> None:
        route = routed("example.org A 192.0.2.1\nexample.org AAAA 2001:db8::1")
        assert route.kind is Kind.IMPLICIT_MX
        assert hosts(route) == [["example.org"]]
        assert [group.preference for group in route.groups] == [0]
        assert attempts(route) == ["2001:db8::1", "192.0.2.1"]
        assert shares(route) == {"example.org": 1.0}
        assert "implicit-mx" in codes(route)

    def test_no_implicit_mx_where_an_mx_is_though_none_is_usable(self) -> None:
        route = routed("example.org A 192.0.2.1\nexample.org MX 10 gone.example.org.")
        assert route.kind is Kind.MX
        assert attempts(route) == []
        assert refused(route) == (PERMANENT, 550, "5.4.4")

    def test_neither_mx_nor_address(self) -> None:
        route = routed("example.org TXT hello")
        assert route.kind is Kind.NONE
        assert refused(route) == (PERMANENT, 550, "5.4.4")
        assert route.groups == ()

    def test_nxdomain_is_apart_from_nodata(self) -> None:
        assert refused(routed("example.net A 192.0.2.1")) == (PERMANENT, 550, "5.1.2")

    def test_a_failure_is_temporary_and_never_an_absence(self) -> None:
        route = routed("example.org A 192.0.2.1\nexample.org !MX timeout")
        assert refused(route) == (TEMPORARY, 451, "4.4.3")
        assert route.kind is Kind.NONE
        assert attempts(route) == [], "the address must not be taken for an implicit MX"
        assert "timeout" in route.verdict.reason

    def test_a_failure_about_the_implicit_address_is_temporary(self) -> None:
        route = routed("example.org TXT x\nexample.org !A SERVFAIL")
        assert refused(route) == (TEMPORARY, 451, "4.4.3")
        assert "SERVFAIL" in route.verdict.reason

    def test_an_implicit_mx_with_one_family_unknown_is_used(self) -> None:
        route = routed("example.org AAAA 2001:db8::1\nexample.org !A timeout")
        assert attempts(route) == ["2001:db8::1"]
        assert "family-unknown" in codes(route)
        assert "no-ipv4" not in codes(route), "nobody knows that"

    def test_an_exchanger_whose_address_is_unknown_keeps_its_place(self) -> None:
        route = routed(TWO_AND_A_BACKUP + "mx1.example.org !A timeout")
        assert hosts(route) == [["mx1.example.org", "mx2.example.org"], ["backup.example.net"]]
        first = next(route.exchangers())
        assert first.status is ExchangerStatus.UNKNOWN
        assert shares(route) == {"mx1.example.org": 0.0, "mx2.example.org": 1.0, "backup.example.net": 0.0}
        assert route.result is ROUTABLE

    def test_only_unknown_addresses_are_temporary(self) -> None:
        world = "example.org MX 10 mx1.example.org.\nexample.org MX 20 gone.example.org.\nmx1.example.org !A timeout"
        assert refused(routed(world)) == (TEMPORARY, 451, "4.4.3")

    def test_cname_at_the_domain_is_followed(self) -> None:
        records = TWO_AND_A_BACKUP.replace("example.org MX", "other.example.net MX")
        route = routed(records + "example.org CNAME other.example.net.")
        assert attempts(route) == ["192.0.2.1", "192.0.2.2", "203.0.113.1"]
        assert len(route.aliases) == 1
        assert "domain-is-alias" in codes(route)

    def test_cname_to_a_host_without_mx_is_an_implicit_mx(self) -> None:
        route = routed("example.org CNAME host.example.net.\nhost.example.net A 192.0.2.7")
        assert (route.kind, hosts(route), attempts(route)) == (Kind.IMPLICIT_MX, [["host.example.net"]], ["192.0.2.7"])

    def test_cname_to_nothing(self) -> None:
        route = routed("example.org CNAME gone.example.net.")
        assert refused(route) == (PERMANENT, 550, "5.1.2")
        assert "gone.example.net" in route.verdict.reason

    def test_cname_chains_are_bounded(self) -> None:
        def chain(length: int) -> str:
            steps = [f"c{at}.example.org CNAME c{at + 1}.example.org." for at in range(length)]
            return "\n".join([*steps, f"c{length}.example.org A 192.0.2.1"])

        assert routed(chain(8), "c0.example.org").result is ROUTABLE
        assert refused(routed(chain(9), "c0.example.org")) == (TEMPORARY, 451, "4.4.3")
        assert routed(chain(9), "c0.example.org", settings=replace(SETTINGS, cname_limit=9)).result is ROUTABLE

    def test_a_cname_loop_is_temporary(self) -> None:
        assert refused(routed("example.org CNAME example.org.")) == (TEMPORARY, 451, "4.4.3")

    def test_exchangers_without_address_are_skipped(self) -> None:
        route = routed(TWO_AND_A_BACKUP.replace("mx1.example.org A 192.0.2.1", "mx1.example.org TXT x"))
        assert next(route.exchangers()).status is ExchangerStatus.NO_ADDRESS
        assert shares(route)["mx2.example.org"] == 1.0

    def test_exchangers_that_do_not_exist_are_skipped(self) -> None:
        route = routed(TWO_AND_A_BACKUP.replace("mx1.example.org A 192.0.2.1", ""))
        assert next(route.exchangers()).status is ExchangerStatus.NO_SUCH_NAME
        assert shares(route)["mx2.example.org"] == 1.0

    def test_an_ip_address_is_no_exchanger(self) -> None:
        for target in ("192.0.2.1.", "[192.0.2.1].", "2001:db8::1."):
            route = routed(f"example.org MX 10 {target}\nexample.org MX 20 mx.example.org.\nmx.example.org A 192.0.2.2")
            assert next(route.exchangers()).status is ExchangerStatus.NOT_A_NAME
            assert attempts(route) == ["192.0.2.2"]
            assert "exchanger-is-address" in codes(route)

    def test_both_families_are_tried_in_turn(self) -> None:
        world = """
            example.org MX 10 mx.example.org.
            mx.example.org A 192.0.2.1
            mx.example.org A 192.0.2.2
            mx.example.org A 192.0.2.3
            mx.example.org AAAA 2001:db8::1
        """
        assert attempts(routed(world)) == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
        world += "mx.example.org AAAA 2001:db8::2"
        assert attempts(routed(world)) == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]

    def test_a_duplicate_counts_with_its_best_preference(self) -> None:
        route = routed(TWO_AND_A_BACKUP + "example.org MX 20 MX1.example.org.\nexample.org MX 5 backup.example.net.")
        assert hosts(route) == [["backup.example.net"], ["mx1.example.org", "mx2.example.org"]]
        assert codes(route).count("duplicate-exchanger") == 2

    def test_huge_sets_are_bounded(self) -> None:
        world = "\n".join(
            f"example.org MX {at} mx{at}.example.org.\nmx{at}.example.org A 192.0.2.{at}" for at in range(200)
        )
        route = routed(world)
        assert len(attempts(route)) == SETTINGS.exchanger_limit
        assert attempts(route)[:2] == ["192.0.2.0", "192.0.2.1"]
        assert "too-many-exchangers" in codes(route)

    def test_hosts_with_hundreds_of_addresses_are_bounded(self) -> None:
        world = "example.org MX 0 mx.example.org.\n" + "\n".join(f"mx.example.org A 192.0.2.{at}" for at in range(200))
        route = routed(world)
        assert len(attempts(route)) == SETTINGS.address_limit
        assert "too-many-addresses" in codes(route)


class TestRfc5321Section51Loops:
    """A host that is itself an exchanger leaves out itself and all that are not better."""

    WORLD = """
        example.org MX 10 a.example.org.
        example.org MX 20 b.example.org.
        example.org MX 20 c.example.org.
        example.org MX 30 d.example.org.
        a.example.org A 192.0.2.1
        b.example.org A 192.0.2.2
        c.example.org A 192.0.2.3
        d.example.org A 192.0.2.4
    """

    @pytest.mark.parametrize("me", ["b.example.org", "B.Example.ORG.", "192.0.2.2", "[192.0.2.2]"])
    def test_equal_and_worse_are_eliminated(self, me: str) -> None:
        route = routed(self.WORLD, this_host=(me,))
        assert attempts(route) == ["192.0.2.1"]
        assert [one.status for one in route.exchangers()] == [ExchangerStatus.USABLE] + [ExchangerStatus.ELIMINATED] * 3
        assert shares(route)["a.example.org"] == 1.0
        assert route.this_host == (me,)

    def test_nothing_left_is_a_loop(self) -> None:
        assert refused(routed(self.WORLD, this_host=("a.example.org",))) == (PERMANENT, 554, "5.4.6")

    def test_the_host_is_found_by_the_address_of_its_other_name(self) -> None:
        world = self.WORLD + "relay.example.net A 192.0.2.2"
        assert attempts(routed(world, this_host=("relay.example.net",))) == ["192.0.2.1"]

    def test_the_host_is_found_behind_an_alias(self) -> None:
        world = self.WORLD.replace(
            "b.example.org A 192.0.2.2", "b.example.org CNAME relay.example.net.\nrelay.example.net A 192.0.2.9"
        )
        assert attempts(routed(world, this_host=("relay.example.net",))) == ["192.0.2.1"]

    def test_the_best_of_several_names_of_the_host_counts(self) -> None:
        assert attempts(routed(self.WORLD, this_host=("d.example.org", "c.example.org"))) == ["192.0.2.1"]

    def test_another_host_changes_nothing(self) -> None:
        route = routed(self.WORLD, this_host=("other.example.net",))
        assert len(attempts(route)) == 4
        assert "this-host-not-an-exchanger" in codes(route)

    def test_better_ones_without_address_are_no_loop_and_no_way(self) -> None:
        world = self.WORLD.replace("a.example.org A 192.0.2.1", "")
        assert refused(routed(world, this_host=("b.example.org",))) == (PERMANENT, 550, "5.4.4")

    def test_better_ones_unknown_for_now_leave_the_mail_waiting(self) -> None:
        world = self.WORLD.replace("a.example.org A 192.0.2.1", "a.example.org !A timeout")
        assert refused(routed(world, this_host=("b.example.org",))) == (TEMPORARY, 451, "4.4.3")

    def test_an_implicit_mx_can_loop_too(self) -> None:
        assert refused(routed("example.org A 192.0.2.1", this_host=("192.0.2.1",))) == (PERMANENT, 554, "5.4.6")

    def test_an_address_literal_can_loop_too(self) -> None:
        assert refused(routed("example.org A 192.0.2.1", "[192.0.2.1]", this_host=("192.0.2.1",)))[2] == "5.4.6"


class TestRfc5321Section413:
    """Address literals."""

    @pytest.mark.parametrize("literal", ["[192.0.2.1]", "[IPv6:2001:db8::1]"])
    def test_the_literal_is_the_host(self, literal: str) -> None:
        route = routed("example.org TXT x", literal)
        assert route.kind is Kind.ADDRESS_LITERAL
        assert len(attempts(route)) == 1
        assert route.evidence == ()

    def test_a_private_literal_is_reached_by_nobody(self) -> None:
        route = routed("example.org TXT x", "[10.0.0.1]")
        assert refused(route) == (PERMANENT, 550, "5.4.4")
        assert "not-public" in codes(route)


class TestRfc7505Section3:
    """Null MX."""

    def test_null_mx_takes_no_mail(self) -> None:
        route = routed("example.org MX 0 .\nexample.org A 192.0.2.1")
        assert route.kind is Kind.NULL_MX
        assert refused(route) == (PERMANENT, 556, "5.1.10")
        assert attempts(route) == []
        assert codes(route) == []

    def test_with_another_preference_it_is_one_all_the_same(self) -> None:
        route = routed("example.org MX 10 .")
        assert refused(route) == (PERMANENT, 556, "5.1.10")
        assert codes(route) == ["null-mx-preference"]

    def test_beside_others_it_does_not_count(self) -> None:
        route = routed(TWO_AND_A_BACKUP + "example.org MX 0 .")
        assert attempts(route) == ["192.0.2.1", "192.0.2.2", "203.0.113.1"]
        assert "null-mx-not-alone" in codes(route)

    def test_behind_an_alias(self) -> None:
        assert refused(routed("example.org CNAME no.example.net.\nno.example.net MX 0 ."))[2] == "5.1.10"


class TestRfc2181Section103:
    """An MX must name a host and not an alias."""

    WORLD = """
        example.org MX 10 mx.example.org.
        mx.example.org CNAME host.example.net.
        host.example.net A 192.0.2.1
    """

    def test_the_alias_is_followed_and_warned_of(self) -> None:
        route = routed(self.WORLD)
        assert attempts(route) == ["192.0.2.1"]
        assert hosts(route) == [["mx.example.org"]]
        assert codes(route) == ["exchanger-is-alias"]

    def test_an_alias_of_nothing_is_skipped(self) -> None:
        route = routed(self.WORLD.replace("host.example.net A 192.0.2.1", ""))
        assert refused(route) == (PERMANENT, 550, "5.4.4")

    def test_a_chain_too_long_is_not_guessed_about(self) -> None:
        steps = "\n".join(f"c{at}.example.org CNAME c{at + 1}.example.org." for at in range(10))
        world = f"example.org MX 10 c0.example.org.\n{steps}\nc10.example.org A 192.0.2.1"
        route = routed(world)
        assert refused(route) == (TEMPORARY, 451, "4.4.3")
        assert "alias-chain" in codes(route)

    def test_the_provider_is_told_from_the_name_behind(self) -> None:
        route = routed(
            "example.org MX 1 mx.example.org.\nmx.example.org CNAME aspmx.l.google.com.\naspmx.l.google.com A 192.0.2.1"
        )
        assert route.provider == "Google Workspace"


class TestRfc6890:
    """Addresses no mail from the Internet gets to."""

    @pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.1.1", "192.0.2.1", "100.64.0.1", "0.0.0.0"])
    def test_special_addresses_are_not_tried(self, address: str) -> None:
        world = f"example.org MX 10 mx.example.org.\nmx.example.org A {address}"
        route = routed(world, settings=RoutingSettings())
        assert next(route.exchangers()).status is ExchangerStatus.NOT_PUBLIC
        assert refused(route) == (PERMANENT, 550, "5.4.4")

    def test_public_addresses_beside_them_are(self) -> None:
        route = routed("example.org MX 10 mx.example.org.\nmx.example.org A 10.0.0.1\nmx.example.org A 192.0.2.1")
        assert attempts(route) == ["192.0.2.1"]
        assert [address.problem for one in route.exchangers() for address in one.addresses] == [
            "private use, RFC 1918",
            "",
        ]
        assert codes(route) == ["not-public"]

    def test_a_public_address_that_is_not_known_now_may_be_there(self) -> None:
        world = "example.org MX 10 mx.example.org.\nmx.example.org A 10.0.0.1\nmx.example.org !AAAA timeout"
        assert refused(routed(world)) == (TEMPORARY, 451, "4.4.3")


def test_rfc6761_section_6_3_localhost_is_no_exchanger() -> None:
    for target in ("localhost.", "mail.localhost."):
        route = routed(f"example.org MX 10 {target}\nlocalhost A 127.0.0.1")
        assert next(route.exchangers()).status is ExchangerStatus.LOCALHOST
        assert refused(route) == (PERMANENT, 550, "5.4.4")


def test_rfc7085_names_of_one_label_are_routed_and_noted() -> None:
    route = routed("org MX 10 mail.\nmail A 192.0.2.1", "org")
    assert attempts(route) == ["192.0.2.1"]
    assert codes(route) == ["dotless-domain", "exchanger-is-dotless"]


def test_rfc5321_section_2_3_5_an_exchanger_with_odd_characters_is_tried_and_noted() -> None:
    route = routed("example.org MX 10 mail_in.example.org.\nmail_in.example.org A 192.0.2.1")
    assert attempts(route) == ["192.0.2.1"]
    assert codes(route) == ["exchanger-not-a-hostname"]


def test_rfc3974_section_4_1_ipv6_alone_is_noted() -> None:
    route = routed("example.org MX 10 mx.example.org.\nmx.example.org AAAA 2001:db8::1")
    assert attempts(route) == ["2001:db8::1"]
    assert codes(route) == ["no-ipv4"]


def test_exchangers_at_one_address_are_noted() -> None:
    route = routed(TWO_AND_A_BACKUP.replace("192.0.2.2", "192.0.2.1"))
    assert codes(route) == ["shared-address"]


def test_an_answer_with_no_readable_mx_is_temporary() -> None:
    from mx10.dns.message import Record
    from mx10.dns.rrtypes import MX
    from mx10.resolver.answer import Answer, Status
    from mx10.routing.decide import decide
    from mx10.routing.findings import Findings
    from tests.routing.dns_world import destination, name

    broken = Record(name("example.org"), MX, 1, 300, b"\0")
    answer = Answer(
        name=name("example.org"), rrtype=MX, status=Status.OK, records=(broken,), chain=(), ttl=300,
        server="192.0.2.53", authenticated=False, rcode=0, reason="", elapsed=0.0, additional=(),
    )  # fmt: skip
    assert refused(decide(Findings(destination("example.org"), answer))) == (TEMPORARY, 451, "4.4.3")


def test_a_route_says_where_it_comes_from() -> None:
    route = routed(TWO_AND_A_BACKUP)
    assert len(route.evidence) == 1 + 2 * 3
    assert {answer.server for answer in route.evidence} == {"192.0.2.53"}


def test_a_route_is_immutable_and_can_be_compared() -> None:
    assert routed(TWO_AND_A_BACKUP) == routed(TWO_AND_A_BACKUP)
    with pytest.raises(AttributeError):
        routed(TWO_AND_A_BACKUP).groups = ()  # type: ignore[misc]  # that is the point


def test_what_was_not_looked_at_is_not_called_impossible() -> None:
    world = "\n".join(f"example.org MX {at} mx{at}.example.org." for at in range(5)) + "\nmx4.example.org A 192.0.2.4"
    assert refused(routed(world, settings=replace(SETTINGS, exchanger_limit=4))) == (TEMPORARY, 451, "4.4.3")
    assert routed(world, settings=replace(SETTINGS, exchanger_limit=5)).result is ROUTABLE


def test_reserved_addresses_do_not_crowd_out_public_ones() -> None:
    lines = [f"mx.example.org A 10.0.0.{at}" for at in range(100)]
    route = routed("\n".join(["example.org MX 0 mx.example.org.", *lines, "mx.example.org A 192.0.2.1"]))
    assert attempts(route) == ["192.0.2.1"]


def test_a_supposed_host_that_cannot_be_looked_up_is_said() -> None:
    world = TWO_AND_A_BACKUP + "relay.example.net ! SERVFAIL"
    route = routed(world, this_host=("relay.example.net",))
    assert codes(route) == ["host-unknown", "this-host-not-an-exchanger"]
    assert codes(routed(world, down=("relay.example.net",))) == ["host-unknown", "down-not-an-exchanger"]
