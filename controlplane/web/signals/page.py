"""Signals over time: charts with their tables, with commits, activations and stages as marks."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.wire.telemetry import PRIMARY
from controlplane.access.actor import Action
from controlplane.telemetry.signals import LABELS, Filter, Label
from controlplane.telemetry.values import AnsweredBy, AttemptsAt, Chart, ChartSeries
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import count, percent, words

RANGES = {"0.25": "15 minutes", "1": "1 hour", "3": "3 hours", "24": "24 hours", "168": "7 days"}
MAX_LINES = 6
TABLE_ROWS = 400


class Metric(msgspec.Struct, frozen=True):
    key: str
    title: str
    unit: str
    scale: float


METRICS = (
    Metric("requests_per_min", "Rate", "/min", 1),
    Metric("error_share", "Errors", "%", 100),
    Metric("refusal_share", "Refusals", "%", 100),
    Metric("fallback_share", "Fallbacks", "%", 100),
    Metric("unanswered_share", "Unanswered", "%", 100),
    Metric("attempt_error_share", "Failed attempts", "%", 100),
    Metric("attempts_per_request", "Attempts per request", "", 1),
    Metric("format_error_share", "Format errors", "%", 100),
    Metric("escalation_share", "Escalations", "%", 100),
    Metric("time_to_first_token_p95_ms", "First token, p95", "s", 0.001),
    Metric("duration_p95_ms", "Duration, p95", "s", 0.001),
    Metric("tokens_per_min", "Tokens", "k/min", 0.001),
    Metric("cost_per_min", "Cost", "/min", 1),
    Metric("quality", "Quality", "", 1),
)


class TableRow(msgspec.Struct, frozen=True):
    at: int
    label: str
    values: tuple[str, ...]
    """As the chart reads them; empty: nothing was observed."""


class ChartView(msgspec.Struct, frozen=True):
    key: str
    title: str
    unit: str
    lines: tuple[str, ...]
    totals: tuple[str, ...]
    rows: tuple[TableRow, ...]
    marks: str
    says: str


class AnsweredRow(msgspec.Struct, frozen=True):
    name: str
    rung: str
    requests: str
    share: str
    completed: str
    escalated: str
    abandoned: str


class AttemptsRow(msgspec.Struct, frozen=True):
    model: str
    provider: str
    attempts: str
    retries: str
    failed: str
    errors: str
    p95: str
    tokens: str
    cost: str


class Mark(msgspec.Struct, frozen=True):
    at: int
    kind: str
    label: str


class SignalsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "signals/signals.html"

    frame: Frame
    charts: tuple[ChartView, ...]
    answered: tuple[AnsweredRow, ...]
    attempts: tuple[AttemptsRow, ...]
    marks: tuple[tuple[datetime, str, str, str], ...]
    hours: str
    ranges: tuple[Option, ...]
    by: str
    labels: tuple[Option, ...]
    request_class: str
    classes: tuple[Option, ...]
    compare: bool
    zoomed: str
    whole_href: str
    here: str


YEAR_2100 = 4_102_444_800
"""Unix seconds."""


class SignalsController(Controller):
    path = "/e/{environment:str}/signals"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        hours: FromQuery[str] = "3",
        by: FromQuery[str] = "request_class",
        request_class: FromQuery[str] = "",
        compare: FromQuery[str] = "",
        start: FromQuery[int | None] = None,
        end: FromQuery[int | None] = None,
    ) -> Response[Any]:
        """`start` and `end` (Unix seconds) are a brushed stretch; `compare` adds the same stretch before it."""
        frame = await visit.frame(environment, "signals")
        label = by if by in LABELS else "request_class"
        span_hours = float(hours) if hours in RANGES else 3
        brushed = stretch(start, end)
        since, until = brushed or (visit.now - timedelta(hours=span_hours), visit.now)
        only = Filter(request_class=request_class or None)
        signals = visit.services.telemetry.signals
        chart = await signals.chart(visit.actor, environment, since=since, until=until, only=only, by=(label,))
        before = None
        if compare:
            span = until - since
            before = await signals.chart(
                visit.actor, environment, since=since - span, until=since, only=only, by=(label,)
            )
        known = await visit.services.reads.resources(visit.actor, environment, "request_class", limit=200)
        asked = {"by": by, "request_class": request_class, "compare": compare}
        return visit.page(
            SignalsPage(
                frame=frame,
                charts=tuple(view for metric in METRICS if (view := _chart(metric, label, chart, before))),
                answered=tuple(map(_answered, chart.answered)),
                attempts=tuple(map(_attempts, chart.attempts)),
                marks=tuple((mark.at, words(mark.kind), mark.message, url(environment, "history", str(mark.revision)))
                            for mark in reversed(chart.marks[-50:])),
                hours=hours if hours in RANGES else "3",
                ranges=tuple(Option(value, label_) for value, label_ in RANGES.items()),
                by=label,
                labels=tuple(Option(name, words(name)) for name in LABELS),
                request_class=request_class,
                classes=(Option("", "all classes"), *(Option(item.key, item.key) for item in known.items)),
                compare=bool(compare),
                zoomed=f"{since:%H:%M} to {until:%H:%M}" if brushed else "",
                whole_href=url(environment, "signals", **asked, hours=hours),
                here=url(environment, "signals"),
            )
        )  # fmt: skip


def stretch(start: int | None, end: int | None) -> tuple[datetime, datetime] | None:
    """The stretch that an address names; None when it names none that a chart could show."""
    if start is None or end is None or not 0 < start < end < YEAR_2100:
        return None
    return datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)


def _chart(metric: Metric, by: Label, chart: Chart, before: Chart | None) -> ChartView | None:
    """None when nothing of this metric was ever observed: an empty chart says nothing."""
    lines: list[tuple[str, ChartSeries]] = [(_name(each, by), each) for each in chart.series[:MAX_LINES]]
    if before:
        lines += [(f"{_name(each, by)}, before", each) for each in before.series[:MAX_LINES]]
    lines = [(name, each) for name, each in lines if any(v is not None for v in each.values.get(metric.key, ()))]
    if not lines:
        return None
    rows = tuple(
        TableRow(at, f"{datetime.fromtimestamp(at, UTC):%H:%M}", tuple(_value(each, metric, i) for _, each in lines))
        for i, at in enumerate(chart.times)
    )
    marks = [Mark(int(mark.at.timestamp()), mark.kind, f"r{mark.revision}") for mark in chart.marks]
    totals = tuple(_said(each.totals.get(metric.key), metric) for _, each in lines)
    says = "; ".join(f"{name} {total}" for (name, _), total in zip(lines, totals, strict=True))
    return ChartView(
        key=metric.key,
        title=metric.title,
        unit=metric.unit,
        lines=tuple(name for name, _ in lines),
        totals=totals,
        rows=rows[-TABLE_ROWS:],
        marks=msgspec.json.encode(marks).decode(),
        says=f"{metric.title}: {says}",
    )


def _answered(each: AnsweredBy) -> AnsweredRow:
    kind = "own model" if each.rung == PRIMARY else "fallback model" if each.rung == "model" else "rung"
    return AnsweredRow(
        each.target or words(each.rung), kind, count(each.requests), _percent(each.share),
        _percent(each.completion_share), _percent(each.escalation_share), _percent(each.abandoned_share),
    )  # fmt: skip


def _attempts(each: AttemptsAt) -> AttemptsRow:
    errors = sorted(each.errors.items(), key=lambda item: (-item[1], item[0]))
    return AttemptsRow(
        each.model or words(each.provider), each.provider, count(each.attempts), count(each.retries),
        _percent(each.error_share), ", ".join(f"{words(name)} {count(n)}" for name, n in errors),
        "" if each.duration_p95_ms is None else f"{each.duration_p95_ms / 1000:.3g} s",
        count(each.input_tokens + each.output_tokens), "" if each.cost is None else f"{each.cost:.4g}",
    )  # fmt: skip


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def _name(each: ChartSeries, by: Label) -> str:
    return each.labels.get(by) or ("normal" if by == "safe_mode" else "none")


def _value(each: ChartSeries, metric: Metric, index: int) -> str:
    values = each.values.get(metric.key, ())
    value = values[index] if index < len(values) else None
    return "" if value is None else f"{value * metric.scale:.4g}"


def _said(value: float | None, metric: Metric) -> str:
    if value is None:
        return "no data"
    number = value * metric.scale
    said = count(number) if abs(number) >= 100 else f"{number:.3g}"
    return f"{said} {metric.unit}".strip()
