"""What this process counted: evaluations, policies, outcomes, custom metrics and rollout units.

Counting never blocks and never raises; memory is bounded, and what found no room is counted as dropped. Everything is
cumulative, see `telemetry_wire`. The sync thread asks for `message()` now and then and sends it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar, get_args

from brownout._sync.clock import wall_s
from brownout.model.values import ErrorClass, RungType
from brownout.telemetry.sketch import bucket_of
from brownout.telemetry.units import MAX_RULES, Outcome, StageUnits
from brownout.wire.telemetry import (
    ENCODER,
    OTHER,
    VERSION,
    Arm,
    ArmKey,
    CustomKey,
    CustomTotals,
    EvaluationKey,
    RequestKey,
    RequestTotals,
    TelemetryMessage,
)

INTERVAL_S = 10.0
"""How often a message is sent, and so the most that dies with a killed process."""

MAX_EVALUATION_SERIES = 2_000
MAX_REQUEST_SERIES = 200
MAX_CUSTOM_SERIES = 200
MAX_ATTRIBUTES = 4
MAX_LABEL = 100
"""Characters of a custom metric's name or attribute value that are kept."""
LARGEST_COUNT = 2**32
LARGEST_VALUE = 1e100
"""What one request or metric can say: sums of them, and of their squares, stay numbers that a message can carry."""

_NO_CONTROL = dict.fromkeys((*range(32), 127), " ")

RUNGS = frozenset(get_args(RungType))
ERROR_CLASSES = frozenset(get_args(ErrorClass))

_Key = TypeVar("_Key", EvaluationKey, RequestKey)


class Exposure(NamedTuple):
    """A decision that a rollout's rule made: the unit counts for that arm of that stage."""

    rule: str
    variant: str
    unit: str


class Report(NamedTuple):
    """What a service says of one request. None means: not known, and so not counted either way."""

    error_class: str | None = None
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
    cost: float | None = None
    """In the service's own currency."""

    @property
    def outcome(self) -> Outcome:
        bad: dict[str, bool] = {
            "error": self.error_class is not None,
            "refusal": self.refused,
            "fallback": self.rung is not None,
            "escalation": self.escalated,
        }
        if self.format_ok is not None:
            bad["format_error"] = not self.format_ok
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


class Telemetry:
    """One process's counters. `now` returns Unix seconds by the host's clock: they name a life, and nothing is timed by
    them."""

    def __init__(self, instance: str = "", service: str = "", *, now: Callable[[], float] = wall_s) -> None:
        self._instance = instance
        self._service = service
        self._now = now
        self._start = int(now() * 1000)
        self._sequence = 0
        self._lock = threading.Lock()
        self._evaluations: dict[EvaluationKey, int] = {}
        self._policies: dict[RequestKey, int] = {}
        self._requests: dict[RequestKey, RequestTotals] = {}
        self._custom: dict[CustomKey, CustomTotals] = {}
        self._stages: dict[str, StageUnits] = {}
        self._dropped = 0
        self._fingerprint: tuple[int, ...] = ()

    def identify(self, instance: str, service: str) -> None:
        """Says who counts; before the first message."""
        self._instance, self._service = instance, service

    def count_evaluation(self, key: EvaluationKey, times: int) -> None:
        """Evaluations are counted where they happen (brownout.decision.Outcome), and brought here now and then."""
        with self._lock:
            self._count(self._evaluations, key, times, MAX_EVALUATION_SERIES, EvaluationKey(OTHER, "", ""))

    def count_policy(self, key: RequestKey, times: int) -> None:
        with self._lock:
            self._count(self._policies, key, times, MAX_REQUEST_SERIES, RequestKey(OTHER, "", "", ""))

    def record(self, key: RequestKey, report: Report, exposures: Sequence[Exposure] = ()) -> None:
        """Counts one request's outcome under its labels, and once for each rollout that decided something in it."""
        try:
            report = _sensible(report)
            outcome = report.outcome
            with self._lock:
                self._count_request(key, report)
                for exposure in exposures:
                    self._observe(exposure, outcome)
        except Exception:  # noqa: BLE001 - whatever a service's own objects raise
            self.drop()

    def score(self, key: RequestKey, quality: float, exposures: Sequence[Exposure] = ()) -> None:
        """Counts the quality of a request that was recorded before."""
        number = _number(quality)
        if number is None:
            self.drop()
            return
        with self._lock:
            totals = self._totals(key)
            totals.quality_n += 1
            totals.quality_total += number
            for exposure in exposures:
                self._observe(exposure, Outcome({}, {"quality": number}))

    def track(self, name: str, value: float = 1.0, attributes: Mapping[str, object] | None = None) -> None:
        """Counts a custom metric. At most MAX_ATTRIBUTES attributes are kept, and MAX_CUSTOM_SERIES series in all."""
        try:
            number = float(value)
            if not abs(number) <= LARGEST_VALUE:
                self.drop()
                return
            pairs = sorted((attributes or {}).items())[:MAX_ATTRIBUTES]
            key = CustomKey(_label(name), ",".join(f"{_label(k)}={_label(str(v))}".replace(",", ";") for k, v in pairs))
            with self._lock:
                self._count_custom(key, number)
        except Exception:  # noqa: BLE001 - whatever a service's own objects raise
            self.drop()

    def drop(self) -> None:
        """Counts something that could not be counted (without a lock: two at once may count as one)."""
        self._dropped += 1

    @property
    def dropped(self) -> int:
        return self._dropped

    def message(self, *, final: bool = False) -> bytes | None:
        """The next message, encoded; None when nothing changed since the last one and this is not the final one."""
        with self._lock:
            fingerprint = (
                sum(self._evaluations.values()),
                sum(self._policies.values()),
                sum(totals.requests + totals.quality_n for totals in self._requests.values()),
                sum(totals.n for totals in self._custom.values()),
                self.dropped,
            )
            if fingerprint == self._fingerprint and not final:
                return None
            self._fingerprint = fingerprint
            self._sequence += 1
            arms: dict[ArmKey, Arm] = {}
            for rule, stage in self._stages.items():
                arms |= stage.arms(rule, self._sequence)
            return ENCODER.encode(
                TelemetryMessage(
                    VERSION,
                    self._instance,
                    self._start,
                    self._sequence,
                    self._service,
                    int(self._now() * 1000),
                    self._evaluations,
                    self._policies,
                    self._requests,
                    self._custom,
                    arms,
                    self.dropped,
                )
            )

    def _count(self, counts: dict[_Key, int], key: _Key, times: int, limit: int, other: _Key) -> None:
        if key not in counts and len(counts) >= limit:
            self.drop()
            key = other
        counts[key] = counts.get(key, 0) + times

    def _totals(self, key: RequestKey) -> RequestTotals:
        if key not in self._requests and len(self._requests) >= MAX_REQUEST_SERIES:
            self.drop()
            key = RequestKey(OTHER, "", "", "")
        return self._requests.setdefault(key, RequestTotals())

    def _count_request(self, key: RequestKey, report: Report) -> None:
        totals = self._totals(key)
        totals.requests += 1
        if report.error_class is not None:
            name = report.error_class if report.error_class in ERROR_CLASSES else OTHER
            totals.errors[name] = totals.errors.get(name, 0) + 1
        if report.rung is not None:
            rung = report.rung if report.rung in RUNGS else OTHER
            totals.fallbacks[rung] = totals.fallbacks.get(rung, 0) + 1
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
        _into(totals.duration, report.duration_ms)
        _into(totals.time_to_first_token, report.time_to_first_token_ms)
        if report.quality is not None:
            totals.quality_n += 1
            totals.quality_total += report.quality

    def _count_custom(self, key: CustomKey, value: float) -> None:
        totals = self._custom.get(key)
        if totals is None:
            if len(self._custom) >= MAX_CUSTOM_SERIES:
                self.drop()
                key = CustomKey(OTHER, "")
            totals = self._custom.setdefault(key, CustomTotals())
        totals.n += 1
        totals.total += value
        _into(totals.values, value)

    def _observe(self, exposure: Exposure, outcome: Outcome) -> None:
        self._stage(exposure.rule).observe(exposure.variant, exposure.unit, outcome, self._sequence)

    def _stage(self, rule: str) -> StageUnits:
        """The rule's units, moved to the end of the order in which stages are dropped."""
        stage = self._stages.pop(rule, None) or StageUnits()
        self._stages[rule] = stage
        if len(self._stages) > MAX_RULES:
            del self._stages[next(iter(self._stages))]
            self.drop()
        return stage


def _sensible(report: Report) -> Report:
    """`report` as what its types promise, whatever was said; raises before anything of it is counted."""
    return report._replace(
        input_tokens=_count_of(report.input_tokens),
        output_tokens=_count_of(report.output_tokens),
        duration_ms=_number(report.duration_ms),
        time_to_first_token_ms=_number(report.time_to_first_token_ms),
        quality=_number(report.quality),
        cost=_number(report.cost),
        refused=bool(report.refused),
        format_ok=None if report.format_ok is None else bool(report.format_ok),
        completed=None if report.completed is None else bool(report.completed),
        escalated=bool(report.escalated),
        retrieval_hit=None if report.retrieval_hit is None else bool(report.retrieval_hit),
    )


def _count_of(said: float) -> int:
    return min(max(0, int(said)), LARGEST_COUNT)


def _number(said: float | None) -> float | None:
    """None for what is no number, or a senseless one."""
    number = None if said is None else float(said)
    return number if number is not None and abs(number) <= LARGEST_VALUE else None


def _label(said: str) -> str:
    """Without control characters, which no receiver takes. Raises UnicodeEncodeError for what a message cannot carry."""
    kept = str.__str__(said)[:MAX_LABEL].translate(_NO_CONTROL)
    kept.encode()
    return kept


def _into(sketch: dict[int, int], value: float | None) -> None:
    if value is not None:
        bucket = bucket_of(value)
        sketch[bucket] = sketch.get(bucket, 0) + 1
