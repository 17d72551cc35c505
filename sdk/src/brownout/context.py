"""The context of the request being served: set once by a middleware, merged under what each evaluation passes.

    from brownout import context

    with context.scope({"targeting_key": user.id, "plan": user.plan}):
        client.boolean("web-search")                   # sees the user
        client.boolean("web-search", {"plan": "pro"})  # the same user on another plan

It follows contextvars: each thread, task and greenlet sees its own, and tasks inherit it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import MappingProxyType
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
    _ambient.reset(token)


def update(attributes: Attributes) -> None:
    """Adds attributes that became known later in the request, such as the user after authentication."""
    _ambient.set({**ambient(), **attributes})


@contextmanager
def scope(attributes: Attributes) -> Iterator[None]:
    """Adds attributes until the block ends."""
    token = _ambient.set({**ambient(), **attributes})
    try:
        yield
    finally:
        _ambient.reset(token)
