"""Waiting with a bound."""

import asyncio


async def happens(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` is set within the time. (Python 3.11's wait_for may swallow a cancellation; timeout does not.)"""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
