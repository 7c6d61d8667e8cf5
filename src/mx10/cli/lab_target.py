"""What ``--lab`` changes: whom to ask, and which networks count as public."""

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mx10.relay.courier.values import Connector, Link, Listener, Target, TlsPolicy

LAB_NETWORKS: Final = ("127.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
"""Where the lab's hosts are: loopback, and the networks kept for documentation (RFC 5737, RFC 3849)."""

_SECONDS: Final = 1.0


def require_lab(address: str, port: int) -> None:
    """End the command with a word on how to start the lab, unless something answers at its address.

    Raises:
        SystemExit: 3, as for any server that does not answer.
    """
    import socket

    try:
        socket.create_connection((address, port), _SECONDS).close()
    except OSError:
        print("mx10: the lab is not running: start it with `mx10 lab up`", file=sys.stderr)
        raise SystemExit(3) from None


class LabOnly:
    """With ``--lab`` nothing leaves this machine, though some hosts of the lab have addresses that are not of it: a
    ``courier.values.Connector``."""

    def __init__(self, connect: "Connector") -> None:
        self._connect = connect

    async def __call__(self, target: "Target", policy: "TlsPolicy", listener: "Listener") -> "Link":
        from ipaddress import ip_address

        from mx10.relay.courier.values import ConnectionTrouble, Stage, Trouble

        if not ip_address(target.address).is_loopback:
            detail = "an address beyond this machine, which the lab does not reach"
            raise ConnectionTrouble(Stage.CONNECT, Trouble.UNREACHABLE, detail)
        return await self._connect(target, policy, listener)
