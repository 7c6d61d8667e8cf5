"""A small internet in memory: our own nameserver at each address, and ways for a server to lie or to be silent."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from mx10.config import NameserverSettings, ResolverSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rdata, rrtypes
from mx10.dns.message import Message, Record
from mx10.dns.wirename import fold, from_text, to_text
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.resolver.iterate import Budget, Found, Iterator
from mx10.zones.folder import ZoneFolder

SOA = "$TTL 3600\n@ SOA ns.invalid. hostmaster.invalid. 1 7200 3600 1209600 300\n"
Change = Callable[[Message], Message]


def name(text: str) -> bytes:
    return fold(from_text(text))


def record(text: str) -> Record:
    """``owner TYPE data`` as a record with a TTL of an hour; data of the types that have a name or an address."""
    owner, kind, *data = text.split()
    rrtype = rrtypes.type_from_text(kind)
    value = ip_address(data[-1]).packed if kind in ("A", "AAAA") else from_text(data[-1])
    if kind == "MX":
        value = int(data[0]).to_bytes(2, "big") + value
    return Record(from_text(owner), rrtype, rrtypes.IN, 3600, value)


@dataclass
class Internet:
    """Addresses and what is there. ``asked`` lists the questions as ``address name type``."""

    folder: Path
    servers: dict[str, Responder] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)
    """Seconds that a server takes for each answer."""
    lies: dict[str, Change] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: float = 1000.0

    def serve(self, address: str, **zones: str) -> None:
        """Put a nameserver at an address; zones by apex, with ``_`` for a dot and ``root`` for the root."""
        self.folder.mkdir(exist_ok=True)
        packed: dict[bytes, bytes] = {}
        for number, (apex, text) in enumerate(zones.items()):
            folder = self.folder / f"{address}-{number}-{len(self.servers)}-{len(list(self.folder.iterdir()))}"
            folder.mkdir()
            origin = "." if apex == "root" else apex.replace("_", ".") + "."
            (folder / "a.zone").write_text(f"$ORIGIN {origin}\n{SOA}{text}\n")
            zone_folder = ZoneFolder(folder, ZoneSettings())
            problems = zone_folder.load()
            assert zone_folder.zones, problems
            packed |= zone_folder.zones
        self.servers[address] = Responder(ZoneTable(packed), NameserverSettings())

    async def ask(self, address: str, port: int, wire: bytes, rrtype: int, seconds: float) -> Message:
        self.asked.append(f"{address} {to_text(wire)} {rrtypes.type_to_text(rrtype)}")
        silent = address in self.silent or address not in self.servers
        takes = math.inf if silent else self.slow.get(address, 0.0)
        self.now += min(takes, seconds)
        if takes > seconds:
            raise TimeoutError
        await asyncio.sleep(0)
        response = self.servers[address].tcp(m.make_query(wire, rrtype, id=1, rd=False))
        assert response is not None
        message = m.parse(response)
        return self.lies[address](message) if address in self.lies else message

    def iterator(self, budget: Budget | None = None, cache: int = 1000, **settings: object) -> Iterator:
        return Iterator(
            ["192.0.2.1"],
            53,
            ResolverSettings(cache_entries=cache, **settings),  # type: ignore[arg-type]
            budget,
            ask=self.ask,
            clock=lambda: self.now,
        )


def words(found: Found) -> list[str]:
    """The records found, as ``owner type data``."""
    return [f"{to_text(r.name)} {rrtypes.type_to_text(r.type)} {rdata.to_text(r.type, r.rdata)}" for r in found.records]
