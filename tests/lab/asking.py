"""Asking the servers of a lab."""

import asyncio
from dataclasses import dataclass

from mx10.config import ResolverSettings
from mx10.dns import message as m
from mx10.dns import rdata, rrtypes
from mx10.dns.message import Message, Record
from mx10.dns.wirename import from_text, to_text
from mx10.lab.server import Lab
from mx10.names import domain_from_text
from mx10.resolver.asking import Asking, Server, Transport
from mx10.resolver.transports import Exchanger, ask_server


@dataclass
class Client:
    """Asks the lab's forwarder, or one of its nameservers, as any client would."""

    lab: Lab

    async def __call__(self, name: str, rrtype: str = "MX", *, transport: Transport = Transport.UDP) -> Message:
        address, port = self.lab.address
        exchanger = Exchanger(Server(address, port, transport))
        try:
            return await exchanger.ask(domain_from_text(name), rrtypes.type_from_text(rrtype), 6.0, Asking())
        finally:
            await exchanger.close()

    async def at(self, address: str, name: str, rrtype: str = "MX", seconds: float = 1.0) -> Message:
        """The answer of the nameserver at one address."""
        wire = from_text(name)
        return await ask_server(
            address, self.lab.port, wire, rrtypes.type_from_text(rrtype), seconds, ResolverSettings()
        )

    async def packet(self, packet: bytes, seconds: float = 1.0) -> bytes | None:
        """The response to any octets sent to the forwarder over UDP; None for silence."""
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not received.done():
                    received.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Protocol, remote_addr=self.lab.address)
        try:
            transport.sendto(packet)
            async with asyncio.timeout(seconds):
                return await received
        except TimeoutError:
            return None
        finally:
            transport.close()


def words(records: tuple[Record, ...]) -> list[str]:
    """Each record as ``owner type data``."""
    return [f"{to_text(r.name)} {rrtypes.type_to_text(r.type)} {rdata.to_text(r.type, r.rdata)}" for r in records]


def extended_error(message: Message) -> tuple[int, str]:
    """Code and text of RFC 8914."""
    assert message.edns is not None
    data = dict(message.edns.options)[15]
    return int.from_bytes(data[:2], "big"), data[2:].decode()


__all__ = ["Client", "extended_error", "m", "words"]
