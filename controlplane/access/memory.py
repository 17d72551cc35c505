"""Who a credential belongs to, remembered for less than a second: revocation needs no message to reach a replica."""

from collections import OrderedDict

from controlplane.access.actor import Actor
from controlplane.kit.clock import Monotonic, monotonic

REMEMBERED_S = 0.8
"""The longest that a revoked credential works in a replica that did not revoke it."""

_MOST = 10_000


class ActorMemory:
    """By digest; the least recently found goes first when there are too many."""

    def __init__(self, monotonic: Monotonic = monotonic) -> None:
        self._monotonic = monotonic
        self._found: OrderedDict[str, tuple[Actor, float]] = OrderedDict()

    def recall(self, digest: str) -> Actor | None:
        found = self._found.get(digest)
        return found[0] if found and found[1] > self._monotonic() else None

    def keep(self, digest: str, actor: Actor | None) -> Actor | None:
        if actor is not None:
            self._found[digest] = (actor, self._monotonic() + REMEMBERED_S)
            self._found.move_to_end(digest)
            if len(self._found) > _MOST:
                self._found.popitem(last=False)
        return actor

    def forget(self) -> None:
        """What somebody may do has changed in this replica: the next request asks the database."""
        self._found.clear()
