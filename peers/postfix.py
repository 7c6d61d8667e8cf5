"""Postfix with a configuration, queue and log of its own, sending to hosts where nobody answers: what does it try, in
which order?

It must run where port 25 of every address refuses, and where ``/etc/resolv.conf`` names the nameserver of the test: in
network and mount namespaces of its own (``unshare``). ``attempts`` reads its log.
"""

import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from peers.server import PeerError, find_program

PACKAGE: Final = "postfix"

_MASTER: Final = """\
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
flush     unix  n  -  n  1000? 0  flush
proxymap  unix  -  -  n  -     -  proxymap
smtp      unix  -  -  n  -     50 smtp
showq     unix  n  -  n  -     -  showq
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
postlog   unix-dgram n - n -   1  postlogd
"""

# postfix/smtp[231]: connect to mx1.s7.test[127.1.8.4]:25: Connection refused
_CONNECT: Final = re.compile(r"postfix/smtp\[(\d+)\]: connect to ([^\[ ]+)\[([^\]]+)\]:25: ")
# postfix/smtp[231]: 5D3A81: to=<user@s7.test>, relay=none, delay=1, …, dsn=4.4.1, status=deferred (connect to …)
_STATUS: Final = re.compile(r"postfix/\w+\[(\d+)\]: \w+: to=<[^@>]*@([^>]+)>.* dsn=([\d.]+), status=(\w+) \((.*)\)$")


@dataclass(slots=True)
class Delivery:
    """What Postfix did with the mail for one domain: ``tried`` holds pairs of host and address in their order."""

    tried: list[tuple[str, str]] = field(default_factory=list)
    code: str = ""
    status: str = ""
    reason: str = ""


def attempts(log: Iterable[str]) -> dict[str, Delivery]:
    """The deliveries in a log, by domain; those without an end are left out.

    One process delivers to one domain at a time: its connections belong to the next status it logs.
    """
    pending: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, Delivery] = {}
    for line in log:
        if match := _CONNECT.search(line):
            process, host, address = match.groups()
            pending.setdefault(process, []).append((host, address))
        elif match := _STATUS.search(line):
            process, domain, code, status, reason = match.groups()
            found[domain] = Delivery(pending.pop(process, []), code, status, reason)
    return found


class Postfix:
    """One instance of it.

    Arguments:
        work: an empty folder that every user may read; what Postfix needs is made in it.
        own: the addresses that Postfix takes for its own.
    """

    def __init__(self, work: Path, own: Sequence[str]) -> None:
        self.work = work
        self.log = work / "mail.log"
        self._conf = work / "conf"
        self._postfix = find_program("postfix", PACKAGE)
        for name in ("conf", "queue", "data"):
            (work / name).mkdir()
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": work / "queue",
            "data_directory": work / "data",
            "maillog_file": self.log,
            "maillog_file_prefixes": work,
            "myhostname": "sender.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": ", ".join(f"[{address}]" if ":" in address else address for address in own),
            "inet_protocols": "all",
            "smtp_host_lookup": "dns",
            # As RFC 5321 section 5.1 has it: every address of every exchanger.
            "smtp_mx_address_limit": "0",
            "smtp_mx_session_limit": "0",
            "smtp_connect_timeout": "3s",
            "smtp_tls_security_level": "none",
            "append_dot_mydomain": "no",
            "alias_maps": "",
            "notify_classes": "",
        }
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        (self._conf / "main.cf").write_text("".join(lines))
        (self._conf / "master.cf").write_text(_MASTER)

    def start(self) -> None:
        import shutil

        shutil.chown(self.work / "data", "postfix")
        self._order(self._postfix, "-c", str(self._conf), "start")

    def stop(self) -> None:
        self._order(self._postfix, "-c", str(self._conf), "stop")

    def send(self, domains: Sequence[str]) -> None:
        """One message to a user of every domain, from nobody: so that nothing is sent back."""
        recipients = [f"user@{domain}" for domain in domains]
        self._order(
            find_program("sendmail", PACKAGE), "-C", str(self._conf), "-f", "", *recipients, message="Subject: x\n\nx\n"
        )

    def deliveries(self, domains: Sequence[str], limit: float) -> dict[str, Delivery]:
        """What became of the mail for every domain.

        Arguments:
            limit: seconds within which all must have been tried.

        Raises:
            PeerError: some were not.
        """
        ends = time.monotonic() + limit
        found: dict[str, Delivery] = {}
        while time.monotonic() < ends:
            if self.log.exists():
                found = attempts(self.log.read_text("utf-8", "replace").splitlines())
            if all(domain in found for domain in domains):
                return found
            time.sleep(0.5)
        missing = [domain for domain in domains if domain not in found]
        end = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:]) if self.log.exists() else "no log"
        raise PeerError(f"Postfix did not try {len(missing)} domains in {limit:.0f} s: {missing[:5]}\n{end}")

    def _order(self, *command: str, message: str = "") -> None:
        done = subprocess.run(command, input=message, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise PeerError(f"{Path(command[0]).name} failed ({done.returncode}): {done.stderr or done.stdout}")
