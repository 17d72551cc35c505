"""From counted totals to the numbers that people read. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from brownout.telemetry.sketch import quantile
from brownout.wire.telemetry import OK, CustomTotals, RequestTotals
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


def _attempts(totals: RequestTotals) -> int:
    return sum(each.attempts for each in totals.attempts.values())


def _failed_attempts(totals: RequestTotals) -> int:
    return sum(each.attempts - each.outcomes.get(OK, 0) for each in totals.attempts.values())


def _with_attempts(totals: RequestTotals) -> int:
    """Requests, where services report their attempts: else nothing is known of them."""
    return totals.requests if totals.attempts else 0


METRICS: Mapping[str, Metric] = {
    "requests_per_min": _per_minute(_requests),
    "error_share": _share(lambda t: sum(t.errors.values()), _requests),
    "refusal_share": _share(lambda t: t.refusals, _requests),
    "format_error_share": _share(lambda t: t.format_errors, lambda t: t.format_checked),
    "fallback_share": _share(lambda t: sum(t.fallbacks.values()), _requests),
    "unanswered_share": _share(lambda t: t.unanswered, _requests),
    "provisional_share": _share(lambda t: t.provisional, _requests),
    "shed_share": _share(lambda t: t.shed, _requests),
    "stopped_share": _share(lambda t: t.stopped, _requests),
    "queued_share": _share(lambda t: t.queued, _requests),
    "abandoned_share": _share(lambda t: t.abandoned, _requests),
    "attempts_per_request": _share(_attempts, _with_attempts),
    "attempts_per_min": _per_minute(_attempts),
    "attempt_error_share": _share(_failed_attempts, _attempts),
    "retry_share": _share(lambda t: sum(each.retries for each in t.attempts.values()), _attempts),
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
    "prompt_tokens_p50": _quantile(lambda t: t.prompt, 0.5),
    "prompt_tokens_p95": _quantile(lambda t: t.prompt, 0.95),
    "cache_age_p95_s": _quantile(lambda t: t.cache_age, 0.95),
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


def by_spender(model: str, totals: RequestTotals) -> dict[str, RequestTotals]:
    """What was counted for a model that a policy assigned, with the tokens of each attempt under the model that spent
    them. Tokens of requests without attempts stay the assigned model's."""
    spent: dict[str, RequestTotals] = {}
    for key, attempts in totals.attempts.items():
        if key.model != model:
            tokens = RequestTotals(input_tokens=attempts.input_tokens, output_tokens=attempts.output_tokens)
            spent[key.model] = spent[key.model].plus(tokens) if key.model in spent else tokens
    if not spent:
        return {model: totals}
    left_in = totals.input_tokens - sum(tokens.input_tokens for tokens in spent.values())
    left_out = totals.output_tokens - sum(tokens.output_tokens for tokens in spent.values())
    return {model: replace(totals, input_tokens=max(0, left_in), output_tokens=max(0, left_out)), **spent}


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
