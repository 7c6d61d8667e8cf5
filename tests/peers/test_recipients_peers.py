"""Asking a Postfix which recipients it has."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.config import RecipientSettings, RoutingSettings
from mx10.relay.courier.send import NobodyIsDown, clock
from mx10.relay.courier.transports import parse_transports
from mx10.relay.courier.ways import Surroundings
from mx10.relay.door.recipients import CallAhead, Recipients, Verdict, links_for_asking, parse_rules
from mx10.store.connect import open_store
from peers.postfix_receiving import DOMAIN, ReceivingPostfix
from tests.conftest import cannot_run
from tests.nameserver.test_tls import write_certificate
from tests.routing.dns_world import World

pytestmark = pytest.mark.peers

WORLD = f"""
{DOMAIN} MX 10 primary.test.
{DOMAIN} MX 20 backup.test.
primary.test A 127.0.0.1
"""


@pytest.fixture(scope="module")
def postfix() -> Iterator[ReceivingPostfix]:
    if shutil.which("postfix", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        cannot_run("postfix is not installed: apt-get install postfix")
    if os.geteuid() != 0:
        cannot_run("Postfix starts only as root")
    # Not pytest's folder: Postfix's own users must be able to walk to it.
    with tempfile.TemporaryDirectory(prefix="mx10-postfix-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with ReceivingPostfix(folder, *write_certificate(folder, "localhost")) as started:
            yield started


async def test_a_postfix_is_asked(postfix: ReceivingPostfix, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    links = links_for_asking("backup.test", 10.0)
    around = Surroundings(
        "backup.test",
        World(WORLD),
        links,
        NobodyIsDown(),
        clock,
        random.Random(1),
        parse_transports(()),
        replace(RoutingSettings(), public_networks=("127.0.0.0/8",)),
        ("backup.test",),
        postfix.port,
    )
    call = CallAhead(around, seconds=10.0, at_once=4)
    recipients = Recipients(RecipientSettings(), parse_rules(("* ask",)), store, call, clock=clock)
    began = time.monotonic()
    for name in ("bob", "grüße"):
        answer = await recipients.verify(f"{name}@{DOMAIN}", clock())
        assert answer.verdict is Verdict.KNOWN, answer
    # More than it stands over one connection, and nobody is made to wait for it.
    for number in range(60):
        answer = await recipients.verify(f"nobody{number}@{DOMAIN}", clock())
        assert answer.verdict is Verdict.UNKNOWN, answer
        assert "5.1.1" in answer.why
    assert time.monotonic() - began < 10
    assert "too many errors" not in postfix.log.read_text()
    assert "from=<>" not in postfix.log.read_text().replace("NOQUEUE: reject", "").partition("queued")[2]
    await call.close()
    await recipients.close()
    await links.close()
    store.close()
