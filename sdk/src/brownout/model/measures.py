"""What a rollout compares: the closed sets that its guardrails and gates choose from."""

from typing import Literal, get_args

Measure = Literal["error", "refusal", "format_error", "fallback", "escalation", "incomplete", "retrieval_miss"]
"""The ways in which one request can be bad."""

MEASURES: tuple[Measure, ...] = get_args(Measure)

MeanMeasure = Literal["quality", "duration", "time_to_first_token"]
"""What is compared by means. The two times are compared as natural logarithms of milliseconds."""

MEAN_MEASURES: tuple[MeanMeasure, ...] = get_args(MeanMeasure)
