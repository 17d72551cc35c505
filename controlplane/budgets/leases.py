"""Answers what instances ask of budget windows: in every replica, each request in one of them (ADR 0125).

An SDK key is all that it takes to ask, so everything is bounded here. What is asked for names flags and hashes; subjects
are made of hashes of ours. A request that cannot be served now gets no answer: the instance is degraded, and asks again.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from brownout.model.resources import KEY_PATTERN
from brownout.model.values import Window
from brownout.wire import UNREADABLE
from brownout.wire.leases import EVERYONE, Ask, Grant, decode_request, encode_answer, period
from controlplane.budgets.counters import Counters, Place, place_of, window_prefix
from controlplane.budgets.grants import kept, lease
from controlplane.budgets.limits import Limits
from controlplane.budgets.values import Tally
from controlplane.errors import UnavailableError
from controlplane.kit.apart import set_aside
from controlplane.kit.background import beat
from controlplane.kit.buckets import Buckets
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.jetstream import JetStreamRefusedError, JetStreamUnavailableError
from controlplane.kit.link import Heard

log = structlog.get_logger(__name__)

SUBJECT, QUEUE = "bot.*.*.*.lease", "budgets"

ASKS_PER_MINUTE = 60_000
"""Of one SDK key, into one replica: a thousand a second; as much at once."""
MOST_WAITING = 5_000
MOST_WAITING_OF_A_KEY = 1_000
STALE_S = 2.0
"""An instance that has waited so long asks again."""
WORKERS = 8
MOST_COMBINATIONS = 100_000
"""Of attributes, that one SDK key may begin in a period: each is a counter on disk."""
IDLE_S = 5.0
BASIS = 10_000
_KEY = re.compile(KEY_PATTERN)


class _Waiting(NamedTuple):
    heard: Heard
    environment: str
    key: str
    at: float


class Leases:
    """`receive` takes requests, `run` answers them until cancelled."""

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        clock: Clock,
        fleet: Callable[[str], int],
        *,
        key_share_bp: int = BASIS,
        monotonic: Monotonic = monotonic,
    ) -> None:
        """
        Args:
            fleet: The live instances of an environment; 0 if none was heard.
            key_share_bp: What one SDK key may be granted of each window.
        """
        self._limits, self._counters, self._clock, self._fleet = limits, counters, clock, fleet
        self._key_share_bp, self._monotonic = key_share_bp, monotonic
        self._buckets = Buckets(ASKS_PER_MINUTE, ASKS_PER_MINUTE, monotonic)
        self._lines: dict[tuple[str, str], list[_Waiting]] = {}
        self._waiting = 0
        self._news = asyncio.Event()
        self._begun: dict[tuple[str, str, str, int], int] = {}
        """Combinations that a key began, by environment, key, length and start of the period."""
        self.granted: Counter[Tally] = Counter()
        self.refused: Counter[Tally] = Counter()
        """Asks that got less than they need."""
        self.degraded: Counter[Tally] = Counter()
        """What was spent while no one answered."""
        self.fill: dict[Tally, tuple[float, int]] = {}
        """Of windows that count everyone together: what was leased of the limit, and Unix s at which the period ends."""
        self.dropped = 0
        """Requests that could not be read, or were too many."""
        self.trouble = ""

    async def receive(self, message: Heard) -> None:
        """Handler for SUBJECT. The server vouches for environment and key."""
        _, environment, key, *_ = message.subject.split(".")
        line = self._lines.setdefault((environment, key), [])
        if self._waiting >= MOST_WAITING or len(line) >= MOST_WAITING_OF_A_KEY:
            self.dropped += 1
            return
        line.append(_Waiting(message, environment, key, self._monotonic()))
        self._waiting += 1
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(number))

    async def _work(self, number: int) -> None:
        name = f"budgets.{number}"
        while True:
            beat(name, IDLE_S)
            waiting = self._next()
            if waiting is None:
                self._news.clear()
                try:
                    async with asyncio.timeout(IDLE_S):
                        await self._news.wait()
                except TimeoutError:
                    self.trouble = ""  # no one asks any more: nothing is known to be wrong
                continue
            try:
                await self._serve(waiting)
            except (JetStreamUnavailableError, JetStreamRefusedError, UnavailableError) as error:
                self._say(str(error))
            except Exception as error:  # noqa: BLE001 - told by `set_aside`; the next request is another
                set_aside("budgets", waiting.environment, error)
            else:
                self._say("")

    def _next(self) -> _Waiting | None:
        """Keys take turns: a key that asks much waits behind its own requests."""
        while self._lines:
            key = next(iter(self._lines))
            line = self._lines.pop(key)
            if not line:
                continue
            waiting = line.pop(0)
            self._waiting -= 1
            if line:
                self._lines[key] = line
            if self._monotonic() - waiting.at <= STALE_S:
                return waiting
            self.dropped += 1
        return None

    def _say(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            log.warning("budgets_not_counted", error=trouble) if trouble else log.info("budgets_counted")
        self.trouble = trouble and "budget windows cannot be counted: NATS or Postgres does not answer"

    async def _serve(self, waiting: _Waiting) -> None:
        environment, key = waiting.environment, waiting.key
        try:
            number, asks = decode_request(waiting.heard.data)
        except UNREADABLE:
            self.dropped += 1
            return
        if not self._buckets.take((environment, key), max(1, len(asks))):
            self.dropped += 1
            return
        grants, failed = await self._grants(environment, key, asks)
        if grants or failed is None:  # what is granted is counted, so it must reach the instance
            await waiting.heard.grant(encode_answer(number, grants))
        if failed is not None:
            raise failed

    async def _grants(self, environment: str, key: str, asks: Sequence[Ask]) -> tuple[list[Grant], Exception | None]:
        """What is granted, and why some asks got no grant: the first reason."""
        grants: list[Grant] = []
        failed: Exception | None = None
        for ask in asks:
            if not _KEY.match(ask.flag):
                continue
            try:
                window = (await self._limits.of_flag(environment, ask.flag)).get(ask.variant)
                if window is not None and _is_of(window, ask):
                    grants.append(await self._grant(environment, key, window, ask))
            except (JetStreamUnavailableError, JetStreamRefusedError) as error:
                return grants, failed or error  # no other ask can be counted either
            except Exception as error:  # noqa: BLE001 - `_work` tells it; the next ask is another flag's
                failed = failed or error
        return grants, failed

    async def _grant(self, environment: str, key: str, window: Window, ask: Ask) -> Grant:
        start, end = period(window.per, self._clock.now().timestamp())
        prefix = window_prefix(environment, ask.flag, ask.variant, window, start)
        place = place_of(prefix, window.per, ask.scope)
        tally = Tally(environment, ask.flag, ask.variant)
        if not await self._counters.exists(place) and not self._may_begin(environment, key, window.per, start):
            self.refused[tally] += 1
            return Grant(ask.flag, ask.variant, ask.scope, start)
        cap = window.limit * self._key_share_bp // BASIS
        own = place_of(prefix, window.per, ask.scope, key) if cap < window.limit else None
        debt = ask.debt if ask.start == start else 0
        charged = await self._charge(place, own, min(debt, window.limit), cap)
        left = window.limit - await self._counters.value(place, window.limit)
        if own is not None:
            left = min(left, cap - await self._counters.value(own, cap))
        granted = lease(left, ask.need, ask.want, self._fleet(environment))
        if granted and own is not None:
            granted = await self._take(own, granted, cap)
        if granted:
            granted = await self._take(place, granted, window.limit)
        self.granted[tally] += granted
        self.refused[tally] += granted < ask.need
        self.degraded[tally] += charged if ask.degraded else 0
        left = window.limit - await self._counters.value(place, window.limit)
        if ask.scope == EVERYONE:
            self.fill[tally] = (1 - left / window.limit, end)
        return Grant(ask.flag, ask.variant, ask.scope, start, granted, debt, left)

    async def _charge(self, place: Place, own: Place | None, debt: int, cap: int) -> int:
        """Counts what was spent already, whether or not the window has so much left."""
        if debt and own is not None:
            debt = await self._take(own, debt, cap)  # a key cannot use up what others have
        if debt:
            await self._counters.add(place, debt)
        return debt

    async def _take(self, place: Place, amount: int, limit: int) -> int:
        """Adds, and gives back what is beyond the limit."""
        value = await self._counters.add(place, amount)
        stands = kept(amount, value, limit)
        if stands < amount:
            await self._counters.add(place, stands - amount)
        return stands

    def _may_begin(self, environment: str, key: str, per: str, start: int) -> bool:
        """Whether the key may begin one more combination in this period."""
        place = (environment, key, per, start)
        begun = self._begun.pop(place, 0)
        self._begun[place] = begun + (begun < MOST_COMBINATIONS)
        while len(self._begun) > MOST_WAITING:
            del self._begun[next(iter(self._begun))]
        return begun < MOST_COMBINATIONS


def _is_of(window: Window, ask: Ask) -> bool:
    """Whether the ask counts as the window does: a commit may have changed the unit or the length of periods, and this
    replica or the instance has not heard of it yet. Older instances say neither."""
    return ask.unit in ("", window.unit) and ask.per in ("", window.per)
