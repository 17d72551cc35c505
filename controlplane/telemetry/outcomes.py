"""What answered requests, and how the calls to models went. Pure."""

from brownout.telemetry.sketch import quantile
from brownout.wire.telemetry import OK, RequestTotals
from controlplane.telemetry.prices import Prices
from controlplane.telemetry.values import AnsweredBy, AttemptsAt, Number


def answered(totals: RequestTotals) -> list[AnsweredBy]:
    """By rung, busiest first."""
    found = []
    for name, rung in sorted(totals.rungs.items(), key=lambda item: (-item[1].served, item[0])):
        kind, _, target = name.partition(":")
        found.append(
            AnsweredBy(
                kind, target, rung.served, _share(rung.served, totals.requests), _share(rung.completed, rung.known),
                _share(rung.escalated, rung.served), _share(rung.abandoned, rung.served),
            )
        )  # fmt: skip
    return found


def attempts(totals: RequestTotals, prices: Prices) -> list[AttemptsAt]:
    """By model, busiest first."""
    found = []
    for key, each in sorted(totals.attempts.items(), key=lambda item: (-item[1].attempts, item[0])):
        price = prices.get(key.model)
        found.append(
            AttemptsAt(
                key.provider, key.model, each.attempts, each.retries,
                _share(each.attempts - each.outcomes.get(OK, 0), each.attempts),
                {name: n for name, n in sorted(each.outcomes.items()) if name != OK},
                quantile(each.duration, 0.5), quantile(each.duration, 0.95), each.input_tokens, each.output_tokens,
                price.of(each.input_tokens, each.output_tokens) if price else None,
            )
        )  # fmt: skip
    return found


def _share(part: int, whole: int) -> Number:
    return round(part / whole, 6) if whole else None
