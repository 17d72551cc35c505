"""A forked child inherits the client but no threads: here it gets its own. The parent notices nothing (docs/adr/0040)."""

import contextlib
import importlib
import os
import weakref
from types import ModuleType
from typing import Protocol

from brownout._sync import native

_QUIET_S = 1.0


class Forkable(Protocol):
    def hold_still(self, timeout_s: float) -> bool: ...

    def move_on(self) -> None: ...

    def reborn(self) -> None: ...


_members: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_held: list[Forkable] = []
_registered = native.lock()


def register(member: Forkable) -> None:
    """From now on `member` is reborn in every forked child."""
    _members.add(member)
    if _registered.acquire(blocking=False):  # once in a process; a child inherits the hooks
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=in_child)
        _hook_uwsgi()


def must_wait() -> bool:
    """Whether this is uWSGI's master, which forks in C: a thread that held the interpreter's lock at that moment would
    freeze the workers for good. Workers start by themselves, in the hook."""
    uwsgi = _uwsgi()
    return uwsgi is not None and uwsgi.worker_id() == 0 and uwsgi.masterpid() != 0


def is_cooperative() -> bool:
    """Whether threads run only while a request does: uWSGI without `--enable-threads` never releases the lock in C."""
    uwsgi = _uwsgi()
    return uwsgi is not None and not any(_option(uwsgi, name) for name in ("enable-threads", "threads", "gevent"))


def in_child() -> None:
    _held.clear()
    for member in list(_members):
        member.reborn()


def _before() -> None:
    _held.extend(member for member in list(_members) if member.hold_still(_QUIET_S))


def _in_parent() -> None:
    while _held:
        _held.pop().move_on()


def _uwsgi() -> ModuleType | None:
    """The module that uWSGI injects; anywhere else there is none."""
    try:
        return importlib.import_module("uwsgi")
    except ImportError:
        return None


def _option(uwsgi: ModuleType, name: str) -> bool:
    return bool(uwsgi.opt.get(name) or uwsgi.opt.get(name.encode()))


def _hook_uwsgi() -> None:
    """Joins uWSGI's chain of post-fork hooks, which is C's only word to Python about a fork."""
    uwsgi = _uwsgi()
    if uwsgi is None:
        return
    with contextlib.suppress(Exception):  # it refuses to be imported without a master
        importlib.import_module("uwsgidecorators").postfork_chain.append(in_child)
        return
    previous = getattr(uwsgi, "post_fork_hook", None)

    def hook() -> None:
        if previous:
            previous()
        in_child()

    uwsgi.post_fork_hook = hook  # type: ignore[attr-defined]
