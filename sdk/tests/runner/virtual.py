"""Time that passes only when everything waits: an event loop, and threads that are run inline."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from brownout.runner.commands import Item

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits, and nothing will happen"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer. Nothing that runs in a thread may be waited for."""

    def __init__(self) -> None:
        self._time = _Selector()
        super().__init__(self._time)

    def time(self) -> float:
        return self._time.now

    def advance_to(self, instant: float) -> None:
        self._time.now = max(self._time.now, instant)


def run(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Runs `work(loop)` on a loop of its own that begins at 0."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_ended(left))
        loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class VirtualThreads:
    """A runner's `waiting`: what runs beside the caller has a time of its own, and is run when the caller waits for it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._local: list[float] = []

    def now(self) -> float:
        return self._local[-1] if self._local else self._now

    def sleep(self, seconds: float) -> None:
        self.advance_to(self.now() + seconds)

    def advance_to(self, instant: float) -> None:
        """In what runs beside the caller: of its own time."""
        if self._local:
            self._local[-1] = max(self._local[-1], instant)
        else:
            self._now = max(self._now, instant)

    def start(self, items: Callable[[Callable[[], bool]], Any]) -> "_Inbox":
        return _Inbox(self, items)


class _Inbox:
    def __init__(self, threads: VirtualThreads, items: Callable[[Callable[[], bool]], Any]) -> None:
        self._threads, self._at, self._closed = threads, threads._now, False
        self._items: Iterator[Item] = iter(items(lambda: self._closed))
        self._next: Item | None = None

    def get(self, timeout_s: float | None) -> Item | None:
        threads = self._threads
        until = float("inf") if timeout_s is None else threads._now + timeout_s
        if self._next is None:
            threads._local.append(self._at)
            try:
                self._next = next(self._items, None)
            except BaseException:  # an interrupt, which reaches the caller when it happens
                threads.advance_to(threads._local.pop())
                raise
            self._at = threads._local.pop()
        if self._next is None or self._at > until:
            assert until < float("inf"), "everything waits, and nothing will happen"
            threads.advance_to(until)
            return None
        threads.advance_to(self._at)
        item, self._next = self._next, None
        return item

    def close(self) -> None:
        self._closed = True
