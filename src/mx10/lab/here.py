"""What holds for all that belongs to the lab: nothing leaves this machine."""

from ipaddress import ip_address

from mx10.relay.courier.values import ConnectionTrouble, Connector, Link, Listener, Stage, Target, TlsPolicy, Trouble


class LabOnly:
    """Connections to this machine alone, though some hosts of the lab have addresses that are not of it: a
    ``courier.values.Connector``."""

    def __init__(self, connect: Connector) -> None:
        self._connect = connect

    async def __call__(self, target: Target, policy: TlsPolicy, listener: Listener) -> Link:
        """See ``courier.values.Connector``."""
        if not ip_address(target.address).is_loopback:
            detail = "an address beyond this machine, which the lab does not reach"
            raise ConnectionTrouble(Stage.CONNECT, Trouble.UNREACHABLE, detail)
        return await self._connect(target, policy, listener)
