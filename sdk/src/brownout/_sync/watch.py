"""The client's second thread: whatever may be slow, so that the sync thread never waits for it.

It looks after the sync thread, lets safe mode expire, writes the disk copy and runs the user's callbacks.
"""

from collections.abc import Callable
from queue import Empty
from typing import TYPE_CHECKING

from brownout._sync import native
from brownout._sync.log import first_time, log

if TYPE_CHECKING:
    from queue import SimpleQueue

TICK_S = 2.0

Job = Callable[[], None]


class Watch:
    """Runs `tick` after every job and at least when the seconds it last answered have passed."""

    def __init__(self, tick: Callable[[], float]) -> None:
        self._tick = tick
        self._jobs: SimpleQueue[Job | None] = native.simple_queue()
        self._ident = 0
        self._thread = native.start(self._run, "brownout-watch")

    def post(self, job: Job) -> None:
        """Never blocks; from any thread."""
        self._jobs.put(job)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Ends after the jobs posted so far; returns whether it ended in time. A job that says so is not waited for."""
        self._jobs.put(None)
        if native.ident() != self._ident:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._ident = native.ident()
        wait_s = 0.0
        while True:
            try:
                job = self._jobs.get(timeout=max(wait_s, 0.0))
                if job is None:
                    return
                job()
            except Empty:
                pass
            except BaseException:  # noqa: BLE001 - a callback may raise SystemExit or CancelledError, too; the watch goes on
                log.exception("a callback failed")
            try:
                wait_s = self._tick()
            except BaseException as error:  # noqa: BLE001 - nothing may end the watch
                if first_time(type(error).__name__, "watch"):
                    log.exception("the watch stumbled")
                wait_s = TICK_S
