"""Puts the services together: the one place that knows all of them.

Today these are the nameserver and the relay; the monitor and the console will stand beside them here.
"""

import socket
from collections.abc import Sequence

from mx10.config import Config, RelaySettings
from mx10.logs import configure
from mx10.nameserver.listeners import ListenError, bind_stream, parse_address
from mx10.nameserver.stewardship import plan
from mx10.nameserver.supervisor import Companion, StartError, Supervisor


def serve(config: Config) -> None:
    """Run every service that the configuration switches on, until SIGTERM or SIGINT.

    Raises:
        mx10.nameserver.supervisor.StartError: a service cannot start.
    """
    configure(config.log.level, config.log.format)
    companions = [relay(config)] if listens(config.relay) else []
    Supervisor(config.nameserver, config.zones, plan(config), companions).run()


def listens(settings: RelaySettings) -> bool:
    """Whether there is to be a relay."""
    return bool(settings.listen or settings.submission_listen or settings.submissions_listen)


def relay(config: Config) -> Companion:
    """The relay, as a companion of the nameserver.

    Raises:
        StartError: it cannot be as its settings say, or its spool cannot be used.
    """
    # Only where there is one: it takes a quarter of a second to import.
    from mx10.relay import process
    from mx10.relay.door.values import Kind
    from mx10.relay.spool.opening import open_spool
    from mx10.store.errors import StoreError

    settings = config.relay
    kinds: list[Kind] = []

    def bind() -> Sequence[socket.socket]:
        bound = []
        entrances: tuple[tuple[Kind, tuple[str, ...], int], ...] = (
            ("mx", settings.listen, 25),
            ("submission", settings.submission_listen, 587),
            ("submissions", settings.submissions_listen, 465),
        )
        for kind, addresses, port in entrances:
            for text in addresses:
                try:
                    bound.append(bind_stream(parse_address(text, port)))
                except ListenError as error:
                    raise StartError(f"relay.{kind}: {error}") from error
                kinds.append(kind)
        return bound

    def live(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
        listening = [process.Listening(each, kind) for each, kind in zip(sockets, kinds, strict=True)]
        process.live(config, listening, control)

    try:
        process.check(config)
        opened = open_spool(config, create=True)
    except (process.RelayError, StoreError) as error:
        raise StartError(str(error)) from error
    writes = [path for path in (opened.store.path, opened.folder) if path is not None]
    opened.store.close()
    return Companion("relay", bind, writes, live, process.STOP_SECONDS + 2)
