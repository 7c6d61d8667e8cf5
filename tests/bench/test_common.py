"""What the benchmarks count with."""

import pytest

from bench.common import Spread, paired, questions, read_dnsperf, table, turns, zone_text
from peers import PeerError

DNSPERF = """
Statistics:

  Queries sent:         1000
  Queries completed:    998 (99.80%)
  Queries lost:         2 (0.20%)

  Response codes:       NOERROR 948 (94.99%), NXDOMAIN 50 (5.01%)
  Average packet size:  request 40, response 116
  Run time (s):         1.000000
  Queries per second:   998.000000

  Average Latency (s):  0.000500 (min 0.000100, max 0.012000)
  Latency StdDev (s):   0.000100
"""


def test_what_dnsperf_printed_is_read() -> None:
    load = read_dnsperf(DNSPERF)
    assert (load.rate, load.completed, load.lost, load.octets) == (998.0, 998, 2, 116)
    assert load.rcodes == {"NOERROR": 94.99, "NXDOMAIN": 5.01}
    assert (load.latency, load.latency_max) == (0.0005, 0.012)


def test_other_output_of_dnsperf_is_an_error_that_shows_it() -> None:
    with pytest.raises(PeerError, match="no such host"):
        read_dnsperf("", "no such host")


def test_ratios_are_taken_round_by_round() -> None:
    assert paired([10, 40, 90], [10, 20, 30]) == Spread(1.0, 2.0, 3.0)


def test_everybody_has_every_place_in_turn() -> None:
    orders = [turns("abc", number) for number in range(3)]
    assert orders == [["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"]]
    assert {order[0] for order in (turns("abc", number) for number in range(6))} == {"a", "b", "c"}


def test_sixty_of_a_hundred_questions_ask_for_mx_and_are_the_same_every_time() -> None:
    asked = questions(1000, 20_000)
    assert asked == questions(1000, 20_000)
    assert 0.58 < sum(rrtype == "MX" for _, rrtype in asked) / len(asked) < 0.62


def test_seven_of_ten_zones_have_exchangers_of_their_own() -> None:
    own = [number for number in range(100) if "mx1 IN A" in zone_text(number)]
    assert len(own) == 70


def test_a_table_is_markdown() -> None:
    assert table(["who", "q/s"], [["a", "1"], ["bb", "22"]]).splitlines() == [
        "| who | q/s |",
        "|-----|----:|",
        "| a   |   1 |",
        "| bb  |  22 |",
    ]
