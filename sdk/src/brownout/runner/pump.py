"""How what a callable yields or returns becomes items, whatever its shape: plain or async, whole or piece by piece."""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from brownout.runner.calls import Output, Text, ToolCall
from brownout.runner.commands import Broke, Ended, Item


def pieces(start: Callable[[], Any], closed: Callable[[], bool]) -> Iterator[Item]:
    """All that a plain callable yields or returns, as items."""
    try:
        result = start()
        if isinstance(result, str | Output) or not hasattr(result, "__next__"):
            yield Ended(result)
            return
        last: Any = None
        try:
            for piece in result:
                if closed():
                    return
                if isinstance(piece, Text | ToolCall):
                    yield piece
                else:
                    last = piece
        finally:
            if closed() and hasattr(result, "close"):
                result.close()
        yield Ended(last)
    except Exception as error:  # noqa: BLE001 - whatever a client raises
        yield Broke(error)


class AsyncChannel:
    """What arrives from one attempt, in the order in which it arrived."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.closed = False
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def put_from_thread(self, item: Item) -> None:
        """Raises RuntimeError where the loop is closed."""
        self.loop.call_soon_threadsafe(self.put, item)

    async def get(self, timeout_s: float | None) -> Item | None:
        if not self._items:
            waiter = self._waiter = self.loop.create_future()
            timer = None if timeout_s is None else self.loop.call_later(timeout_s, _wake, waiter)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                self._waiter = None
        return self._items.popleft() if self._items else None

    def close(self) -> None:
        self.closed = True
        if self.task is not None:
            self.task.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def pump(channel: AsyncChannel, start: Callable[[], Any]) -> None:
    """Puts all that an attempt yields or returns into its channel."""
    try:
        result = start()
        if hasattr(result, "__aiter__"):
            try:
                last: Any = None
                async for piece in result:
                    if isinstance(piece, Text | ToolCall):
                        channel.put(piece)
                    else:
                        last = piece
                channel.put(Ended(last))
            finally:
                if channel.closed and hasattr(result, "aclose"):
                    await result.aclose()
        else:
            channel.put(Ended(await result))
    except Exception as error:  # noqa: BLE001 - whatever a client raises
        channel.put(Broke(error))


def pump_plain(channel: AsyncChannel, start: Callable[[], Any]) -> None:
    """The same in a thread. What is abandoned stops at its next piece."""
    try:
        for item in pieces(start, lambda: channel.closed):
            if isinstance(item, Ended) and (inspect.isawaitable(item.result) or hasattr(item.result, "__aiter__")):
                result = item.result
                channel.loop.call_soon_threadsafe(_continue, channel, result)
            else:
                channel.put_from_thread(item)
    except RuntimeError:
        pass  # the loop has closed, and no one waits


def _continue(channel: AsyncChannel, result: Any) -> None:
    """A plain callable returned something async: it goes on in the loop."""
    if not channel.closed:
        channel.task = channel.loop.create_task(pump(channel, lambda: result))
