import asyncio
import contextlib

import pytest

from controlplane.kit.background import background

pytestmark = pytest.mark.anyio


async def test_it_ends_even_if_a_library_swallows_a_cancellation() -> None:
    """As nats-py does on Python 3.11 when its connection is refused in the moment it is cancelled."""
    started, over = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await over.wait()
        await over.wait()

    async def use() -> None:
        async with background("stubborn", stubborn):
            await started.wait()

    using = asyncio.create_task(use())
    await asyncio.wait({using}, timeout=10)
    ended = using.done()
    over.set()
    await using
    assert ended
