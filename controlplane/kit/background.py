"""Background loops, and whether they get on: one that died is started again, one that is stuck is seen.

A loop says `beat(name, wait_s)` before it works and before it waits. Of one that does not say so again in time, nobody
knows whether it still does anything. One that rides out its faults says with `trouble` what the last step met.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from prometheus_client import Counter

from controlplane.errors import BrownoutError
from controlplane.kit.clock import Monotonic, monotonic
from controlplane.kit.tasks import end

log = structlog.get_logger(__name__)

RESTART_S = 1.0

PATIENCE_S = 4.0
"""How long one step of a loop may take beyond what it said that it waits."""

STEADY_S = 5.0
"""A loop that died is trusted again when it has run for so long."""

RESTARTS = Counter("brownout_loop_restarts_total", "Times that a background loop died and was started again.", ["loop"])

Work = Callable[[], Coroutine[Any, Any, None]]


class _Loop:
    def __init__(self, started: float) -> None:
        self.due: float | None = None
        """When it must have said something; None while it has promised nothing."""
        self.died = ""
        self.trouble = ""
        self.started: float | None = started
        """None between a death and the next start."""


class Loops:
    """What is known of one process's loops. A loop `publisher production.heartbeat` belongs to the check
    `publisher production`."""

    def __init__(self, monotonic: Monotonic = monotonic) -> None:
        self._monotonic = monotonic
        self._loops: dict[str, _Loop] = {}

    def started(self, name: str) -> None:
        self._known(name).started = self._monotonic()

    def beat(self, name: str, wait_s: float, trouble: str | None = None) -> None:
        loop = self._known(name)
        loop.due = self._monotonic() + wait_s + PATIENCE_S
        loop.trouble = loop.trouble if trouble is None else trouble

    def died(self, name: str, error: BaseException) -> None:
        """Says so in the log and counts it; what belongs to `name` promised nothing any more."""
        log.error("background work died", work=name, exc_info=error)
        RESTARTS.labels(name).inc()
        for each, loop in self._loops.items():
            if _belongs(each, name):
                loop.due, loop.trouble = None, ""
        loop = self._known(name)
        loop.started, loop.died = None, words(error)

    def ended(self, name: str) -> None:
        """On purpose: nobody misses it."""
        for each in [each for each in self._loops if _belongs(each, name)]:
            del self._loops[each]

    def reasons(self) -> Iterator[tuple[str, str]]:
        """(check, what is wrong, or empty) of every loop."""
        now = self._monotonic()
        for name, loop in self._loops.items():
            yield name.partition(".")[0], self._reason(name, loop, now)

    def _reason(self, name: str, loop: _Loop, now: float) -> str:
        if loop.died and loop.started is not None and now - loop.started >= STEADY_S:
            loop.died = ""
        if loop.died:
            return f"{name} died ({loop.died}) and is started again; the log has the rest"
        if loop.due is not None and now > loop.due:
            return f"{name} is stuck: nothing for {now - loop.due + PATIENCE_S:.0f} s"
        return f"{name} fails: {loop.trouble}" if loop.trouble else ""

    def _known(self, name: str) -> _Loop:
        return self._loops.setdefault(name, _Loop(self._monotonic()))


def _belongs(name: str, to: str) -> bool:
    return name == to or name.startswith(f"{to}.")


_LOOPS: ContextVar[Loops | None] = ContextVar("loops", default=None)


def beat(name: str, wait_s: float = 0.0, trouble: str | None = None) -> None:
    """The loop `name` gets on, and says so again within `wait_s` and the time that one step takes.

    `trouble` is what went wrong in the step that is over, or empty; None says nothing about it.
    """
    loops = _LOOPS.get()
    if loops is not None:
        loops.beat(name, wait_s, trouble)


def words(error: BaseException) -> str:
    """What may be shown of an error to anyone: our own sentences, and of others the name only."""
    return error.message if isinstance(error, BrownoutError) else type(error).__name__


def loops_here() -> Loops:
    """Those of the background work that we run in; of nobody, outside any."""
    return _LOOPS.get() or Loops()


async def keep_running(
    name: str, work: Work, loops: Loops, *, pause_s: float = RESTART_S, longest_pause_s: float = RESTART_S
) -> None:
    """Runs `work` until it returns or we are cancelled; what dies is told in the log, and started again after a pause
    that doubles up to `longest_pause_s`."""
    _LOOPS.set(loops)
    while True:
        loops.started(name)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - told by `died`
            loops.died(name, error)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            loops.died(name, error)  # of something it waited for, which a library cancelled
        else:
            loops.ended(name)
            return
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, longest_pause_s)


def is_cancelled() -> bool:
    """Whether someone has told the present task to end; else a CancelledError came from what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@asynccontextmanager
async def background(
    name: str, work: Work, pause_s: float = RESTART_S, *, loops: Loops | None = None
) -> AsyncIterator[None]:
    """Keeps `work` running until the block ends."""
    running = keep_running(name, work, loops or Loops(), pause_s=pause_s, longest_pause_s=pause_s)
    task = asyncio.create_task(running, name=name)
    try:
        yield
    finally:
        await end(task)
