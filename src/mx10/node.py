"""Puts the services together: the one place that knows all of them.

Today these are the nameserver and the relay; the monitor and the console will stand beside them here.
"""

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mx10.config import Config, RelaySettings
from mx10.logs import configure
from mx10.nameserver.listeners import ListenError, bind_stream, parse_address
from mx10.nameserver.metrics_page import MetricsPage
from mx10.nameserver.starting import StartError
from mx10.nameserver.stewardship import plan
from mx10.nameserver.supervisor import Companion, Supervisor

if TYPE_CHECKING:
    from mx10.relay.door.values import Kind


def serve(config: Config) -> None:
    """Run every service that the configuration switches on, until SIGTERM or SIGINT.

    Raises:
        mx10.nameserver.starting.StartError: a service cannot start.
    """
    configure(config.log.level, config.log.format)
    companions = relay(config) if listens(config.relay) else []
    Supervisor(config.nameserver, config.zones, plan(config), companions).run()


def listens(settings: RelaySettings) -> bool:
    """Whether there is to be a relay."""
    return bool(settings.listen or settings.submission_listen or settings.submissions_listen)


def relay(config: Config) -> list[Companion]:
    """The relay, as companions of the nameserver: one, or one that keeps and delivers and several that are its doors.

    Raises:
        StartError: it cannot be as its settings say, or its spool cannot be used.
    """
    # Only where there is one: it takes a quarter of a second to import.
    from mx10.relay import doors, process
    from mx10.relay.basics import Listening, RelayError, check
    from mx10.relay.spool.opening import alone, open_spool
    from mx10.store.errors import StoreError

    settings = config.relay
    try:
        check(config)
        opened = open_spool(config, create=True)
        if opened.folder is not None:
            # The relay itself takes it when it begins; who starts a second one shall hear of it at once.
            os.close(alone(opened.folder))
        writes = [path for path in (opened.store.path, opened.folder) if path is not None]
        opened.store.close()
        in_doors = settings.door_processes if opened.folder is not None else 0
    except (RelayError, StoreError) as error:
        raise StartError(str(error)) from error
    patience = process.STOP_SECONDS + 2

    def live(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
        page: process.ServePage | None = None
        if settings.metrics_listen:
            page = lambda text: MetricsPage(settings.metrics_listen, text).run  # noqa: E731
        process.live(config, _listening(sockets), control, page)

    def door(number: int) -> Companion:
        def live_door(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
            doors.live_door(config, number, _listening(sockets), control)

        return Companion(
            f"door {number}", lambda: _bind(settings, shared=True, first=number == 0), writes, live_door, patience
        )

    def _listening(sockets: Sequence[socket.socket]) -> list[Listening]:
        kinds = [kind for kind, addresses, _ in _entrances(settings) for _ in addresses]
        return [Listening(each, kind) for each, kind in zip(sockets, kinds, strict=True)] if sockets else []

    if not in_doors:
        return [Companion("relay", lambda: _bind(settings), writes, live, patience)]
    keeper = Companion("relay", list, writes, live, patience)
    return [keeper, *(door(number) for number in range(in_doors))]


def _entrances(settings: RelaySettings) -> "list[tuple[Kind, tuple[str, ...], int]]":
    return [
        ("mx", settings.listen, 25),
        ("submission", settings.submission_listen, 587),
        ("submissions", settings.submissions_listen, 465),
    ]


def _bind(settings: RelaySettings, *, shared: bool = False, first: bool = False) -> list[socket.socket]:
    bound = []
    for kind, addresses, port in _entrances(settings):
        for text in addresses:
            try:
                address = parse_address(text, port)
                if first:
                    # Without SO_REUSEPORT: with it, a second mx10 would silently take half of the connections.
                    bind_stream(address).close()
                bound.append(bind_stream(address, shared=shared))
            except ListenError as error:
                raise StartError(f"relay.{'listen' if kind == 'mx' else f'{kind}_listen'}: {error}") from error
    return bound
