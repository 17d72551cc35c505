"""What a rollout compares: the measures that its guardrails and gates choose from."""

import math
import re
from collections.abc import Iterator
from typing import Literal, get_args

Measure = Literal["error", "refusal", "format_error", "fallback", "escalation", "incomplete", "retrieval_miss"]
"""The ways in which one request can be bad."""

MEASURES: tuple[Measure, ...] = get_args(Measure)

MeanMeasure = Literal["quality", "duration", "time_to_first_token", "tokens", "cost"]
"""What is compared by means. All but quality are compared as natural logarithms."""

MEAN_MEASURES: tuple[MeanMeasure, ...] = get_args(MeanMeasure)

EVENT, VALUE, AMOUNT = "event:", "value:", "amount:"
"""Before the name that a service gives to `client.track`: how often it happens, its value, where less is worse, and its
amount, where more is worse."""

_CUSTOM = re.compile(r"(?:event|value|amount):[^\s,=\x00-\x1f\x7f][^,=\x00-\x1f\x7f]{0,99}")

Scale = Literal["share", "mean", "typical"]
"""Bad events of all requests; a mean, where less is worse; a typical (geometric mean) amount, where more is worse."""


def scale(measure: str) -> Scale | None:
    """How a measure is compared; None when there is no such measure."""
    if measure in MEASURES:
        return "share"
    if measure in MEAN_MEASURES:
        return "mean" if measure == "quality" else "typical"
    if not _CUSTOM.fullmatch(measure):
        return None
    return "share" if measure.startswith(EVENT) else "mean" if measure.startswith(VALUE) else "typical"


def compared(measure: str, value: float) -> Iterator[tuple[str, float]]:
    """The measures that an observed value counts for, and what is averaged of it."""
    if scale(measure) == "mean":
        yield measure, value
    elif value > 0:
        yield measure, math.log(value)
    if measure.startswith(VALUE) and value > 0:
        yield AMOUNT + measure.removeprefix(VALUE), math.log(value)


def tracked(measure: str) -> str | None:
    """The name under which a service tracks a custom measure; None for the measures of requests."""
    kind, colon, name = measure.partition(":")
    return name if colon and f"{kind}:" in {EVENT, VALUE, AMOUNT} else None
