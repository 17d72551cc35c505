"""The counters behind budget windows: JetStream streams that we alone write, one for each length of a period (ADR 0125)."""

import hashlib
from collections import OrderedDict
from typing import NamedTuple, get_args

from brownout.model.values import Window
from brownout.wire.leases import Per
from controlplane.kit.clock import Monotonic, monotonic
from controlplane.kit.jetstream import (
    NAME_IN_USE,
    STREAM_NOT_FOUND,
    JetStream,
    JetStreamRefusedError,
    JetStreamUnavailableError,
)

KEPT_S = {"minute": 600, "hour": 3 * 3_600, "day": 3 * 86_400, "month": 63 * 86_400}
"""How long a counter outlives its last change. No period is longer."""

REMEMBERED = 100_000
FRESH_S = 1.0
"""How long a counter that was full is taken to be full: only what another replica gives back could make it less."""

PERIODS: tuple[Per, ...] = get_args(Per)


class Place(NamedTuple):
    """One counter: of a window (or a key's part of one), in one period. `subject` is made of our own hashes."""

    per: Per
    subject: str


def stream_of(per: Per) -> str:
    return f"BO_BUDGET_{per}"


def window_prefix(environment: str, flag: str, variant: str, window: Window, start: int) -> str:
    """Before the scope, in the subjects of all combinations of a window in one period."""
    return f"bow_budget.{window.per}.{start}.{environment}.{_hash(flag, variant, window.unit)}"


def place_of(prefix: str, per: Per, scope: bytes, key: str = "") -> Place:
    """`key`: the counter of what one SDK key was granted."""
    parts = (prefix, _hash(scope.hex()), *((_hash(key),) if key else ()))
    return Place(per, ".".join(parts))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def config_of(per: Per, replicas: int) -> dict[str, object]:
    return {
        "name": stream_of(per),
        "subjects": [f"bow_budget.{per}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_age": KEPT_S[per] * 1_000_000_000,
        "discard": "old",
        "allow_direct": True,
        "allow_msg_counter": True,
    }


class Counters:
    """Every method raises JetStreamUnavailableError: then it is unknown whether it happened."""

    def __init__(self, jetstream: JetStream, replicas: int, *, monotonic: Monotonic = monotonic) -> None:
        self._jetstream, self._replicas, self._monotonic = jetstream, replicas, monotonic
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """The last value of each counter, and when it was read."""

    async def exists(self, place: Place) -> bool:
        """Whether anyone has added to it. This replica remembers REMEMBERED counters of all windows and keys; for the
        others it asks the stream."""
        if place.subject in self._known:
            return True
        try:
            return await self._jetstream.find_last(stream_of(place.per), place.subject) is not None
        except JetStreamRefusedError as error:
            if error.code == STREAM_NOT_FOUND:
                return False
            raise

    async def value(self, place: Place, limit: int) -> int:
        """What it is, or was a moment ago if that was `limit` or more."""
        known = self._known.get(place.subject)
        if known is not None and (known[0] < limit or self._monotonic() - known[1] < FRESH_S):
            return known[0]
        return await self.add(place, 0)

    async def add(self, place: Place, amount: int) -> int:
        """Adds, and returns what it is then. Makes the stream if there is none."""
        try:
            value = await self._jetstream.add(place.subject, amount)
        except JetStreamUnavailableError:
            if not await self._make(place.per):
                raise
            value = await self._jetstream.add(place.subject, amount)
        self._known[place.subject] = (value, self._monotonic())
        self._known.move_to_end(place.subject)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return value

    async def all(self, prefix: str, per: Per, most: int) -> dict[str, int]:
        """The counters of a window's combinations, by subject."""
        try:
            return await self._jetstream.counters(stream_of(per), f"{prefix}.*", most)
        except JetStreamUnavailableError:
            if await self._jetstream.find_stream(stream_of(per)) is None:
                return {}
            raise

    async def _make(self, per: Per) -> bool:
        """Whether there was no stream, and now is one."""
        if await self._jetstream.find_stream(stream_of(per)) is not None:
            return False
        try:
            await self._jetstream.create_stream(config_of(per, self._replicas))
        except JetStreamRefusedError as error:
            if error.code != NAME_IN_USE:
                raise JetStreamUnavailableError(str(error)) from error
        return True
