"""``mx10 serve`` killed under load: what it had acknowledged is there or was passed on, whole, and nothing is twice.

Twenty kills; ``tools/kill_spool.py`` does hundreds. Here and not among the unit tests because it takes a minute.
"""

import asyncio
import shutil

import pytest

from tests.conftest import cannot_run
from tools.kill_spool import rounds

pytestmark = pytest.mark.peers


def test_killed_twenty_times() -> None:
    if shutil.which("setpriv") is None:
        cannot_run("setpriv is not installed: apt-get install util-linux")
    seen, kinds, _ = asyncio.run(rounds(20, seed=20, most_seconds=0.6))
    assert seen.wrong == []
    assert kinds.total() == 20
    assert len(seen.acknowledged) > 20
