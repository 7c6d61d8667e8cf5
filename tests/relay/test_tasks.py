"""Work of the queue that is under way."""

import asyncio

import pytest

from mx10.relay.tasks import Tasks


async def test_a_fault_is_heard_of(capfd: pytest.CaptureFixture[str]) -> None:
    async def fails() -> None:
        raise ValueError("what it was")

    tasks = Tasks()
    tasks.start(fails())
    await tasks.stop(5)
    await asyncio.sleep(0)
    out, err = capfd.readouterr()
    assert "what it was" in out + err


async def test_who_is_late_is_cancelled() -> None:
    ended: list[str] = []

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("late")

    async def soon() -> None:
        await asyncio.sleep(0)
        ended.append("soon")

    tasks = Tasks()
    tasks.start(late())
    tasks.start(soon())
    await tasks.stop(0.05)
    assert ended == ["soon", "late"]
