"""The context of the request being served: set once by a middleware, merged under what each evaluation passes.

    from brownout import context

    with context.scope({"targeting_key": user.id, "plan": user.plan}):
        client.boolean("web-search")                   # sees the user
        client.boolean("web-search", {"plan": "pro"})  # the same user on another plan

It follows contextvars: each thread, task and greenlet sees its own, and tasks inherit it.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ContextDecorator, suppress
from contextvars import ContextVar, Token
from types import FrameType, MappingProxyType
from typing import Any, TypeAlias, cast

from brownout.model.frozen import FrozenDict

Attributes: TypeAlias = Mapping[str, object]
Context: TypeAlias = Attributes
"""What an evaluation is given."""

NOTHING: Context = FrozenDict()
"""The context of who passes none."""

__all__ = ["current", "reset", "scope", "set_context", "update"]

_ambient: ContextVar[Attributes] = ContextVar("brownout_context", default=MappingProxyType({}))

ambient = _ambient.get
"""What every evaluation calls; empty outside of a request."""


def merged(around: Attributes, context: Any) -> Attributes:
    """`context` over `around`. What is no mapping, or a hostile one, is left for the evaluation to refuse."""
    try:
        return {**around, **context}
    except Exception:  # noqa: BLE001
        return around if context is None else cast("Attributes", context)


def current() -> Attributes:
    """The context of this request; empty outside of one."""
    return ambient()


def set_context(attributes: Attributes) -> Token[Attributes]:
    """Makes `attributes` the whole context from here on; `reset` takes it back."""
    return _ambient.set(dict(attributes))


def reset(token: Token[Attributes]) -> None:
    """Takes back what `set_context` made. Elsewhere than there, in another thread or task, there is nothing to take back."""
    with suppress(ValueError, RuntimeError):
        _ambient.reset(token)


def update(attributes: Attributes) -> None:
    """Adds attributes that became known later in the request, such as the user after authentication."""
    _ambient.set({**ambient(), **attributes})


class scope(ContextDecorator):  # noqa: N801 - used like a function
    """Adds attributes until the block ends. In a generator, sync or async, they are there while it runs, and its caller
    does not see them in between; it may be closed from another task."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def _recreate_cm(self) -> "scope":
        return scope(self._attributes)

    def __enter__(self) -> None:
        around = ambient()
        frame = sys._getframe(1)
        added: Attributes = {**around, **self._attributes}
        if frame.f_code.co_flags & _GENERATOR:
            added = _WhileRunning(frame, added, around)
        self._added, self._token = added, _ambient.set(added)

    def __exit__(self, *_: object) -> None:
        if isinstance(self._added, _WhileRunning):
            self._added.ended = True
            if ambient() is not self._added:
                return  # closed elsewhere than it ran, or while its caller is in another scope
        reset(self._token)


_GENERATOR = 0x20 | 0x200
"""inspect.CO_GENERATOR and CO_ASYNC_GENERATOR, without the time that importing inspect takes."""


class _WhileRunning(Mapping[str, object]):
    """What a generator added to the context, for as long as it runs: a generator shares its caller's context, and when it
    is suspended, its frame hangs on no other."""

    def __init__(self, frame: FrameType, added: Attributes, around: Attributes) -> None:
        self.ended = False
        self._frame = frame
        self._added = added
        self._around = around

    @property
    def _now(self) -> Attributes:
        return self._around if self.ended or self._frame.f_back is None else self._added

    def __getitem__(self, key: str) -> object:
        return self._now[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)
