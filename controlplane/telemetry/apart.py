"""Work on many items of which one may be poison: it is set aside, and costs the others nothing."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from controlplane.errors import UnavailableError

T = TypeVar("T")


async def apart(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Awaitable[None]],
    set_aside: Callable[[T, Exception], None],
) -> None:
    """Does `work` on all items at once; what fails is halved until the items that cause it stand alone.

    Raises:
        UnavailableError: `work` did: that is nobody's fault, and all of it is to be done again.
    """
    if not items:
        return
    try:
        await work(items)
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an item makes of our code, it fails by itself
        if len(items) == 1:
            set_aside(items[0], error)
            return
        half = len(items) // 2
        await apart(items[:half], work, set_aside)
        await apart(items[half:], work, set_aside)
