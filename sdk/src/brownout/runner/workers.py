"""Threads that run what blocks. They are daemons: work that was abandoned never keeps a process alive."""

import os
import queue
import threading
from collections.abc import Callable

IDLE_S = 30.0


class Workers:
    """Runs each task at once, in a thread that is idle or new. Never full: what bounds work is the callers' limits."""

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def run(self, task: Callable[[], None]) -> None:
        """`task` must not raise."""
        if self._pid != os.getpid():  # a forked child has none of its parent's threads
            self.__init__()  # type: ignore[misc]
        with self._lock:
            tasks = self._idle.pop() if self._idle else None
        if tasks is None:
            tasks = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(tasks,), name="brownout-runner", daemon=True).start()
        tasks.put(task)

    def _work(self, tasks: "queue.SimpleQueue[Callable[[], None]]") -> None:
        while True:
            try:
                task = tasks.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if tasks in self._idle:
                        self._idle.remove(tasks)
                        return
                continue
            task()
            del task
            with self._lock:
                self._idle.append(tasks)
