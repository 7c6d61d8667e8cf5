"""Serial numbers go round and never back (RFC 1982)."""

from calendar import timegm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.zones.ledger import SerialStyle
from mx10.zones.ledger.serials import first_serial, is_newer, next_serial, serial_of, with_serial

serials = st.integers(0, (1 << 32) - 1)
styles = st.sampled_from(["date", "counter", "unixtime"])
times = st.integers(0, 1 << 42)
NOON = timegm((2026, 11, 23, 12, 0, 0)) * 1000


@given(serials, styles, times)
def test_the_next_serial_is_newer(serial: int, style: SerialStyle, now: int) -> None:
    """RFC 1982 section 3.1."""
    following = next_serial(serial, style, now)
    assert 0 < following < 1 << 32
    assert is_newer(following, serial)
    assert not is_newer(serial, following)


@given(serials, serials)
def test_of_two_serials_one_is_newer(one: int, other: int) -> None:
    """RFC 1982 section 3.2, with its hole: two serials 2^31 apart do not compare."""
    if one == other or (one - other) % (1 << 32) == 1 << 31:
        assert not is_newer(one, other)
        assert not is_newer(other, one)
    else:
        assert is_newer(one, other) != is_newer(other, one)


@pytest.mark.parametrize(
    ("serial", "style", "following"),
    [
        (0, "date", 2026112301),
        (2026112300, "date", 2026112301),
        (2026112301, "date", 2026112302),
        (2026112299, "date", 2026112301),
        (2026112399, "date", 2026112400),  # the hundredth change of a day
        (2027010101, "date", 2027010102),  # a date ahead of ours
        (0, "counter", 1),
        (41, "counter", 42),
        ((1 << 32) - 1, "counter", 1),  # 0 is left out
        (7, "unixtime", NOON // 1000),
        (NOON // 1000, "unixtime", NOON // 1000 + 1),
    ],
)
def test_styles(serial: int, style: SerialStyle, following: int) -> None:
    assert next_serial(serial, style, NOON) == following


@given(serials, st.none() | serials, styles)
def test_a_new_zone_is_newer_than_the_one_before(written: int, former: int | None, style: SerialStyle) -> None:
    serial = first_serial(written, former, style, NOON)
    assert serial
    assert former is None or is_newer(serial, former)
    if written and (former is None or is_newer(written, former)):
        assert serial == written


@given(serials, st.binary(min_size=2, max_size=20), st.binary(min_size=16, max_size=16))
def test_the_serial_in_the_data(serial: int, names: bytes, times: bytes) -> None:
    data = with_serial(names + bytes(4) + times, serial)
    assert serial_of(data) == serial
    assert data[: len(names)] == names
    assert data[-16:] == times
