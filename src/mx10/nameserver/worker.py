"""One worker: a process that answers on sockets of its own, over zones it was born with and is told changes of.

It was forked by the supervisor, so the packed zones are shared memory until one changes. It opens no file, and ends
when the supervisor's end of the control socket
closes: no worker outlives its supervisor.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from mx10.config import NameserverSettings
from mx10.logs import get_logger
from mx10.nameserver.control import READY, FrameReader
from mx10.nameserver.listeners import Sockets, serve_on
from mx10.nameserver.relay import Relay
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.tls import TlsError, TlsSockets, load_certificate

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
) -> None:
    """Answer until told to stop (SIGTERM) or until the supervisor is gone.

    Args:
        zones: apex to packed zone.
        sockets: this worker's own, bound and non-blocking.
        control: its end of the control socket, non-blocking.
        desk: the path of the steward's socket, if there is a steward.
        tls: this worker's own sockets for TLS, if it is spoken.
    """
    # Ctrl-C and SIGHUP reach the whole process group; only the supervisor acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    collect_only_what_is_young()
    with asyncio.Runner() as runner:
        relay = Relay(desk) if desk is not None else None
        runner.run(_serve(Responder(ZoneTable(zones), settings, relay), sockets, control, settings, tls))


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
) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    listeners = await serve_on(responder, sockets, settings, tls)
    frames = FrameReader()

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
            if not apex:
                _renew_certificate(tls, settings)
            elif packed is None:
                responder.remove_zone(apex)
            else:
                responder.put_zone(apex, packed)

    loop.add_reader(control, on_control)
    control.send(READY)
    await done.wait()
    listeners.close()


def _renew_certificate(tls: TlsSockets | None, settings: NameserverSettings) -> None:
    if tls is not None:
        try:
            load_certificate(tls.context, settings)
        except TlsError as error:
            log.error("the certificate is not read again; the one from before stays", cause=str(error))
