"""What a service says of one request, and how that is counted. Operations and attempts are counted apart (ADR 0160)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, get_args

from brownout.model.values import ErrorClass, RungType
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.sketch import FIRST, LAST, bucket_of
from brownout.telemetry.units import Outcome
from brownout.wire.telemetry import OK, OTHER, PRIMARY, AttemptKey, AttemptTotals, RequestTotals, RungTotals

RUNGS = frozenset(get_args(RungType))
ERROR_CLASSES = frozenset(get_args(ErrorClass))

MAX_ATTEMPTS = 100
"""Of one request that are counted."""
MAX_MODELS = 16
MAX_RUNGS = 32
"""Of one series; further ones are counted as OTHER."""
COARSE = 3
"""Buckets that count as one where a sketch is one of many in a message: values within 7 %."""
MAX_LABEL = 100
"""Characters of a label that are kept."""
LARGEST_COUNT = 2**32
LARGEST_VALUE = 1e100
"""What one request or metric can say: sums of them, and of their squares, stay numbers that a message can carry."""

_REFUSALS = frozenset({"refusal", "content_filter"})
_NOT_FAILURES = _REFUSALS | {"format_error", "bad_request"}
_NO_CONTROL = dict.fromkeys((*range(32), 127), " ")


class Report(NamedTuple):
    """What a service says of one request. None means: not known, and so not counted either way."""

    error_class: str | None = None
    """How the policy's own model failed, whatever answered after it."""
    input_tokens: int = 0
    output_tokens: int = 0
    duration_ms: float | None = None
    time_to_first_token_ms: float | None = None
    quality: float | None = None
    rung: str | None = None
    """The kind of rung that answered when it was not the primary model."""
    refused: bool = False
    format_ok: bool | None = None
    completed: bool | None = None
    escalated: bool = False
    retrieval_hit: bool | None = None
    answered_by: str | None = None
    """The target that answered, where a model did."""
    attempts: Sequence[Attempted] = ()
    provisional: bool = False
    shed: bool = False
    stopped: bool = False
    queued: bool = False
    abandoned: bool = False
    prompt_tokens: int | None = None
    cache_age_s: float | None = None
    assigned: str | None = None
    """The policy's own target."""
    cost: float | None = None
    """In the service's own currency."""

    @property
    def answered(self) -> str | None:
        """What answered, as RequestTotals.rungs names it. None: nothing did."""
        if self.shed or self.stopped:
            return None
        if self.rung is not None:
            return _joined(self.rung, self.answered_by if self.rung == "model" else None)
        if self.answered_by is not None or (self.error_class is None and not self.abandoned):
            return _joined(PRIMARY, self.answered_by or self.assigned)
        return None

    @property
    def outcome(self) -> Outcome:
        """For rollouts, which compare models as they were assigned: a fallback that answers well, or a retry, does not
        hide how the assigned model failed (ADR 0161)."""
        own = {attempt.error for attempt in self.attempts if attempt.target == self.assigned and attempt.error}
        bad: dict[str, bool] = {
            "error": self.error_class is not None or bool(own - _NOT_FAILURES),
            "refusal": self.refused or bool(own & _REFUSALS),
            "fallback": self.rung is not None,
            "escalation": self.escalated,
        }
        if self.format_ok is not None or "format_error" in own:
            bad["format_error"] = not self.format_ok or "format_error" in own
        if self.completed is not None:
            bad["incomplete"] = not self.completed
        if self.retrieval_hit is not None:
            bad["retrieval_miss"] = not self.retrieval_hit
        seen = {
            "quality": self.quality,
            "duration": self.duration_ms,
            "time_to_first_token": self.time_to_first_token_ms,
            "tokens": self.input_tokens + self.output_tokens or None,
            "cost": self.cost,
        }
        return Outcome(bad, {measure: value for measure, value in seen.items() if value is not None})

    @property
    def calls(self) -> list[bool]:
        """Whether each call to a model went wrong; without attempts, the request stands for one."""
        if self.attempts:
            return [attempt.error is not None for attempt in self.attempts]
        return [] if self.shed or self.stopped else [self.error_class is not None or self.refused]


def sensible(report: Report) -> Report:
    """`report` as what its types promise, whatever was said; raises before anything of it is counted."""
    attempts = tuple(report.attempts)[:MAX_ATTEMPTS]
    spent = [attempt.usage for attempt in attempts if attempt.usage is not None]
    return Report(
        error_class=_known(report.error_class, ERROR_CLASSES),
        rung=_known(report.rung, RUNGS),
        input_tokens=_count(report.input_tokens or sum(usage[0] for usage in spent)),
        output_tokens=_count(report.output_tokens or sum(usage[1] for usage in spent)),
        duration_ms=finite(report.duration_ms),
        time_to_first_token_ms=finite(report.time_to_first_token_ms),
        quality=finite(report.quality),
        cost=finite(report.cost),
        refused=bool(report.refused),
        format_ok=None if report.format_ok is None else bool(report.format_ok),
        completed=None if report.completed is None else bool(report.completed),
        escalated=bool(report.escalated),
        retrieval_hit=None if report.retrieval_hit is None else bool(report.retrieval_hit),
        answered_by=None if report.answered_by is None else label(report.answered_by),
        attempts=tuple(map(_attempted, attempts)),
        provisional=bool(report.provisional),
        shed=bool(report.shed),
        stopped=bool(report.stopped),
        queued=bool(report.queued),
        abandoned=bool(report.abandoned),
        prompt_tokens=None if report.prompt_tokens is None else _count(report.prompt_tokens),
        cache_age_s=finite(report.cache_age_s),
        assigned=report.assigned,
    )


def count(totals: RequestTotals, report: Report) -> None:
    """Adds a sensible report."""
    answered = report.answered
    totals.requests += 1
    if report.error_class is not None:
        _add(totals.errors, report.error_class)
    if report.rung is not None:
        _add(totals.fallbacks, report.rung)
    totals.refusals += report.refused
    totals.escalations += report.escalated
    if report.format_ok is not None:
        totals.format_checked += 1
        totals.format_errors += not report.format_ok
    if report.completed is not None:
        totals.completion_known += 1
        totals.completions += report.completed
    if report.retrieval_hit is not None:
        totals.retrievals += 1
        totals.retrieval_misses += not report.retrieval_hit
    totals.input_tokens += report.input_tokens
    totals.output_tokens += report.output_tokens
    observe(totals.duration, report.duration_ms)
    observe(totals.time_to_first_token, report.time_to_first_token_ms)
    if report.quality is not None:
        totals.quality_n += 1
        totals.quality_total += report.quality
    if answered is not None:
        _count_rung(totals.rungs, answered, report)
    for attempt in report.attempts:
        _count_attempt(totals.attempts, attempt)
    totals.unanswered += answered is None and not (report.shed or report.stopped or report.abandoned)
    totals.provisional += report.provisional
    totals.shed += report.shed
    totals.stopped += report.stopped
    totals.queued += report.queued
    totals.abandoned += report.abandoned
    observe(totals.prompt, report.prompt_tokens, COARSE)
    observe(totals.cache_age, report.cache_age_s, COARSE)


@lru_cache(2_048)
def label(said: str) -> str:
    """Without control characters, which no receiver takes. Raises UnicodeEncodeError for what a message cannot carry."""
    kept = str.__str__(said)[:MAX_LABEL].translate(_NO_CONTROL)
    kept.encode()
    return kept


def observe(sketch: dict[int, int], value: float | None, width: int = 1) -> None:
    """Counts a value, in the middle one of `width` buckets."""
    if value is not None:
        bucket = min(max(FIRST, bucket_of(value) // width * width + width // 2), LAST)
        sketch[bucket] = sketch.get(bucket, 0) + 1


def _count_rung(rungs: dict[str, RungTotals], answered: str, report: Report) -> None:
    if answered not in rungs and len(rungs) >= MAX_RUNGS:
        answered = OTHER
    rung = rungs.setdefault(answered, RungTotals())
    rung.served += 1
    if report.completed is not None:
        rung.known += 1
        rung.completed += report.completed
    rung.escalated += report.escalated
    rung.abandoned += report.abandoned


def _count_attempt(models: dict[AttemptKey, AttemptTotals], attempt: Attempted) -> None:
    key = AttemptKey(attempt.provider, attempt.model)
    if key not in models and len(models) >= MAX_MODELS:
        key = AttemptKey(OTHER, "")
    totals = models.setdefault(key, AttemptTotals())
    _add(totals.outcomes, attempt.error or OK)
    totals.retries += attempt.is_retry
    spent = attempt.usage or (0, 0)
    totals.input_tokens += spent[0]
    totals.output_tokens += spent[1]
    observe(totals.duration, attempt.duration_ms, COARSE)


def _attempted(said: Attempted) -> Attempted:
    usage = None if said.usage is None else (_count(said.usage[0]), _count(said.usage[1]))
    return Attempted(
        label(said.target), label(said.provider), label(said.model), "retry" if said.is_retry else "answer",
        _known(said.error, ERROR_CLASSES),  # type: ignore[arg-type]
        duration_ms=finite(said.duration_ms), usage=usage,
    )  # fmt: skip


def _known(name: str | None, names: frozenset[str]) -> str | None:
    return name if name is None or name in names else OTHER


def _joined(rung: str, target: str | None) -> str:
    return f"{rung}:{target}" if target else rung


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _count(said: float) -> int:
    if type(said) is int and 0 <= said <= LARGEST_COUNT:
        return said
    return min(max(0, int(said)), LARGEST_COUNT)


def finite(said: float | None) -> float | None:
    """None for what is no number, or a senseless one."""
    if said is None:
        return None
    number = said if type(said) is float else float(said)
    return number if -LARGEST_VALUE <= number <= LARGEST_VALUE else None
