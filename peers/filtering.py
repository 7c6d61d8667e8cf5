"""Filters of others, for mail: OpenDKIM, which signs, and Rspamd, over HTTP and as a milter."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from peers.server import PeerError, find_program, free_port

START_SECONDS: Final = 60.0
"""Rspamd reads its lists of words and suffixes first."""
_STOP_SECONDS: Final = 10.0

_OPENDKIM: Final = """\
Domain           {domain}
KeyFile          {folder}/key.pem
Selector         sel
Mode             s
Socket           local:{socket}
Syslog           no
RequireSafeKeys  no
Background       no
"""
_RSPAMD: Final = """\
options {{
  pidfile = false; filters = ""; tempdir = "{folder}"; control_socket = "{folder}/control.sock mode=0600";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.2s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{http}"; count = 1; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{milter}"; count = 1; milter = yes; timeout = 10s;
  upstream "local" {{ self_scan = yes; default = yes; }}
}}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
"""


@contextlib.contextmanager
def opendkim(folder: Path, domain: str) -> Iterator[str]:
    """OpenDKIM, which signs mail of a domain with the key ``key.pem`` in a folder; the path of its socket.

    Raises:
        PeerError: it did not start.
        MissingPeerError: it is not installed.
    """
    place = folder / "opendkim.sock"
    settings = folder / "opendkim.conf"
    settings.write_text(_OPENDKIM.format(folder=folder, domain=domain, socket=place))
    with _running(
        [find_program("opendkim", "opendkim"), "-f", "-x", str(settings)], folder / "opendkim.log"
    ) as process:
        _wait(process, folder / "opendkim.log", lambda: _answers(socket.AF_UNIX, str(place)))
        yield str(place)


@contextlib.contextmanager
def rspamd(folder: Path) -> Iterator[tuple[int, int]]:
    """Rspamd with its own rules alone; its ports for HTTP and for the milter protocol.

    Raises:
        PeerError: it did not start.
        MissingPeerError: it is not installed.
    """
    http, milter = free_port(), free_port()
    settings = folder / "rspamd.conf"
    settings.write_text(_RSPAMD.format(folder=folder, http=http, milter=milter))
    command = [find_program("rspamd", "rspamd"), "-f", "--insecure", "-c", str(settings)]
    with _running(command, folder / "rspamd.log") as process:
        for port in (http, milter):
            place = ("127.0.0.1", port)
            _wait(process, folder / "rspamd.log", lambda place=place: _answers(socket.AF_INET, place))  # type: ignore[misc]
        yield http, milter


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Children of its own session, if some are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(family: int, place: str | tuple[str, int]) -> bool:
    with socket.socket(family) as tried:
        tried.settimeout(1)
        return tried.connect_ex(place) == 0


def _wait(process: "subprocess.Popen[bytes]", log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise PeerError(f"it did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
