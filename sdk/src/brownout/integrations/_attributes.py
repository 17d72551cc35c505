"""What all middlewares do with the function they are given."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar

from brownout._sync.log import first_time, log
from brownout.context import Attributes, scope

R = TypeVar("R")
T = TypeVar("T")


def attributes_of(request: R, describe: Callable[[R], Attributes]) -> Attributes:
    """The request's context. A fault in `describe` is logged once and costs the context, never the request."""
    try:
        return dict(describe(request))
    except Exception:  # noqa: BLE001 - the service's own function
        if first_time(getattr(describe, "__qualname__", repr(describe)), "middleware"):
            log.exception("the request's Brownout context could not be made")
        return {}


def within(attributes: Attributes, body: Iterable[T]) -> Iterator[T]:
    """`body`, each piece of it made in the context of its request, whichever thread asks for it."""
    pieces = iter(body)
    try:
        while True:
            with scope(attributes):
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
            yield piece
    finally:
        if (close := getattr(pieces, "close", None)) is not None:
            close()


async def within_async(attributes: Attributes, body: AsyncIterable[T]) -> AsyncIterator[T]:
    """The same for a body that is made by a loop, whichever task asks for it."""
    pieces = aiter(body)
    try:
        while True:
            with scope(attributes):
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
            yield piece
    finally:
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()
