"""The exchanger of the lab that is our relay: the real one, with a spool of its own in the lab's folder.

It is the backup of the domains that have better exchangers than it. Down means stopped, as by SIGTERM: what it promised
waits in the spool, and is delivered when it is back. It is quick where a relay in the world is patient: who plays with
the lab does not want to wait for five minutes.
"""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from mx10.config import Config
from mx10.lab import LAB_NETWORKS
from mx10.lab.mailhost import Health, Mailbox, MailHost
from mx10.lab.places import PROBE_LONGEST_SECONDS, ca_file_of, folder_of
from mx10.lab.plan import MailPlace
from mx10.logs import get_logger
from mx10.nameserver.listeners import ListenError, bind_stream
from mx10.store.errors import StoreError

if TYPE_CHECKING:
    from mx10.relay.process import Relay

START_SECONDS: Final = 30.0
"""For the relay to be ready: it makes its spool."""

log = get_logger("lab")


def store_of(address: str, port: int) -> str:
    """URL of the store beside which the relay of the lab at that address has its spool."""
    return f"sqlite:///{folder_of(address, port) / 'mx10.db'}"


def relay_config(config: Config, name: str, place: MailPlace, certificate: Path | None = None) -> Config:
    """The settings of the lab's relay.

    Args:
        config: as the lab was started.
        name: of the exchanger.
        place: where it is, and whose mail it takes.
        certificate: file with it and its key, beside which that of its authority is; None: it offers no TLS.
    """
    lab = config.lab
    usual = Config()
    return replace(
        usual,
        log=config.log,
        store=replace(usual.store, url=store_of(lab.address, lab.port)),
        nameserver=replace(usual.nameserver, listen=()),
        resolver=replace(usual.resolver, servers=(f"{lab.address}:{lab.port}",), cache_entries=0),
        routing=replace(usual.routing, public_networks=LAB_NETWORKS),
        relay=replace(
            usual.relay,
            hostname=name,
            domains=tuple(sorted(place.domains)),
            local_addresses=place.addresses[:1],
            tls_certificate=certificate,
            tls_key=certificate,
            ca_file=None if certificate is None else ca_file_of(certificate.parent),
            backup_published=False,
            port=lab.mail_port,
            message_mb=10,
            retry_seconds=2,
            retry_longest_seconds=10,
            probe_seconds=1,
            probe_longest_seconds=PROBE_LONGEST_SECONDS,
        ),
    )


class RelayHost:
    """The relay, as ``MailHost`` is any other exchanger.

    Attributes:
        fault: why it does not run although it should; empty: it does.
    """

    def __init__(
        self, name: str, port: int, place: MailPlace, config: Config, box: Mailbox, certificate: Path | None = None
    ) -> None:
        self.name = name
        self.port = port
        self.addresses = place.addresses
        self.domains = place.domains
        self.people = place.people
        self.health: Health = "down"
        self.fault = ""
        self._place = place
        self._config = config
        self._box = box
        self._certificate = certificate
        self._relay: Relay | None = None
        self._task: asyncio.Task[None] | None = None
        self._stand_in: MailHost | None = None
        self._taken = 0

    @property
    def taken(self) -> int:
        """Messages that were promised to be delivered."""
        return self._taken + _accepted(self._relay)

    async def waiting(self) -> int:
        """Recipients that wait in the spool, also while it is down; 0 too if nobody can tell."""
        from mx10.relay.spool.opening import open_spool

        def count() -> int:
            opened = open_spool(relay_config(self._config, self.name, self._place))
            try:
                with opened.store.read() as connection:
                    return int(connection.execute(text("SELECT COUNT(*) FROM recipients")).scalar_one())
            finally:
                opened.store.close()

        try:
            return await asyncio.to_thread(count)
        except StoreError:
            return 0

    async def be(self, health: Health) -> None:
        """Become so; see ``MailHost.be``."""
        if health == self.health and not self.fault:
            return
        await self.close()
        self.health = health
        if health == "up":
            await self._start()
        elif health != "down":
            # It is stopped, and somebody who is silent or busy stands at its addresses.
            self._stand_in = MailHost(self.name, self.port, self._place, self._box)
            await self._stand_in.be(health)
            self.fault = self._stand_in.fault

    async def follow(self, place: MailPlace) -> None:
        """Take mail as the zones say now; its addresses stay."""
        changed, self._place = place.domains != self.domains, place
        self.domains, self.people = place.domains, place.people
        if changed and self.health == "up":
            # Its settings are those of its start.
            await self.close()
            await self.be("up")

    async def close(self) -> None:
        """Stop. What is promised waits in the spool."""
        self._taken = self.taken
        if self._stand_in is not None:
            await self._stand_in.close()
        task, self._relay, self._task, self._stand_in = self._task, None, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        self.health, self.fault = "down", ""

    async def _start(self) -> None:
        # A quarter of a second to import, which only labs with a relay spend.
        from mx10.lab.here import LabOnly
        from mx10.relay.basics import Listening, RelayError
        from mx10.relay.process import Relay

        sockets: list[socket.socket] = []
        try:
            sockets.extend(bind_stream((address, self.port)) for address in self.addresses)
        except ListenError as error:
            for each in sockets:
                each.close()
            self.fault = str(error)
            return
        config = relay_config(self._config, self.name, self._place, self._certificate)
        self._relay = relay = Relay(config, [Listening(each, "mx") for each in sockets], reach=LabOnly)
        self._task = asyncio.create_task(self._live(relay, sockets, RelayError))
        ready = asyncio.create_task(relay.ready.wait())
        await asyncio.wait((self._task, ready), timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not relay.ready.is_set() and not self.fault:
            ended = self._task.done()
            self.fault = "the relay has ended" if ended else f"the relay is not ready after {START_SECONDS:g} s"

    async def _live(self, relay: "Relay", sockets: list[socket.socket], cannot: type[Exception]) -> None:
        try:
            await relay.run()
        except (cannot, StoreError, OSError) as error:
            self.fault = str(error)
            log.error("the lab's relay has ended", host=self.name, cause=self.fault)
        except Exception as error:
            self.fault = f"a fault in mx10: {type(error).__name__}: {error}"
            log.exception("the lab's relay has failed", host=self.name)
        finally:
            for each in sockets:
                each.close()


def _accepted(relay: "Relay | None") -> int:
    if relay is None or not relay.ready.is_set():
        return 0
    return sum(count for (what, _), count in relay.entrance.door.counts.items() if what == "accepted")
