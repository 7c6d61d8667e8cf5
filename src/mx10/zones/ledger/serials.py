"""Serial numbers of zones: 32 bits that go round (RFC 1982), so that newer is not the same as larger."""

import time
from typing import Final

from mx10.zones.ledger.options import SerialStyle

_BITS: Final = 1 << 32
_HALF: Final = 1 << 31


def is_newer(serial: int, other: int) -> bool:
    """Whether a serial is newer than another (RFC 1982 section 3.2); of two that are 2^31 apart neither is."""
    return 0 < (serial - other) % _BITS < _HALF


def next_serial(serial: int, style: SerialStyle, now: int) -> int:
    """The serial after this one; always newer, also where a style would go back: then it is one more.

    Args:
        serial: the present one; 0 for a zone that has none yet.
        style: ``date`` (YYYYMMDDnn, UTC), ``unixtime`` (seconds), or ``counter``.
        now: milliseconds since 1970.
    """
    wished = 0
    seconds = now // 1000
    if style == "date":
        day = time.gmtime(seconds)
        wished = (day.tm_year * 10000 + day.tm_mon * 100 + day.tm_mday) * 100 + 1
    elif style == "unixtime":
        wished = seconds
    wished %= _BITS
    if wished and is_newer(wished, serial):
        return wished
    # 0 is left out: some take it for no serial at all.
    return (serial + 1) % _BITS or 1


def first_serial(written: int, former: int | None, style: SerialStyle, now: int) -> int:
    """The serial a new zone begins with: what is written in its SOA record, but for 0, and newer than that of an
    earlier zone of its name, which secondaries may still have.

    Args:
        written: in its SOA record.
        former: the last serial of the earlier zone; None if there was none.
        now: milliseconds since 1970.
    """
    if former is not None and not is_newer(written, former):
        return next_serial(former, style, now)
    return written or next_serial(0, style, now)


def serial_of(soa: bytes) -> int:
    """The serial in the data of an SOA record (RFC 1035 section 3.3.13)."""
    return int.from_bytes(soa[-20:-16], "big")


def with_serial(soa: bytes, serial: int) -> bytes:
    """The data of an SOA record with another serial."""
    return soa[:-20] + serial.to_bytes(4, "big") + soa[-16:]
