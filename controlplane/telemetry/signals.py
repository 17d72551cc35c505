"""Signals for people: charts with marks, and the overview's few numbers (docs/signals.md)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from brownout.evaluation.counts import WITHOUT_UNIT
from brownout.wire.telemetry import OTHER, EvaluationKey, RequestKey, RequestTotals
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.store import Store
from controlplane.errors import InvalidInputError
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.telemetry import outcomes, points, series, tables
from controlplane.telemetry.axis import Axis, step_of, stored_step
from controlplane.telemetry.prices import Prices
from controlplane.telemetry.values import (
    Chart,
    ChartSeries,
    ClassSignals,
    FlagUse,
    Mark,
    Number,
    SignalsSummary,
    VariantUse,
)

MAX_MARKS = 200
MAX_TRACKED = 500
NOW_MINUTES = 5
SPARK_MINUTES = 60
SETTLED = timedelta(minutes=3)
"""A minute this old gets no more counts: it is read once and kept."""

SUMMARY_S = 3.0
"""The overview's numbers are computed this seldom, however many look at them."""

SPARKS = ("requests_per_min", "error_share", "refusal_share", "fallback_share", "duration_p95_ms", "tokens_per_min")

RATES = {*points.RATES, "cost_per_min", "per_min"}
"""Whatever is counted by the minute, under any name that a chart gives it."""

Label = Literal["request_class", "model", "variant", "safe_mode", "drill", "prompt"]
LABELS: tuple[Label, ...] = ("request_class", "model", "variant", "safe_mode", "drill", "prompt")


class Filter(msgspec.Struct, frozen=True):
    """Which series; None = any. `safe_mode` "" is the normal state, `drill` "" what is part of none. `model` is the one
    that the policy assigned; tokens are the model's that spent them."""

    request_class: str | None = None
    model: str | None = None
    variant: str | None = None
    safe_mode: str | None = None
    drill: str | None = None
    prompt: str | None = None

    def admits(self, key: RequestKey) -> bool:
        return all(getattr(self, label) in (None, getattr(key, label)) for label in LABELS)


ByClass = dict[str, dict[str, RequestTotals]]
"""Request class → model → totals of one minute."""


class Signals:
    """Every method raises ForbiddenError without READ."""

    def __init__(self, database: Database, store: Store, clock: Clock, prices: Prices) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._prices = prices
        self._minutes: dict[str, dict[datetime, ByClass]] = defaultdict(dict)
        self._summaries: dict[str, SignalsSummary] = {}

    async def chart(
        self,
        actor: Actor,
        environment: str,
        *,
        since: datetime,
        until: datetime,
        only: Filter,
        by: Sequence[Label] = ("request_class",),
        step_s: int | None = None,
    ) -> Chart:
        """Lines for every combination of the labels `by`, busiest first. Raises InvalidInputError as `step_of` does."""
        authorize(actor, Action.READ, environment)
        step_s = step_of(since, until, step_s)
        stored_s, start = stored_step(step_s), series.floor(since, step_s)
        async with self._database.reading() as connection:
            rows = await tables.rollups_between(
                connection, environment, "request", step_s=stored_s, since=start, until=until,
                prefix=only.request_class + series.SEPARATOR if only.request_class else "",
            )  # fmt: skip
            counted = await tables.first_rollup(connection, environment, "request", stored_s, since=start, until=until)
        axis = Axis.of(since, until, step_s, counted=counted, now=self._clock.now())
        lines: dict[tuple[str, ...], dict[int, dict[str, RequestTotals]]] = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            key, at = series.request_key(row.series), int(row.at.timestamp()) // step_s * step_s
            for model, totals in points.by_spender(key.model, series.decode_request(row.totals)).items():
                if only.admits(spender := key._replace(model=model)):
                    _add(lines[tuple(getattr(spender, label) for label in by)][at], model, totals)
        whole = points.total([each for line in lines.values() for each in _by_model(line.values()).values()])
        drawn = [self._line(dict(zip(by, labels, strict=True)), line, axis) for labels, line in lines.items()]
        drawn.sort(key=lambda line: (-line.requests, *line.labels.values()))
        return Chart(
            step_s, axis.times, drawn, await self._marks(environment, since, until),
            outcomes.answered(whole), outcomes.attempts(whole, self._prices),
        )  # fmt: skip

    async def summary(self, actor: Actor, environment: str) -> SignalsSummary:
        """The overview's numbers; computed at most every SUMMARY_S for everybody."""
        authorize(actor, Action.READ, environment)
        now = self._clock.now()
        known = self._summaries.get(environment)
        if known is not None and (now - known.at).total_seconds() < SUMMARY_S:
            return known
        fresh = await self._summarise(environment, now)
        self._summaries[environment] = fresh
        return fresh

    async def flag_use(self, actor: Actor, environment: str, flag: str, hours: int = 24) -> FlagUse:
        authorize(actor, Action.READ, environment)
        now = self._clock.now()
        since = series.floor(now - timedelta(hours=hours), series.COARSE_S)
        async with self._database.reading() as connection:
            rows = await tables.rollups_between(
                connection, environment, "evaluation", step_s=series.COARSE_S, since=since,
                until=now + timedelta(seconds=1), prefix=series.shard(flag),
            )  # fmt: skip
        counts: dict[EvaluationKey, int] = defaultdict(int)
        last_at = None
        for row in rows:
            for key, n in series.decode_evaluations(row.totals).items():
                if key.flag == flag:
                    counts[key] += n
                    last_at = row.at
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        unitless = sum(n for key, n in ordered if key.reason == WITHOUT_UNIT)
        return FlagUse(flag, since, last_at, [VariantUse(key.variant, key.reason, n) for key, n in ordered], unitless)

    async def tracked(self, actor: Actor, environment: str) -> list[str]:
        """The names that services tracked in the last day, at most MAX_TRACKED."""
        authorize(actor, Action.READ, environment)
        now = self._clock.now()
        async with self._database.reading() as connection:
            found = await tables.series_between(
                connection, environment, "custom", step_s=series.COARSE_S, since=now - timedelta(days=1),
                until=now + timedelta(seconds=1), limit=MAX_TRACKED,
            )  # fmt: skip
        return sorted({series.custom_key(name).name for name in found} - {OTHER})

    async def custom(
        self, actor: Actor, environment: str, *, since: datetime, until: datetime, name: str = ""
    ) -> Chart:
        """Metrics that services track themselves, a line for each set of attributes. Raises as `chart` does."""
        authorize(actor, Action.READ, environment)
        step_s = max(series.FINE_S, step_of(since, until))
        start = series.floor(since, step_s)
        async with self._database.reading() as connection:
            rows = await tables.rollups_between(
                connection, environment, "custom", step_s=step_s, since=start, until=until,
                prefix=name + series.SEPARATOR if name else "",
            )  # fmt: skip
        lines: dict[str, dict[int, dict[str, Number]]] = defaultdict(dict)
        counts: dict[str, int] = defaultdict(int)
        for row in rows:
            totals = series.decode_custom(row.totals)
            lines[row.series][int(row.at.timestamp())] = points.custom_values(totals, step_s / 60)
            counts[row.series] += totals.n
        axis = Axis.of(since, until, step_s, counted=None, now=self._clock.now())
        names = ("per_min", "mean", "p50", "p95")
        drawn = [
            ChartSeries(
                dict(zip(("name", "attributes"), series.custom_key(label), strict=True)), counts[label], {}, {},
                {metric: [line.get(time, {}).get(metric) for time in axis.times] for metric in names},
            )
            for label, line in lines.items()
        ]  # fmt: skip
        for each in drawn:
            _leave_out_what_still_counts(each.values, axis)
        return Chart(step_s, axis.times, drawn, await self._marks(environment, since, until))

    def _line(self, labels: dict[str, str], line: dict[int, dict[str, RequestTotals]], axis: Axis) -> ChartSeries:
        values: dict[str, list[Number]] = {metric: [] for metric in (*points.METRICS, "cost_per_min")}
        for time in axis.times:
            models = line.get(time)
            found = points.values(points.total(list(models.values())), axis.minutes) if models else {}
            for metric in points.METRICS:
                values[metric].append(found.get(metric))
            values["cost_per_min"].append(points.cost_per_min(models, self._prices, axis.minutes) if models else None)
        _leave_out_what_still_counts(values, axis)
        whole = points.total(list(_by_model(line.values()).values()))
        totals = {**points.values(whole, 1), **self._rates(line, axis)}
        return ChartSeries(labels, whole.requests, totals, points.breakdown(whole), values)

    def _rates(self, line: dict[int, dict[str, RequestTotals]], axis: Axis) -> dict[str, Number]:
        """Averages over the steps that can be averaged; nothing when there is none yet."""
        minutes = len(axis.averaged) * axis.minutes
        if not minutes:
            return dict.fromkeys((*points.RATES, "cost_per_min"))
        models = _by_model(line.get(time, {}) for time in axis.averaged)
        rates = points.values(points.total(list(models.values())), minutes, points.RATES)
        return {**rates, "cost_per_min": points.cost_per_min(models, self._prices, minutes)}

    async def _marks(self, environment: str, since: datetime, until: datetime) -> list[Mark]:
        commits = await self._store.list_commits(environment, since=since, until=until, limit=MAX_MARKS)
        return [
            Mark(
                commit.created_at,
                "stage" if commit.author.startswith("rollout:")
                else "safe_mode" if any(ref.kind == "safe_mode_activation" for ref in commit.refs)
                else "commit",
                commit.revision, commit.author, commit.message,
            )
            for commit in reversed(commits)
        ]  # fmt: skip

    async def _summarise(self, environment: str, now: datetime) -> SignalsSummary:
        last = series.floor(now, series.FINE_S)
        minutes = [last - timedelta(minutes=SPARK_MINUTES - i) for i in range(SPARK_MINUTES)]
        kept = self._minutes[environment]
        for minute in [minute for minute in kept if minute < minutes[0]]:
            del kept[minute]
        first = next((minute for minute in minutes if minute not in kept), last)
        read = await self._read_minutes(environment, first, last)
        for minute in minutes:
            if minute >= first and minute < now - SETTLED:
                kept[minute] = read.get(minute, {})
        table = {minute: kept[minute] if minute in kept else read.get(minute, {}) for minute in minutes}
        names = sorted({name for classes in table.values() for name in classes})
        begun = next((i for i, minute in enumerate(minutes) if table[minute]), 0)
        recent = minutes[max(begun, SPARK_MINUTES - NOW_MINUTES) :]
        return SignalsSummary(environment, now, [self._class(name, table, minutes, recent) for name in names])

    async def _read_minutes(self, environment: str, since: datetime, until: datetime) -> dict[datetime, ByClass]:
        async with self._database.reading() as connection:
            rows = await tables.rollups_between(
                connection, environment, "request", step_s=series.FINE_S, since=since, until=until
            )
        found: dict[datetime, ByClass] = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            key = series.request_key(row.series)
            for model, totals in points.by_spender(key.model, series.decode_request(row.totals)).items():
                _add(found[row.at][key.request_class], model, totals)
        return found

    def _class(
        self, name: str, table: dict[datetime, ByClass], minutes: Sequence[datetime], recent: Sequence[datetime]
    ) -> ClassSignals:
        """`recent` are the minutes that are now: since the environment counts, and at most NOW_MINUTES."""
        sparks: dict[str, list[Number]] = {metric: [] for metric in SPARKS}
        for minute in minutes:
            models = table[minute].get(name)
            found = points.values(points.total(list(models.values())), 1, SPARKS) if models else {}
            for metric in SPARKS:
                sparks[metric].append(found.get(metric))
        models = _by_model(table[minute].get(name, {}) for minute in recent)
        whole = points.total(list(models.values()))
        now = points.values(whole, len(recent))
        now["cost_per_min"] = points.cost_per_min(models, self._prices, len(recent))
        return ClassSignals(name, now, points.breakdown(whole), sparks)


def _add(into: dict[str, RequestTotals], model: str, totals: RequestTotals) -> None:
    known = into.get(model)
    into[model] = known.plus(totals) if known else totals


def _by_model(steps: Iterable[dict[str, RequestTotals]]) -> dict[str, RequestTotals]:
    found: dict[str, RequestTotals] = {}
    for models in steps:
        for model, totals in models.items():
            _add(found, model, totals)
    return found


def _leave_out_what_still_counts(values: dict[str, list[Number]], axis: Axis) -> None:
    """A rate of a minute that has just begun would look like an outage."""
    for metric in values.keys() & RATES:
        values[metric][axis.over :] = [None] * (len(axis.times) - axis.over)


def parse_labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Raises InvalidInputError for a name that is no label. Without names: by request class."""
    asked = set(names)
    unknown = sorted(asked - set(LABELS))
    if unknown:
        raise InvalidInputError(f"no label {unknown[0]!r}; there are {', '.join(LABELS)}")
    found: tuple[Label, ...] = tuple(label for label in LABELS if label in asked)
    return found or LABELS[:1]
