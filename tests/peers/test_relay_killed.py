"""``mx10 serve`` killed under load: what it had acknowledged is there or was passed on, whole, and nothing is twice.

Twenty kills; ``tools/kill_spool.py`` does hundreds. Here and not among the unit tests because it takes a minute.
"""

import asyncio
import shutil

import pytest

from tests.conftest import cannot_run
from tools.kill_spool import rounds

pytestmark = [pytest.mark.peers, pytest.mark.long]


def test_killed_twenty_times() -> None:
    if shutil.which("setpriv") is None:
        cannot_run("setpriv is not installed: apt-get install util-linux")
    came = asyncio.run(rounds(20, seed=20, most_seconds=0.6))
    assert came.seen.wrong == []
    assert came.kills.total() == 20
    assert came.of_one > 0
    assert len(came.seen.acknowledged) > 20
