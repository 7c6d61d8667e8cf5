"""Other people's nameservers, for tests and benchmarks: started on loopback with a folder of zones, and always stopped.

Development only: nothing under ``src/`` imports this package. Each peer is a context manager::

    with Nsd(Path("zones")) as nsd:
        ask(nsd.address, nsd.port, question("example.com", "MX"))

No privileges are needed: every server runs as the current user out of its own temporary folder. Each has one worker, no
rate limit, no query log, and answers of at most 1232 octets over UDP (RFC 6891 section 6.2.5 leaves the size to the
server), so that figures can be compared.
"""

from peers.asking import NoAnswerError, ask, ask_many, ask_tcp, question
from peers.bind import Bind
from peers.echo import Echo
from peers.knot import Knot
from peers.mx10 import Mx10
from peers.nsd import Nsd, NsdMinimal
from peers.powerdns import PowerDns
from peers.server import (
    MissingPeerError,
    PeerError,
    Server,
    ZoneFile,
    free_port,
    zone_files,
)

AUTHORITATIVE: tuple[type[Server], ...] = (Nsd, Knot, PowerDns, Bind)
"""The peers that answer from master files as mx10 does, fastest first."""

__all__ = [
    "AUTHORITATIVE",
    "Bind",
    "Echo",
    "Knot",
    "MissingPeerError",
    "Mx10",
    "NoAnswerError",
    "Nsd",
    "NsdMinimal",
    "PeerError",
    "PowerDns",
    "Server",
    "ZoneFile",
    "ask",
    "ask_many",
    "ask_tcp",
    "free_port",
    "question",
    "zone_files",
]
