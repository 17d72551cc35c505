"""Work on many items of which one may be poison: it is set aside, and costs the others nothing (ADR 0140)."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import structlog
from prometheus_client import Counter

from controlplane.errors import UnavailableError
from controlplane.kit.background import words

log = structlog.get_logger(__name__)

T = TypeVar("T")

SET_ASIDE = Counter(
    "brownout_items_set_aside_total", "Items that a background loop could not handle and set aside.", ["loop"]
)
MAX_SAID = 1_000
MAX_ITEM = 100
"""Characters of an item's name in the log."""

_said: dict[tuple[str, str], str] = {}
"""By loop and item, the kind of fault that the log has last."""


def set_aside(loop: str, item: str, error: Exception) -> None:
    """Counts an item that `loop` could not handle; the log has each kind of fault of an item once."""
    SET_ASIDE.labels(loop).inc()
    place, kind = (loop, item), type(error).__name__
    if _said.get(place) == kind:
        return
    if len(_said) >= MAX_SAID:
        _said.clear()
    _said[place] = kind
    log.error("item_set_aside", loop=loop, item=item[:MAX_ITEM], error=words(error), exc_info=error)


class Turn:
    """One turn of a loop over its items. `trouble` names the first that was set aside; empty when all went well."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self.trouble = ""

    @contextmanager
    def item(self, name: str) -> Iterator[None]:
        """Handles one item in the block: what fails there is set aside, and the turn goes on.

        Raises:
            UnavailableError: Postgres or NATS does not answer. That is no item's fault, and ends the turn.
        """
        try:
            yield
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an item makes of our code, it fails alone
            set_aside(self._loop, name, error)
            self.trouble = self.trouble or f"{name}: {words(error)}"
        else:
            _said.pop((self._loop, name), None)


async def apart(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Awaitable[None]],
    put_aside: Callable[[T, Exception], None],
) -> None:
    """Does `work` on all items at once; what fails is halved until the items that cause it stand alone.

    Raises:
        UnavailableError: `work` did. That is no item's fault, and all of them are to be done again.
    """
    if not items:
        return
    try:
        await work(items)
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an item makes of our code, it fails by itself
        if len(items) == 1:
            put_aside(items[0], error)
            return
        half = len(items) // 2
        await apart(items[:half], work, put_aside)
        await apart(items[half:], work, put_aside)
