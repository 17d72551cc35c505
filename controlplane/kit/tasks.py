"""Waiting and ending on asyncio, without the trap of `asyncio.wait_for`.

Before Python 3.12 it swallows a cancellation that arrives together with the result, and nats-py uses it inside: a task
that is cancelled once may live on.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN_S = 0.5


async def wait_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` was set in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels until every task has ended; what they raised is dropped."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()


async def run_together(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all until one of them ends or we are cancelled, then ends the others; raises what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(*tasks)


_left: set[asyncio.Task[Any]] = set()
"""Cancelled, and not waited for."""


async def give_up_after(work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
    """What `work` returns, or TimeoutError. It is cancelled then and not waited for: who asks a server that hangs may need
    seconds to let go of it. None waits without end."""
    if timeout_s is None:
        return await work
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except BaseException:
        _leave(task)
        raise
    if not done:
        _leave(task)
        raise TimeoutError
    return task.result()


def _leave(task: asyncio.Task[Any]) -> None:
    _left.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else asks for it
