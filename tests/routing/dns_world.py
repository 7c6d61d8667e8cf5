"""A small DNS in memory, written as master files are: what tests of routing ask."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mx10.config.settings import RoutingSettings
from mx10.dns import message, rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.resolver.answer import Answer, Status
from mx10.routing.decide import Chance, decide
from mx10.routing.findings import Findings
from mx10.routing.gather import Questions, gather
from mx10.routing.hosts import hosts_from_text
from mx10.routing.values import Destination, Route

TEST_NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
"""The networks of documentation, which the tests use as if they were public."""
SETTINGS = RoutingSettings(public_networks=TEST_NETWORKS)


def name(text: str) -> bytes:
    return wirename.fold(wirename.from_text(text))


class World:
    """Answers as a recursive nameserver would: records, CNAMEs followed, NXDOMAIN where no name is; ``NAME ! REASON``
    fails.

    ``asked`` lists the questions in their order; ``most`` is how many were open at one time.
    """

    def __init__(self, text: str) -> None:
        self.records: dict[tuple[bytes, int], list[Record]] = {}
        self.failing: dict[tuple[bytes, int | None], str] = {}
        self.names: set[bytes] = set()
        self.asked: list[tuple[str, str]] = []
        self.most = 0
        self._open = 0
        for line in text.strip().splitlines():
            if not line.strip():
                continue
            owner_text, kind, *data = line.split()
            owner = name(owner_text)
            self.names.update(list(wirename.ancestors(owner))[:-1])
            if kind.startswith("!"):
                self.failing[owner, rr.type_from_text(kind[1:]) if kind[1:] else None] = " ".join(data)
                continue
            rrtype = rr.type_from_text(kind)
            wire = rdata.from_text(rrtype, [rdata.Token(word) for word in data], wirename.ROOT)
            self.records.setdefault((owner, rrtype), []).append(Record(owner, rrtype, 1, 300, wire))

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        self.asked.append((wirename.to_text(name, final_dot=False), rr.type_to_text(rrtype)))
        self._open += 1
        self.most = max(self.most, self._open)
        await asyncio.sleep(0)
        self._open -= 1
        return self.answer(name, rrtype)

    def answer(self, asked: bytes, rrtype: int) -> Answer:
        chain: list[bytes] = []
        at = asked

        def say(status: Status, records: tuple[Record, ...] = (), reason: str = "") -> Answer:
            return Answer(
                name=asked,
                rrtype=rrtype,
                status=status,
                records=records,
                chain=tuple(chain),
                ttl=300,
                server="192.0.2.53",
                authenticated=False,
                rcode={Status.NXDOMAIN: 3, Status.FAILURE: 2}.get(status, 0),
                reason=reason,
                elapsed=0.001,
                additional=(),
            )

        for _ in range(20):
            reason = self.failing.get((at, rrtype)) or self.failing.get((at, None))
            if reason is not None:
                return say(Status.FAILURE, reason=reason)
            if (at, rrtype) in self.records:
                return say(Status.OK, tuple(self.records[at, rrtype]))
            if (at, rr.CNAME) not in self.records:
                return say(Status.NODATA if at in self.names else Status.NXDOMAIN)
            at = self.records[at, rr.CNAME][0].rdata
            chain.append(at)
        return say(Status.FAILURE, reason="SERVFAIL from 192.0.2.53")


def response(world: World, packet: bytes) -> bytes | None:
    """What a recursive nameserver that knows this world answers; None where it keeps silent (``timeout``)."""
    asked = message.parse(packet)
    if asked.question is None:
        return None
    name = asked.question.name
    world.asked.append((wirename.to_text(name, final_dot=False).lower(), rr.type_to_text(asked.question.type)))
    found = world.answer(wirename.fold(name), asked.question.type)
    if found.status is Status.FAILURE and found.reason == "timeout":
        return None
    records = []
    at = name
    for step in found.chain:
        records.append(Record(at, rr.CNAME, 1, 300, step))
        at = step
    records += [Record(at, record.type, 1, 300, record.rdata) for record in found.records]
    rcode = {Status.NXDOMAIN: rr.Rcode.NXDOMAIN, Status.FAILURE: rr.Rcode.SERVFAIL}.get(found.status, rr.Rcode.NOERROR)
    flags = message.QR | message.RA | (asked.flags & message.RD) | rcode
    edns = message.Edns() if asked.edns is not None else None
    return message.encode(message.Message(asked.id, flags, asked.question, tuple(records), edns=edns, rcode=rcode))


@contextmanager
def serving(world: World, address: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """A nameserver for this world over UDP, in a thread; every answer must be small enough for that.

    Yields its ``address:port``.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind((address, port))

        def serve() -> None:
            while True:
                packet, client = channel.recvfrom(4096)
                if not packet:
                    return
                reply = response(world, packet)
                if reply is not None:
                    channel.sendto(reply, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "{}:{}".format(*channel.getsockname())
        # An empty datagram ends it.
        channel.sendto(b"", channel.getsockname())
        thread.join(5)


def destination(text: str) -> Destination:
    """A domain, or an address literal in brackets."""
    if text.startswith("["):
        from mx10.routing.addresses import from_text

        return Destination(text, literal=from_text(text))
    return Destination(text, domain=name(text))


def found(
    world: str, to: str = "example.org", also: tuple[str, ...] = (), settings: RoutingSettings = SETTINGS
) -> Findings:
    questions = Questions(World(world), settings.questions_at_once)
    return asyncio.run(gather(destination(to), questions, settings, hosts_from_text(also).names))


def routed(
    world: str,
    to: str = "example.org",
    *,
    this_host: tuple[str, ...] = (),
    down: tuple[str, ...] = (),
    settings: RoutingSettings = SETTINGS,
    chance: Chance | None = None,
) -> Route:
    """The route to a destination in a world of these records."""
    findings = found(world, to, this_host + down, settings)
    return decide(
        findings, settings=settings, this_host=hosts_from_text(this_host), down=hosts_from_text(down), chance=chance
    )


def shares(route: Route) -> dict[str, float]:
    return {wirename.to_text(one.name, final_dot=False): one.share for one in route.exchangers()}


def hosts(route: Route) -> list[list[str]]:
    """The names in each group."""
    return [[wirename.to_text(one.name, final_dot=False) for one in group.exchangers] for group in route.groups]


def codes(route: Route) -> list[str]:
    """Every note, the route's and its exchangers'."""
    return [note.code for note in route.notes] + [note.code for one in route.exchangers() for note in one.notes]


def attempts(route: Route) -> list[str]:
    return [address.text for _, address in route.attempts()]
