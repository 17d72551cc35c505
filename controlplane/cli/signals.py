"""`brownout signals`: what the request classes do right now."""

import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.charts import spark
from controlplane.cli.command import Noun, Option
from controlplane.cli.shown import table
from controlplane.cli.terminal import Live, Shown, Table
from controlplane.cli.verb import Call, verb
from controlplane.telemetry.values import AnsweredBy, AttemptsAt, Chart, ClassSignals, Number, SignalsSummary

COLUMNS = ("requests_per_min", "error_share", "refusal_share", "fallback_share", "duration_p95_ms", "tokens_per_min")
CLASS_WIDTH, NUMBER_WIDTH, MIN_SPARK = 20, 12, 4
"""Columns of the terminal: the class, a number with its spaces, and the least that a line of bars is drawn in."""

LABELS = ("request_class", "model", "variant", "prompt", "safe_mode")


def register(app: Noun) -> None:
    verb(app, "signals", action=Action.READ)(signals)


def signals(
    call: Call,
    *,
    request_class: Annotated[
        str, Option("--class", help="Only this request class: by model and variant, what answered, and each attempt.")
    ] = "",
    watch: Annotated[bool, Option("--watch", help="Draw again every few seconds.")] = False,
) -> None:
    """Rate, errors, refusals, fallbacks, latency and tokens of the last hour."""
    if request_class:
        found = call.session.get(
            call.session.path("signals"), Chart, request_class=request_class, by="model,variant,prompt,safe_mode"
        )
        call.answer(found, lambda: _chart(found))
        return
    summary = _summary(call)
    if not watch or call.as_json:
        call.answer(summary, lambda: _classes(summary, call.terminal.width))
        return
    with Live(call.terminal) as live:
        while True:
            live.update(_classes(summary, call.terminal.width))
            time.sleep(3)
            summary = _summary(call)


def _summary(call: Call) -> SignalsSummary:
    return call.session.get(call.session.path("signals", "summary"), SignalsSummary)


def _classes(summary: SignalsSummary, wide: int) -> Table:
    """Each number with its last minutes, as many as `wide` columns have room for."""
    room = min(20, (wide - CLASS_WIDTH) // len(COLUMNS) - NUMBER_WIDTH)
    rows = [(one.request_class or "(none)", *(_cell(one, name, room) for name in COLUMNS)) for one in summary.classes]
    return table(("request class", "requests/min", "errors", "refusals", "fallbacks", "p95", "tokens/min"), rows)


def _cell(one: ClassSignals, name: str, room: int) -> str:
    number = f"{_text(name, one.now.get(name)):>9}"
    return f"{number} {spark(one.sparks[name], width=room)}" if room >= MIN_SPARK else number


def _chart(chart: Chart) -> list[Shown]:
    """The series, then what answered and which models were called, as far as services report that."""
    shown: list[Shown] = [_lines(chart)]
    if chart.answered:
        shown += ["", _answered(chart.answered)]
    if chart.attempts:
        shown += ["", _attempts(chart.attempts)]
    return shown


def _answered(found: Sequence[AnsweredBy]) -> Table:
    shares = attrgetter("share", "completion_share", "escalation_share", "abandoned_share")
    rows = [
        (
            f"{each.rung}:{each.target}" if each.target else each.rung,
            f"{each.requests:,}",
            *(_text("_share", share) for share in shares(each)),
        )
        for each in found
    ]
    return table(("answered by", "requests", "share", "completed", "escalated", "abandoned"), rows)


def _attempts(found: Sequence[AttemptsAt]) -> Table:
    rows = [
        (
            f"{each.provider} {each.model}",
            f"{each.attempts:,}",
            f"{each.retries:,}",
            _text("error_share", each.error_share),
            ", ".join(f"{name} {count:,}" for name, count in each.errors.items()) or "-",
            _text("duration_p95_ms", each.duration_p95_ms),
            f"{each.input_tokens + each.output_tokens:,}",
        )
        for each in found
    ]
    return table(("attempts at", "calls", "retries", "failed", "errors", "p95", "tokens"), rows)


def _lines(chart: Chart) -> Table:
    rows = [
        (*(line.labels.get(label) or "-" for label in LABELS[1:]), *(_text(name, line.totals.get(name)) for name in COLUMNS),
         spark(line.values["requests_per_min"], width=30))
        for line in chart.series
    ]  # fmt: skip
    return table(
        (
            "model",
            "variant",
            "prompt",
            "safe mode",
            "requests/min",
            "errors",
            "refusals",
            "fallbacks",
            "p95",
            "tokens/min",
            "",
        ),
        rows,
    )


def _text(name: str, value: Number) -> str:
    if value is None:
        return "-"
    if name.endswith("_share"):
        return f"{100 * value:.1f} %"
    if name.endswith("_ms"):
        return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
