"""The context of the request being served: set once by a middleware, merged under what each evaluation passes.

    from brownout import context

    with context.scope({"targeting_key": user.id, "plan": user.plan}):
        client.boolean("web-search")                 # sees the user
        client.boolean("web-search", {"plan": "pro"})  # the same user on another plan

It follows contextvars: each thread, task and greenlet sees its own, and tasks inherit it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token

Attributes = Mapping[str, object]

EMPTY: Attributes = {}

ambient: ContextVar[Attributes] = ContextVar("brownout_context", default=EMPTY)
"""Evaluation reads it; everybody else uses the functions below."""

__all__ = ["current", "reset", "scope", "set_context", "update"]


def current() -> Attributes:
    """The context of this request; empty outside of one."""
    return ambient.get()


def set_context(attributes: Attributes) -> Token[Attributes]:
    """Makes `attributes` the whole context from here on; `reset` takes it back."""
    return ambient.set(dict(attributes))


def reset(token: Token[Attributes]) -> None:
    ambient.reset(token)


def update(attributes: Attributes) -> None:
    """Adds attributes that became known later in the request, such as the user after authentication."""
    ambient.set({**ambient.get(), **attributes})


@contextmanager
def scope(attributes: Attributes) -> Iterator[None]:
    """Adds attributes until the block ends."""
    token = ambient.set({**ambient.get(), **attributes})
    try:
        yield
    finally:
        ambient.reset(token)
