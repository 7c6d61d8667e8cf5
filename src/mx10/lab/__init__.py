"""An internet in a box, on 127.0.0.0/8: a root, top-level domains, some sixty domains of every kind, and a resolver
over them.

``zones/`` holds it all, as plain master files that anybody can edit. ``plan`` reads from them which server stands at
which address and how it behaves; ``server`` starts and stops those servers, with our own nameserver in them;
``forwarder`` is the address that clients ask; ``guide`` tells people what there is. Nothing leaves the machine.
"""

from pathlib import Path
from typing import Final

ZONES: Final = Path(__file__).parent / "zones"
"""The zones that come with mx10."""
