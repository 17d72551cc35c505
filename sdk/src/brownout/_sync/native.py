"""Real threads and real locks, also in a process that gevent has patched.

A sync loop in a greenlet would share its thread with the application: one busy greenlet would freeze it, and every
`asyncio.get_running_loop()` there would find our loop (Django refuses its ORM then). So the originals are used.
"""

import contextlib
import importlib
import queue
import selectors
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Thread(Protocol):
    def is_alive(self) -> bool: ...

    def join(self, timeout: float | None = None) -> None: ...


def original(module: str, name: str) -> Any:
    """`module.name` as it was before gevent, when gevent has patched this process."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def lock() -> threading.Lock:
    made: threading.Lock = original("_thread", "allocate_lock")()
    return made


def ident() -> int:
    """Of the real thread this runs in."""
    found: int = original("_thread", "get_ident")()
    return found


def simple_queue() -> "queue.SimpleQueue[Any]":
    made: queue.SimpleQueue[Any] = original("queue", "SimpleQueue")()
    return made


def selector() -> selectors.BaseSelector:
    made: selectors.BaseSelector = original("selectors", "DefaultSelector")()
    return made


def start(target: Callable[[], None], name: str) -> Thread:
    """A started daemon thread."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        thread = _Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread
    return _UnpatchedThread(target)


class _Thread(threading.Thread):
    """Ends quietly even when gevent has patched the process since it started (gunicorn's gevent workers do)."""

    def _delete(self) -> None:
        with contextlib.suppress(KeyError):
            super()._delete()  # type: ignore[misc]


class _UnpatchedThread:
    """What `threading.Thread` offers us, made below the level that gevent patches."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._ended = threading.Event()
        # What a first hub imports must be imported before two threads can want it: gevent's import locks deadlock.
        _ = importlib.import_module("gevent").get_hub().resolver
        original("_thread", "start_new_thread")(self._run, ())

    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._ended.set()
