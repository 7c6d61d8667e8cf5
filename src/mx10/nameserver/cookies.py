"""The cookies of one worker: made for clients, known again when they come back (RFC 7873, RFC 9018).

A hash in Python takes a good ten microseconds, as much as an answer. Resolvers send the same cookie for half an hour,
so one that was checked is remembered with what it was answered with.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mx10.dns import cookies

_REMEMBERED: Final = 20_000
"""Cookies remembered in each of two generations; about 200 octets each."""


class Cookie(NamedTuple):
    """What a request's COOKIE option comes to.

    Attributes:
        option: to send back: the client's cookie and one of ours.
        proven: the client had one of ours: it is where it says.
    """

    option: bytes
    proven: bool


class Cookies:
    """Makes and checks cookies.

    Args:
        secrets: 16 octets each, the one in use first.
        clock: seconds since 1970.
    """

    def __init__(self, secrets: Sequence[bytes], clock: Callable[[], float] = time.time) -> None:
        self._secrets = tuple(secrets)
        self._clock = clock
        self._young: dict[bytes, tuple[Cookie, int]] = {}
        self._old: dict[bytes, tuple[Cookie, int]] = {}

    def use(self, secrets: Sequence[bytes]) -> None:
        """Take other secrets; what was known is forgotten, and checked again with them."""
        self._secrets = tuple(secrets)
        self._young, self._old = {}, {}

    def read(self, option: bytes, address: bytes) -> Cookie | None:
        """What a COOKIE option comes to; None where it is not well-formed.

        Args:
            address: the client's IP address, 4 or 16 octets.
        """
        if not cookies.is_well_formed(option):
            return None
        now = int(self._clock())
        key = option + address
        found = self._young.get(key) or self._old.get(key)
        if found is None or not 0 <= found[1] - now <= cookies.RENEWED_SECONDS:
            found = self._made(option, address, now)
        self._keep(key, found)
        return found[0]

    def _made(self, option: bytes, address: bytes, now: int) -> tuple[Cookie, int]:
        """The cookie, and until when it may be answered so."""
        age = cookies.age(self._secrets, option, address, now)
        if age is not None and 0 <= age <= cookies.RENEWED_SECONDS:
            return Cookie(option, True), now + cookies.RENEWED_SECONDS - age
        client = option[: cookies.CLIENT_OCTETS]
        made = client + cookies.make(self._secrets[0], client, address, now)
        # One of ours that gets old is answered with the same new one for a minute.
        return Cookie(made, age is not None), now + 60

    def _keep(self, key: bytes, found: tuple[Cookie, int]) -> None:
        if len(self._young) >= _REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[key] = found
