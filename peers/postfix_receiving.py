"""Postfix with a configuration, queue and log of its own, taking mail on a loopback port into a Maildir; and its
``smtp-sink``, which refuses and breaks off as it is told."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from peers.postfix import PACKAGE
from peers.server import PeerError, find_program, free_port

DOMAIN: Final = "receiver.test"
_NOBODY: Final = 65534

_MASTER: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{implicit} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
proxymap  unix  -  -  n  -     -  proxymap
anvil     unix  -  -  n  -     1  anvil
virtual   unix  -  n  n  -     -  virtual
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
postlog   unix-dgram n - n -   1  postlogd
"""


class ReceivingPostfix:
    """One instance of it, for ``DOMAIN``: every local part but ``nobody…`` and ``no-such-user-…`` is a user.

    Args:
        work: an empty folder that every user may walk to.
        certificate, key: files of its certificate.
        settings: more of main.cf.
    """

    def __init__(self, work: Path, certificate: Path, key: Path, **settings: str) -> None:
        self.port, self.implicit_port = free_port(), free_port()
        self.log = work / "mail.log"
        self.maildir = work / "mail" / "box"
        self._conf = work / "conf"
        self._postfix = find_program("postfix", PACKAGE)
        for name in ("conf", "queue", "data", "mail"):
            (work / name).mkdir()
        shutil.chown(work / "data", "postfix")
        os.chown(work / "mail", _NOBODY, _NOBODY)
        (self._conf / "users").write_text(f"/^(nobody|no-such-user-)/ REJECT\n/@{DOMAIN}$/ box/\n")
        (self._conf / "known").write_text(f"/^(nobody|no-such-user-)/ 550 5.1.1 nobody of that name\n/@{DOMAIN}$/ OK\n")
        all_settings = {
            "compatibility_level": "3.6",
            "queue_directory": str(work / "queue"),
            "data_directory": str(work / "data"),
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(work),
            "myhostname": "mx.receiver.test",
            "mydestination": "",
            "mynetworks": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "notify_classes": "",
            # Nobody is asked anything.
            "smtpd_peername_lookup": "no",
            "smtpd_recipient_restrictions": f"check_recipient_access regexp:{self._conf}/known, reject",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": str(work / "mail"),
            "virtual_mailbox_maps": f"regexp:{self._conf}/users",
            "virtual_uid_maps": f"static:{_NOBODY}",
            "virtual_gid_maps": f"static:{_NOBODY}",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(certificate),
            "smtpd_tls_key_file": str(key),
            "message_size_limit": "1000000",
            "smtputf8_enable": "yes",
            **settings,
        }
        (self._conf / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in all_settings.items()))
        (self._conf / "master.cf").write_text(_MASTER.format(port=self.port, implicit=self.implicit_port))

    def __enter__(self) -> "ReceivingPostfix":
        self._order("start")
        for port in (self.port, self.implicit_port):
            _await_port(port, lambda: self.log.read_text("utf-8", "replace") if self.log.exists() else "no log")
        return self

    def __exit__(self, *_: object) -> None:
        self._order("stop")

    def messages(self, count: int, limit: float = 20.0) -> list[bytes]:
        """So many messages in the mailbox, the oldest first, with the header fields that Postfix put before them.

        Raises:
            PeerError: there are fewer after ``limit`` seconds.
        """
        ends = time.monotonic() + limit
        while True:
            files = sorted((self.maildir / "new").glob("*"), key=lambda each: each.stat().st_mtime_ns)
            if len(files) >= count:
                return [file.read_bytes() for file in files]
            if time.monotonic() > ends:
                raise PeerError(f"{len(files)} messages came, not {count}: {self.log.read_text('utf-8', 'replace')}")
            time.sleep(0.02)

    def _order(self, word: str) -> None:
        command = [self._postfix, "-c", str(self._conf), word]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise PeerError(f"postfix {word} failed ({done.returncode}): {done.stderr or done.stdout}")


@contextlib.contextmanager
def smtp_sink(*options: str) -> Iterator[int]:
    """``smtp-sink`` on a loopback port, which it yields."""
    port = free_port()
    command: Sequence[str] = (find_program("smtp-sink", PACKAGE), "-u", "nobody", *options, f"127.0.0.1:{port}", "100")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _await_port(port, lambda: f"smtp-sink ended with {process.poll()}")
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=10)


def _await_port(port: int, why: "object") -> None:
    ends = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > ends:
            raise PeerError(f"nobody listens at port {port}: {why() if callable(why) else why}")
        time.sleep(0.02)
