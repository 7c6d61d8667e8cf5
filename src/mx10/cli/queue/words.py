"""Times and sizes as people read them."""

from datetime import UTC, datetime


def span(milliseconds: int) -> str:
    """``3 d 4 h``, ``12 min``, ``8 s``."""
    seconds = max(0, milliseconds) // 1000
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{rest} s"


def ago(at: int, now: int) -> str:
    """``12 min ago``."""
    return f"{span(now - at)} ago"


def in_time(at: int, now: int) -> str:
    """``in 12 min``; ``now``: as soon as its next hop can."""
    return "now" if at <= now else f"in {span(at - now)}"


def clock_time(at: int) -> str:
    """``2026-11-24 00:12:30 UTC``."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size_text(octets: int) -> str:
    """``4.1 KiB``."""
    if octets < 1024:
        return f"{octets} B"
    return f"{octets / 1024:.1f} KiB" if octets < 1 << 20 else f"{octets / (1 << 20):.1f} MiB"
