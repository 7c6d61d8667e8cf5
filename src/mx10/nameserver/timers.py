"""When a secondary asks its primaries again, and when it gives a zone up: the timers of the SOA record (RFC 1034
section 4.3.5), as values.

Time and chance are arguments. Times are milliseconds since 1970.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from struct import Struct
from typing import Final

from mx10.config import FollowingSettings

_TIMES: Final = Struct("!3I")
_FIRST_RETRY_SECONDS: Final = 5
"""Between attempts to fetch a zone for the first time; doubled each time up to ``following.refresh_min_seconds``."""
_JITTER: Final = 0.1
"""So much of an interval is left to chance, so that zones fetched together are not asked for together for ever."""


@dataclass(frozen=True, slots=True)
class Following:
    """Where a secondary zone stands.

    Attributes:
        due: when to ask the primaries next.
        expires: when it is answered no longer, unless a primary is heard before; 0 for a zone never fetched.
        refreshed: when a primary last confirmed or sent it; 0: never.
        failures: attempts that failed since.
        trouble: why the last one failed; "" if it did not.
        source: the primary that last confirmed it.
    """

    due: int = 0
    expires: int = 0
    refreshed: int = 0
    failures: int = 0
    trouble: str = ""
    source: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Following":
        """What ``to_json`` wrote. Fields of another version, or of another kind, are left out: such a zone is asked
        for at once."""
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = {}
        if not isinstance(found, dict):
            return cls()
        usual = cls()
        return replace(
            usual,
            **{
                field.name: found[field.name]
                for field in fields(cls)
                if type(found.get(field.name)) is type(getattr(usual, field.name))
            },
        )


def after_success(
    before: Following, soa: bytes, now: int, chance: float, source: str, settings: FollowingSettings
) -> Following:
    """A primary confirmed the zone, or sent a newer one.

    Args:
        soa: the data of its SOA record.
        chance: from 0 to 1.
    """
    refresh, _, expire = _intervals(soa)
    seconds = min(max(refresh, settings.refresh_min_seconds), settings.refresh_max_seconds)
    expires = now + max(expire, settings.expire_min_seconds) * 1000
    return Following(
        due=min(now + _with_jitter(seconds, chance), expires),
        expires=expires,
        refreshed=now,
        source=source,
    )


def after_failure(
    before: Following, soa: bytes | None, now: int, chance: float, trouble: str, settings: FollowingSettings
) -> Following:
    """No primary was of help.

    Args:
        soa: the data of the SOA record we have; None if the zone was never fetched.
    """
    if soa is None:
        # Nobody is served yet, so it is tried soon, and ever less often: the primary may have to allow us first.
        seconds = min(_FIRST_RETRY_SECONDS << min(before.failures, 16), settings.refresh_min_seconds)
        seconds = max(seconds, settings.retry_min_seconds)
    else:
        seconds = min(max(_intervals(soa)[1], settings.retry_min_seconds), settings.refresh_max_seconds)
    due = now + _with_jitter(seconds, chance)
    # Expiry is looked at when the zone is due: not later than it has to be.
    if before.expires > now:
        due = min(due, before.expires)
    return replace(before, due=due, failures=before.failures + 1, trouble=trouble[:500])


def expired(following: Following, now: int) -> bool:
    """Whether the zone may be answered no longer (RFC 1035 section 3.3.13)."""
    return following.refreshed > 0 and now >= following.expires


def _intervals(soa: bytes) -> tuple[int, int, int]:
    """Refresh, retry and expire in seconds."""
    refresh, retry, expire = _TIMES.unpack_from(soa, len(soa) - 16)
    return refresh, retry, expire


def _with_jitter(seconds: int, chance: float) -> int:
    """Milliseconds, up to a tenth less than the seconds."""
    return int(seconds * 1000 * (1 - _JITTER * chance))
