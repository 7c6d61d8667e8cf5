"""A DNS for tests: text by name and kind."""

import asyncio
from ipaddress import ip_address

from mx10.mailauth.asking import ABSENT, FAILED, Found, Kind, Status


class Zones:
    """``NAME KIND VALUE`` a line; ``!`` as the value: it cannot be looked up now; ``?``: there is never an answer."""

    def __init__(self, text: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self._records: dict[tuple[str, str], list[str]] = {}
        for line in filter(str.strip, text.splitlines()):
            name, kind, value = line.strip().split(None, 2)
            self._records.setdefault((name.lower(), kind), []).append(value)

    async def __call__(self, name: str, kind: Kind) -> Found:
        self.asked.append((name, kind))
        values = self._records.get((name.lower(), kind))
        if values is None:
            return ABSENT
        if values == ["!"]:
            return FAILED
        if values == ["?"]:
            await asyncio.Event().wait()
        if kind in ("A", "AAAA"):
            return Found(Status.FOUND, addresses=tuple(ip_address(each).packed for each in values))
        if kind == "MX":
            pairs = [each.split() for each in values]
            return Found(Status.FOUND, hosts=tuple((int(number), host) for number, host in pairs))
        return Found(Status.FOUND, tuple(each.encode() for each in values))
