"""What all middlewares do with the function they are given."""

from collections.abc import Callable
from typing import TypeVar

from brownout._sync.log import first_time, log
from brownout.context import Attributes

R = TypeVar("R")


def attributes_of(request: R, describe: Callable[[R], Attributes]) -> Attributes:
    """The request's context. A fault in `describe` is logged once and costs the context, never the request."""
    try:
        return dict(describe(request))
    except Exception:  # noqa: BLE001 - the service's own function
        if first_time(getattr(describe, "__qualname__", repr(describe)), "middleware"):
            log.exception("the request's Brownout context could not be made")
        return {}
