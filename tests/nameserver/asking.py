"""Asking a responder over zones written in a test."""

from dataclasses import dataclass
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.dns import message as m
from mx10.dns import rdata, rrtypes
from mx10.dns.message import Message, Record
from mx10.dns.wirename import from_text, to_text
from mx10.nameserver.responder import Responder
from mx10.zones.folder import ZoneFolder

HEAD = (
    "$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.53\nns2 A 192.0.2.54\n"
)


def packed_zone(folder: Path, apex: str, text: str) -> tuple[bytes, bytes]:
    """Apex and packed zone, read as the nameserver reads it; SOA and NS are put before the text."""
    folder.mkdir(exist_ok=True)
    (folder / f"{apex or '_root'}.zone").write_text(HEAD + text)
    zones = ZoneFolder(folder, ZoneSettings())
    zones.load()
    wire = from_text(apex + ".")
    return wire, zones.zones[wire]


@dataclass
class Asker:
    """Asks a responder, and reads its answers in the words of a master file."""

    responder: Responder

    def __call__(self, name: str, rrtype: str = "A", *, tcp: bool = False, **query: object) -> Message:
        packet = m.make_query(from_text(name), rrtypes.type_from_text(rrtype), id=4711, **query)  # type: ignore[arg-type]
        response = self.responder.tcp(packet) if tcp else self.responder.udp(packet)
        assert response is not None
        parsed = m.parse(response)
        assert parsed.id == 4711
        assert parsed.qr
        # Asked again, it comes from the tables; it must be the same.
        assert response == (self.responder.tcp(packet) if tcp else self.responder.udp(packet))
        return parsed


def words(records: tuple[Record, ...]) -> list[str]:
    """Each record as ``owner type data``."""
    return [f"{to_text(r.name)} {rrtypes.type_to_text(r.type)} {rdata.to_text(r.type, r.rdata)}" for r in records]
