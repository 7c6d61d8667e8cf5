"""Whether there is a lab that ``--lab`` can mean."""

import sys
from pathlib import Path
from typing import Final

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


def authority(address: str, port: int) -> Path | None:
    """The file with the authority that certified the exchangers of this user's lab at that address; None: there is
    none, and verifying with those of the system says so."""
    from mx10.lab.places import ca_file_of, folder_of, tls_folder_of

    path = ca_file_of(tls_folder_of(folder_of(address, port)))
    return path if path.exists() else None


def settings_of_relay(address: str, port: int) -> dict[str, object]:
    """What the relay of the lab at that address is called, where it listens and so on: ``section.name`` to
    value.

    Raises:
        SystemExit: 3, there is no lab of this user, or none with a relay.
    """
    from mx10.lab.control import NotRunningError, OrderError, ask
    from mx10.lab.places import PROBE_LONGEST_SECONDS, folder_of

    try:
        hosts = ask(address, port, {"do": "hosts"}).told["hosts"]
    except (NotRunningError, OrderError) as error:
        print(f"mx10: {error}: start one with `mx10 lab up`", file=sys.stderr)
        raise SystemExit(3) from None
    relay = next((host for host in hosts if host["relay"]), None)
    if relay is None:
        print('mx10: the lab has no relay: give an exchanger the record TXT "lab relay"', file=sys.stderr)
        raise SystemExit(3)
    return {
        "store.url": f"sqlite:///{folder_of(address, port) / 'mx10.db'}",
        "relay.hostname": relay["host"],
        "relay.probe_longest_seconds": PROBE_LONGEST_SECONDS,
        "relay.listen": tuple(f"{each}:{relay['port']}" for each in relay["addresses"]),
    }
