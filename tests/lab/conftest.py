"""A running lab for tests, at a port that nobody else has."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import peers
from mx10.config import Config, LabSettings
from mx10.lab import ZONES
from mx10.lab.guide import copy_zones
from mx10.lab.server import Lab
from tests.conftest import cannot_run

Start = Callable[..., Awaitable[Lab]]


def free_port() -> int:
    """A port free for UDP and TCP at the lab's address."""
    try:
        return peers.free_port("127.53.0.53")
    except peers.PeerError as error:
        cannot_run(f"{error}; on macOS add the lab's addresses, see docs/lab.md")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts labs, and ends them after the test."""
    async with AsyncExitStack() as labs:

        async def start(zone_dir: Path | None = None, port: int | None = None) -> Lab:
            port = port or free_port()
            lab = Lab(Config(lab=LabSettings(port=port, mail_port=port, zone_dir=zone_dir)))
            await lab.start()
            labs.push_async_callback(lab.close)
            return lab

        yield start


@pytest.fixture
def own_zones(tmp_path: Path) -> Path:
    """A copy of the lab's zones, to be edited."""
    copy_zones(ZONES, tmp_path / "zones")
    return tmp_path / "zones"
