"""Mail servers that Debian does not let stand beside Postfix, unpacked by tools/unpacked-packages and not installed.

Such a server finds its users and folders where it was built to look for them: it runs in namespaces of its own for
mounts and processes, where ``/etc/passwd`` has its users and some folders are its own. It needs root.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from peers.server import MissingPeerError, PeerError, free_port

DOMAIN: Final = "receiver.test"
USER: Final = "bob"
"""Whom the receiving servers know; nobody else."""
_TOOL: Final = Path(__file__).parents[1] / "tools" / "unpacked-packages"
_START_SECONDS: Final = 20.0
_NOBODY: Final = 65534
INSIDE: Final = Path("/mnt")
"""Where the packages stand in the namespaces: a folder that each of the server's users may walk to."""


def unpacked(program: str) -> Path:
    """The folder into which the packages were unpacked.

    Args:
        program: that is to be there, as ``usr/sbin/exim4``.

    Raises:
        MissingPeerError: it is not, or cannot run here.
    """
    where = Path(subprocess.run([_TOOL, "--where"], capture_output=True, text=True, check=True).stdout.strip())
    if not (where / program).exists():
        raise MissingPeerError(f"{where / program} is not there: run tools/unpacked-packages")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise MissingPeerError(f"{program} runs in namespaces of its own: that needs root, and unshare of util-linux")
    return where


class MailServer:
    """One of them, with a Maildir for ``USER`` at ``DOMAIN``.

    Args:
        work: an empty folder that every user may walk to.
        certificate, key: files of its certificate.
    """

    PROGRAM = ""
    USERS: Sequence[tuple[str, int]] = ()
    """Names and numbers of the users it wants to find."""
    SETUP = ""
    """What is done in the namespaces before it starts; ``$CONFIGURATION`` is its file."""

    def __init__(self, work: Path, certificate: Path, key: Path) -> None:
        self._packages = unpacked(self.PROGRAM)
        self.port, self.implicit_port = free_port(), free_port()
        self.work = work
        self.log = work / "log"
        self.configuration = work / "conf"
        self.maildir = work / "mail" / "box"
        self._process: subprocess.Popen[bytes] | None = None
        for source, name, mode in ((certificate, "certificate.pem", 0o644), (key, "key.pem", 0o600)):
            if source != work / name:
                shutil.copy(source, work / name)
            (work / name).chmod(mode)
        (work / "mail").mkdir()
        os.chown(work / "mail", _NOBODY, _NOBODY)
        users = "".join(f"{name}:x:{number}:{number}::/nonexistent:/bin/false\n" for name, number in self.USERS)
        groups = "".join(f"{name}:x:{number}:\n" for name, number in self.USERS)
        (work / "passwd").write_text(Path("/etc/passwd").read_text().rstrip("\n") + "\n" + users)
        (work / "group").write_text(Path("/etc/group").read_text().rstrip("\n") + "\n" + groups)

    def command(self) -> list[str]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    def __enter__(self) -> "MailServer":
        script = [
            "set -e",
            "mount --make-rprivate /",
            f"mount --bind {self.work}/passwd /etc/passwd",
            f"mount --bind {self.work}/group /etc/group",
            f"mount --bind {self._packages} {INSIDE}",
            # Libraries of the packages are found through the loader's own list: programs that change their user hear of
            # no LD_LIBRARY_PATH.
            f"/sbin/ldconfig -X -C {self.work}/ld.so.cache {INSIDE}/usr/lib/*-linux-*",
            f"mount --bind {self.work}/ld.so.cache /etc/ld.so.cache",
            f"CONFIGURATION={self.configuration}",
            self.SETUP,
            # Not exec: a program that changes its user would outlive us; all within end with their first process.
            '"$@" & wait',
        ]
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script), "sh"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*inside, *self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            for port in (self.port, self.implicit_port):
                self._await_port(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # with --kill-child, all that is within
            self._process.wait(10)

    def messages(self, count: int, limit: float = 20.0) -> list[bytes]:
        """So many messages in the mailbox, the oldest first, with the header fields that the server put before them.

        Raises:
            PeerError: there are fewer after ``limit`` seconds.
        """
        ends = time.monotonic() + limit
        while True:
            files = sorted((self.maildir / "new").glob("*"), key=lambda each: each.stat().st_mtime_ns)
            if len(files) >= count:
                return [file.read_bytes() for file in files]
            if time.monotonic() > ends:
                raise PeerError(f"{len(files)} messages came, not {count}: {self.said()}")
            time.sleep(0.02)

    @property
    def count(self) -> int:
        """Messages in the mailbox now."""
        return len(list((self.maildir / "new").glob("*")))

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-4000:]

    def _await_port(self, port: int) -> None:
        ends = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            if time.monotonic() > ends or (self._process is not None and self._process.poll() is not None):
                raise PeerError(f"{self.PROGRAM} does not listen at port {port}: {self.said()}")
            time.sleep(0.02)
