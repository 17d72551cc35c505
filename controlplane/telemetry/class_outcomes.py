"""What became of the requests of each class over days: what answered, what failed, what it cost (docs/coverage.md)."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from brownout.wire.telemetry import OK, PRIMARY, RequestTotals, RungTotals
from controlplane.access.actor import Action, Actor, authorize
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.telemetry import points, series, tables
from controlplane.telemetry.prices import Prices


class ClassOutcomes(msgspec.Struct):
    """The requests of one class, those of drills left out. Rungs are named as in RequestTotals.rungs."""

    requests: int = 0
    failed: dict[str, int] = {}
    """Requests by the error class that they met, answered by a later rung or not. Where services report attempts, failed
    attempts count, at most one a request."""
    rungs: dict[str, RungTotals] = {}
    rungs_since: dict[str, RungTotals] = {}
    """Of whole steps since the class last changed."""
    in_safe_mode: int = 0
    in_safe_mode_since: int = 0
    cost: float | None = None
    """Of all tokens at models with a price; None if none has one."""
    fallback_cost: float | None = None
    """Of the tokens that other models than the assigned one spent."""

    @property
    def degraded(self) -> dict[str, RungTotals]:
        """What answered in the place of the policy's own model."""
        return {name: rung for name, rung in self.rungs.items() if not is_primary(name)}

    @property
    def saved(self) -> int:
        """Requests that something other than the policy's own model answered."""
        return sum(rung.served for rung in self.degraded.values())


def is_primary(rung: str) -> bool:
    """Whether a name of RequestTotals.rungs is that of the policy's own model."""
    return rung.partition(":")[0] == PRIMARY


class ClassOutcomesReader:
    def __init__(self, database: Database, clock: Clock, prices: Prices) -> None:
        self._database = database
        self._clock = clock
        self._prices = prices

    async def read(
        self, actor: Actor, environment: str, *, since: datetime, changed: Mapping[str, datetime] | None = None
    ) -> dict[str, ClassOutcomes]:
        """By request class, from `since` until now. Raises ForbiddenError without READ.

        Args:
            changed: when each class last changed; what is not named counts as unchanged.
        """
        authorize(actor, Action.READ, environment)
        start = series.floor(since, series.COARSE_S)
        async with self._database.reading() as connection:
            rows = await tables.rollups_between(
                connection, environment, "request", step_s=series.COARSE_S, since=start, until=self._clock.now()
            )
        return await asyncio.to_thread(self._counted, rows, changed or {}, start)

    def _counted(
        self, rows: Iterable[tables.RollupRow], changed: Mapping[str, datetime], start: datetime
    ) -> dict[str, ClassOutcomes]:
        """Tens of microseconds a row: not on the event loop."""
        found: dict[str, ClassOutcomes] = defaultdict(ClassOutcomes)
        tokens: dict[str, dict[tuple[str, bool], tuple[int, int]]] = defaultdict(dict)
        for row in rows:
            key = series.request_key(row.series)
            if key.drill:
                continue
            totals = series.decode_request(row.totals)
            after = row.at >= changed.get(key.request_class, start)
            _count(found[key.request_class], totals, after=after, safe_mode=bool(key.safe_mode))
            for model, spent in points.by_spender(key.model, totals).items():
                place, other = (model, model != key.model), tokens[key.request_class]
                input_, output = other.get(place, (0, 0))
                other[place] = (input_ + spent.input_tokens, output + spent.output_tokens)
        for name, spent_by in tokens.items():
            self._price(found[name], spent_by)
        return dict(found)

    def _price(self, into: ClassOutcomes, tokens: Mapping[tuple[str, bool], tuple[int, int]]) -> None:
        priced = [
            (other, self._prices[model].of(*spent)) for (model, other), spent in tokens.items() if model in self._prices
        ]
        if priced:
            into.cost = sum(cost for _, cost in priced)
            into.fallback_cost = sum(cost for other, cost in priced if other)


def _count(into: ClassOutcomes, totals: RequestTotals, *, after: bool, safe_mode: bool) -> None:
    into.requests += totals.requests
    attempts: dict[str, int] = defaultdict(int)
    for each in totals.attempts.values():
        for name, n in each.outcomes.items():
            attempts[name] += n
    for name in (attempts.keys() | totals.errors.keys()) - {OK}:
        hit = min(totals.requests, max(attempts.get(name, 0), totals.errors.get(name, 0)))
        into.failed = {**into.failed, name: into.failed.get(name, 0) + hit}
    into.rungs = _added(into.rungs, totals.rungs)
    into.in_safe_mode += totals.requests if safe_mode else 0
    if after:
        into.rungs_since = _added(into.rungs_since, totals.rungs)
        into.in_safe_mode_since += totals.requests if safe_mode else 0


def _added(known: Mapping[str, RungTotals], more: Mapping[str, RungTotals]) -> dict[str, RungTotals]:
    return {**known, **{name: known[name].plus(rung) if name in known else rung for name, rung in more.items()}}
