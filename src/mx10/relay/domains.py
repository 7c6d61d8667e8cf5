"""Which domains we take mail for: those of the configuration, those that ``mx10 backup`` set up, and those that we
publish with an MX record that names this host behind a better one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import text

from mx10.dns import rdata
from mx10.dns.rrtypes import MX
from mx10.logs import get_logger
from mx10.names import DomainError, ascii_text, domain_from_text
from mx10.relay.courier.transports import Kind, Transports
from mx10.resolver.answer import Resolver, Status
from mx10.store.connect import Store
from mx10.store.errors import StoreError

LOOK_SECONDS: Final = 2.0
"""Between two looks at what ``mx10 backup`` set up."""
REMEMBERED_MS: Final = 30_000
"""How long an answer about what we publish counts."""
MAX_REMEMBERED: Final = 20_000

log = get_logger("relay")


class OurDomains:
    """What we take mail for.

    Args:
        configured: ``relay.domains``; ``example.org`` and ``.example.org`` for all below it.
        transports: domains that are delivered here by one of them are ours.
        names: of this host, folded wire names.
        store: with the table ``relay_domains``.
        publisher: asked for MX records that this server publishes; None: they do not count.

    Raises:
        DomainError: a configured domain cannot be one.
    """

    def __init__(
        self,
        configured: Iterable[str],
        transports: Transports,
        names: frozenset[bytes],
        store: Store,
        publisher: Resolver | None,
        clock: Callable[[], int],
    ) -> None:
        self._configured = frozenset(
            f".{ascii_text(domain_from_text(each[1:]))}" if each.startswith(".") else ascii_text(domain_from_text(each))
            for each in configured
        )
        self._transports = transports
        self._names = names
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._set_up: frozenset[str] = frozenset()
        self._published: OrderedDict[str, tuple[int, bool]] = OrderedDict()

    def __call__(self, domain: str) -> bool | None:
        """Whether a domain (A-labels in lower case) is ours; None: ``ask`` finds it out."""
        if domain in self._configured or domain in self._set_up:
            return True
        rest = domain
        while dot := rest.partition(".")[2]:
            if f".{dot}" in self._configured:
                return True
            rest = dot
        transport = self._transports.of(domain)
        local = (Kind.LMTP, Kind.MAILDIR, Kind.WEBHOOK)
        if transport is not None and transport.kind in local and transport is not self._transports.of("*"):
            return True
        if self._publisher is None:
            return False
        known = self._published.get(domain)
        if known is None or self._clock() - known[0] > REMEMBERED_MS:
            return None
        return known[1]

    async def ask(self, domain: str) -> bool | None:
        """Whether we publish a domain with an MX record that names this host behind another; None: that cannot be said
        now."""
        assert self._publisher is not None
        try:
            name = domain_from_text(domain)
        except DomainError:
            return False
        answer = await self._publisher.resolve(name, MX)
        if answer.status is Status.FAILURE and answer.rcode is None:
            return None
        found = False
        if answer.status is Status.OK:
            pairs = [rdata.mx(record.rdata) for record in answer.records]
            mine = [preference for preference, host in pairs if host.lower() in self._names]
            found = bool(mine) and any(preference < min(mine) for preference, _ in pairs)
        self._published[domain] = (self._clock(), found)
        self._published.move_to_end(domain)
        if len(self._published) > MAX_REMEMBERED:
            self._published.popitem(last=False)
        return found

    def read(self) -> None:
        """Read what ``mx10 backup`` set up. In a thread.

        Raises:
            StoreError: it cannot be read.
        """
        with self._store.read() as connection:
            self._set_up = frozenset(connection.execute(text("SELECT domain FROM relay_domains")).scalars())

    async def run(self) -> None:
        """Read it again and again, until cancelled."""
        complaint = ""
        while True:
            try:
                await asyncio.to_thread(self.read)
                complaint = ""
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("the domains of `mx10 backup` cannot be read", cause=complaint)
            await asyncio.sleep(LOOK_SECONDS)
