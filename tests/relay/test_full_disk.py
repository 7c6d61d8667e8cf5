"""A disk that is full: nothing is promised that is not kept, nothing is lost, and it goes on when there is room."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relay.running import Client, relay_config, relaying, spooled


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "mx10-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here; test_door has a disk that only says that it is full")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", [60_000, 200_000], ids=["in the database", "as files"])
async def test_full_and_free_again(disk: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("mx10.relay.door.door.FREE_BYTES", 0)  # the disk is smaller than what is kept free
    config = relay_config(disk, message_mb=1)
    content = b"Subject: x\r\n\r\n" + b"0123456789abc\r\n" * (size // 15)
    kept = []
    async with relaying(config) as (_, port), Client.to(port) as client:
        for number in range(300):
            reply = await client.send(content, f"u{number}@ours.example", extra="")
            if not reply.startswith("250"):
                break
            kept.append(f"u{number}@ours.example")
        assert reply.startswith("452 4.3.1"), reply
        assert kept
        assert [row[0] for row in spooled(config, "SELECT address FROM recipients ORDER BY message")] == kept
        # Room again: as when an administrator makes some.
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert (await client.send(content, "later@ours.example")).startswith("250")
    assert [row[0] for row in spooled(config, "SELECT address FROM recipients ORDER BY message")] == [
        *kept,
        "later@ours.example",
    ]
    bodies = list((disk / "spool" / "bodies").iterdir())
    assert len(bodies) == (len(kept) + 1 if size > 65_536 else 0)
