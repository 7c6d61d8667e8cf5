"""Postfix with a configuration, queue and log of its own, as a relay: what mx10's is measured beside.

It is as durable as Debian ships it. What costs time and has nothing to do with mail (looking up names, limits for
strangers, sleeping when mail comes faster than it goes) is off.
"""

import re
import shutil
import subprocess
from typing import Final

from peers.postfix import PACKAGE
from peers.relaying import Relay, end_of
from peers.server import PeerError, find_program

_MASTER: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
proxymap  unix  -  -  n  -     -  proxymap
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
smtp      unix  -  -  n  -     -  smtp
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
postlog   unix-dgram n - n -   1  postlogd
"""


class RelayingPostfix(Relay):
    """One instance of it.

    Args:
        next_hop: the port of 127.0.0.1 where all mail goes.
        hold: put all that comes into the hold queue, and do no more with it.
        settings: more of main.cf.
    """

    name = "Postfix"

    def __init__(self, next_hop: int, *, hold: bool = False, **settings: str) -> None:
        super().__init__(next_hop)
        self._hold, self._more = hold, settings

    def launch(self) -> None:
        conf, data, queue = (self.work / name for name in ("conf", "data", "queue"))
        for folder in (conf, data, queue):
            folder.mkdir()
        shutil.chown(data, "postfix")
        keep = "check_client_access static:HOLD, " if self._hold else ""
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": str(queue),
            "data_directory": str(data),
            "maillog_file": str(self.work / "mail.log"),
            "maillog_file_prefixes": str(self.work),
            "myhostname": "relay.bench.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "notify_classes": "",
            "relayhost": f"[127.0.0.1]:{self.next_hop}",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_recipient_restrictions": f"{keep}permit_mynetworks, reject",
            "smtp_dns_support_level": "disabled",
            # It would sleep for a second now and then when mail comes faster than it goes.
            "in_flow_delay": "0",
            "message_size_limit": "52428800",
            **self._more,
        }
        (conf / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        (conf / "master.cf").write_text(_MASTER.format(port=self.port))
        self._order("start")
        self.leader = int((queue / "pid" / "master.pid").read_text())

    def shut(self) -> None:
        self._order("stop")

    @classmethod
    def version(cls) -> str:
        command = [find_program("postconf", PACKAGE), "-d", "-h", "mail_version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return f"Postfix {done.stdout.strip()}"

    def log_tail(self) -> str:
        return end_of(self.work / "mail.log")

    def _order(self, word: str) -> None:
        command = [find_program("postfix", PACKAGE), "-c", str(self.work / "conf"), word]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            said = re.sub(r"\s+", " ", done.stderr or done.stdout)
            raise PeerError(f"postfix {word} failed ({done.returncode}): {said}\n{self.log_tail()}")
