"""An internet in a box, on 127.0.0.0/8: a root, top-level domains, some sixty domains of every kind, and a resolver
over them.

``zones/`` holds it all, as plain master files that anybody can edit. ``plan`` reads from them which server stands at
which address and how it behaves; ``server`` starts and stops those servers, with our own nameserver in them;
``forwarder`` is the address that clients ask; ``guide`` tells people what there is. ``exchangers`` take mail:
``mailhost`` keeps it, ``relayhost`` is our relay; commands switch them off and on through ``control``. Nothing leaves
the machine.
"""

from pathlib import Path
from typing import Final

ZONES: Final = Path(__file__).parent / "zones"
"""The zones that come with mx10."""

LAB_NETWORKS: Final = ("127.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
"""Where the lab's hosts are: loopback, and the networks kept for documentation (RFC 5737, RFC 3849)."""
