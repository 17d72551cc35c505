"""From counted totals to the numbers that people read. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from brownout.telemetry.sketch import quantile
from brownout.wire.telemetry import CustomTotals, RequestTotals
from controlplane.telemetry.prices import Price
from controlplane.telemetry.values import Number

Metric = Callable[[RequestTotals, float], Number]
"""Of what was counted in so many minutes."""


def _share(part: Callable[[RequestTotals], int], whole: Callable[[RequestTotals], int]) -> Metric:
    def metric(totals: RequestTotals, _: float) -> Number:
        n = whole(totals)
        return round(part(totals) / n, 6) if n else None

    return metric


def _quantile(sketch: Callable[[RequestTotals], dict[int, int]], q: float) -> Metric:
    def metric(totals: RequestTotals, _: float) -> Number:
        value = quantile(sketch(totals), q)
        return None if value is None else round(value, 1)

    return metric


def _per_minute(of: Callable[[RequestTotals], int]) -> Metric:
    return lambda totals, minutes: round(of(totals) / minutes, 3)


def _requests(totals: RequestTotals) -> int:
    return totals.requests


METRICS: Mapping[str, Metric] = {
    "requests_per_min": _per_minute(_requests),
    "error_share": _share(lambda t: sum(t.errors.values()), _requests),
    "refusal_share": _share(lambda t: t.refusals, _requests),
    "format_error_share": _share(lambda t: t.format_errors, lambda t: t.format_checked),
    "fallback_share": _share(lambda t: sum(t.fallbacks.values()), _requests),
    "escalation_share": _share(lambda t: t.escalations, _requests),
    "completion_share": _share(lambda t: t.completions, lambda t: t.completion_known),
    "retrieval_miss_share": _share(lambda t: t.retrieval_misses, lambda t: t.retrievals),
    "duration_p50_ms": _quantile(lambda t: t.duration, 0.5),
    "duration_p95_ms": _quantile(lambda t: t.duration, 0.95),
    "duration_p99_ms": _quantile(lambda t: t.duration, 0.99),
    "time_to_first_token_p50_ms": _quantile(lambda t: t.time_to_first_token, 0.5),
    "time_to_first_token_p95_ms": _quantile(lambda t: t.time_to_first_token, 0.95),
    "time_to_first_token_p99_ms": _quantile(lambda t: t.time_to_first_token, 0.99),
    "input_tokens_per_min": _per_minute(lambda t: t.input_tokens),
    "output_tokens_per_min": _per_minute(lambda t: t.output_tokens),
    "tokens_per_min": _per_minute(lambda t: t.input_tokens + t.output_tokens),
    "quality": lambda t, _: round(t.quality_total / t.quality_n, 4) if t.quality_n else None,
}
"""Every signal there is, by the name that the API gives it. Cost is apart: it needs prices."""


RATES = tuple(name for name in METRICS if name.endswith("_per_min"))
"""Those that depend on how long was counted."""


def values(totals: RequestTotals, minutes: float, metrics: Iterable[str] = METRICS) -> dict[str, Number]:
    return {metric: METRICS[metric](totals, minutes) for metric in metrics}


def breakdown(totals: RequestTotals) -> dict[str, float]:
    """Shares by error class (`error.timeout`) and by rung (`fallback.cache`)."""
    if not totals.requests:
        return {}
    named = {f"error.{name}": n for name, n in totals.errors.items()}
    named |= {f"fallback.{name}": n for name, n in totals.fallbacks.items()}
    return {name: round(n / totals.requests, 6) for name, n in sorted(named.items())}


def cost_per_min(by_model: Mapping[str, RequestTotals], prices: Mapping[str, Price], minutes: float) -> Number:
    """Of the models that have a price; None when none has."""
    priced = [prices[model].of(t.input_tokens, t.output_tokens) for model, t in by_model.items() if model in prices]
    return round(sum(priced) / minutes, 6) if priced else None


def custom_values(totals: CustomTotals, minutes: float) -> dict[str, Number]:
    """Of a metric that a service tracks itself."""
    return {
        "per_min": round(totals.n / minutes, 3),
        "mean": round(totals.total / totals.n, 6) if totals.n else None,
        "p50": quantile(totals.values, 0.5),
        "p95": quantile(totals.values, 0.95),
    }


def total(parts: Sequence[RequestTotals]) -> RequestTotals:
    whole = RequestTotals()
    for part in parts:
        whole = whole.plus(part)
    return whole
