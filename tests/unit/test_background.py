import asyncio

import pytest

from controlplane.app import background

pytestmark = pytest.mark.anyio


async def test_work_that_dies_is_started_again() -> None:
    lives, alive = 0, asyncio.Event()

    async def work() -> None:
        nonlocal lives
        lives += 1
        if lives < 3:
            raise ValueError("a bug")
        alive.set()
        await asyncio.Event().wait()

    async with background("work", work, pause_s=0), asyncio.timeout(30):
        await alive.wait()
    assert lives == 3
