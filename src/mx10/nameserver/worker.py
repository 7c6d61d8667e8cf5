"""One worker: a process that answers on sockets of its own, over zones it was born with and is told changes of.

It was forked by the supervisor, so the packed zones are shared memory until one changes. It opens no file but the
store, to read, and ends when the supervisor's end of the control socket closes: no worker outlives its supervisor.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mx10.config import NameserverSettings
from mx10.logs import get_logger
from mx10.nameserver.control import READY, FrameReader, read_secrets
from mx10.nameserver.cookies import Cookies
from mx10.nameserver.listeners import Sockets, serve_on
from mx10.nameserver.query_log import QueryLog
from mx10.nameserver.relay import Relay
from mx10.nameserver.reporting import report_for_ever
from mx10.nameserver.responder import Responder
from mx10.nameserver.snapshot import LOOK_SECONDS, StoreView
from mx10.nameserver.stored import StoredTable
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.tls import TlsError, TlsSockets, load_certificate

if TYPE_CHECKING:
    from mx10.nameserver.quic import QuicSockets

_COLLECT_EVERY: Final = 10_000
"""New containers between two looks for garbage in cycles; a look takes a millisecond or less. Looks by the clock met
all zones opened since the last and took half a second.
"""
_CONTROL_READ: Final = 1 << 18

log = get_logger("nameserver")


def run_worker(
    zones: Mapping[bytes, bytes],
    sockets: Sequence[Sockets],
    control: socket.socket,
    settings: NameserverSettings,
    desk: str | None = None,
    tls: TlsSockets | None = None,
    quic: "QuicSockets | None" = None,
    store: Path | None = None,
    index: int = 0,
    cookie_secrets: Sequence[bytes] = (),
) -> None:
    """Answer until told to stop (SIGTERM) or until the supervisor is gone.

    Args:
        zones: apex to packed zone.
        sockets: this worker's own, bound and non-blocking.
        control: its end of the control socket, non-blocking.
        desk: the path of the steward's socket, if there is a steward.
        tls: this worker's own sockets for TLS, if it is spoken.
        quic: the same for QUIC.
        store: the file of the store, or of its mirror, if there is one.
        index: this worker's number.
        cookie_secrets: 16 octets each, the one in use first; none: cookies are ignored.
    """
    # Ctrl-C and SIGHUP reach the whole process group; only the supervisor acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    collect_only_what_is_young()
    with asyncio.Runner() as runner:
        relay = Relay(desk, settings.operations_per_second) if desk is not None else None
        view = StoreView(store) if store is not None else None
        table = StoredTable(zones, view) if view is not None else ZoneTable(zones)
        cookies = Cookies(cookie_secrets) if cookie_secrets else None
        responder = Responder(table, settings, relay, cookies)
        if relay is not None:
            relay.counters = responder.counters
        watching = _Watching(responder, table, view) if isinstance(table, StoredTable) and view is not None else None
        runner.run(_serve(responder, sockets, control, settings, tls, quic, watching, desk, index))


def collect_only_what_is_young() -> None:
    """Set the garbage collector so that it holds up no question.

    A full collection would walk every zone and compiled answer, none of which is part of a cycle. So what is there now
    is never looked at, what comes is looked at once, soon, and what stays is left alone.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 1 << 30, 1 << 30)
    gc.enable()


async def _serve(
    responder: Responder,
    sockets: Sequence[Sockets],
    control: socket.socket,
    settings: NameserverSettings,
    tls: TlsSockets | None,
    quic: "QuicSockets | None",
    watching: "_Watching | None",
    desk: str | None,
    index: int,
) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    every = settings.query_log_every
    query_log = QueryLog(every, index, responder.counters) if every else None
    listeners = await serve_on(responder, sockets, settings, tls, query_log, quic)
    frames = FrameReader()
    if watching is not None:
        watching.look()

    def on_control() -> None:
        try:
            data = control.recv(_CONTROL_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(control)
            done.set()
        for apex, packed in frames.feed(data):
            if not apex and packed is None:
                _renew_certificate(tls, quic, settings)
            elif not apex:
                if responder.cookies is not None and packed is not None:
                    responder.cookies.use(read_secrets(packed))
            elif packed is None:
                responder.remove_zone(apex)
            else:
                responder.put_zone(apex, packed)

    loop.add_reader(control, on_control)
    control.send(READY)
    reports = loop.create_task(report_for_ever(desk, index, responder, listeners)) if desk is not None else None
    await done.wait()
    if reports is not None:
        reports.cancel()
    listeners.close()


class _Watching:
    """Looks every few milliseconds whether something was committed to the store, and drops what that makes stale."""

    def __init__(self, responder: Responder, table: StoredTable, view: StoreView) -> None:
        self._responder = responder
        self._table = table
        self._view = view

    def look(self) -> None:
        """Look once, and again in a while."""
        moved = self._view.move()
        if moved is not None:
            # The table first: new zones are seen at once, and what the answers depended on is forgotten after it.
            self._table.moved(moved.apexes)
            self._responder.store_moved(moved.apexes, moved.new)
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self.look)


def _renew_certificate(tls: TlsSockets | None, quic: "QuicSockets | None", settings: NameserverSettings) -> None:
    try:
        if tls is not None:
            load_certificate(tls.context, settings)
        if quic is not None:
            from mx10.nameserver.quic import load_quic_certificate

            load_quic_certificate(quic.configuration, settings)
    except TlsError as error:
        log.error("the certificate is not read again; the one from before stays", cause=str(error))
