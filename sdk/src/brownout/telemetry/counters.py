"""What this process counted: evaluations, policies, outcomes, custom metrics and rollout units.

Counting never blocks and never raises; memory is bounded, and what found no room is counted as dropped. Everything is
cumulative, see `telemetry_wire`. The sync thread asks for `message()` now and then and sends it.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from brownout._sync.clock import wall_s
from brownout.telemetry.requests import LARGEST_VALUE, Report, count, finite, label, observe, sensible
from brownout.telemetry.units import MAX_RULES, SEEN, Outcome, StageUnits
from brownout.wire.telemetry import (
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
    encode,
)

INTERVAL_S = 10.0
"""How often a message is sent, and so the most that dies with a killed process."""

ROOMY = 40 * 1024
"""Bytes of a message beyond which no series is added: an SDK key may send 64 KiB at a time, and series grow."""

EARLY_BAD, EARLY_OF = 10, 20
"""So many bad calls of the last ones are worth a message at once."""

MAX_EVALUATION_SERIES = 2_000
MAX_REQUEST_SERIES = 200
MAX_CUSTOM_SERIES = 200
MAX_ATTRIBUTES = 4

_Key = TypeVar("_Key", EvaluationKey, RequestKey)


class Exposure(NamedTuple):
    """A decision that a rollout's rule made: the unit counts for that arm of that stage."""

    rule: str
    variant: str
    unit: str


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
        self._calls: deque[bool] = deque(maxlen=EARLY_OF)
        self._dropped = 0
        self._full = False
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
            report = sensible(report)
            outcome, calls = report.outcome if exposures else None, report.calls
            with self._lock:
                self._count_request(key, report)
                if not key.drill:
                    self._calls.extend(calls)
                if outcome is not None:
                    for exposure in exposures:
                        self._observe(exposure, outcome)
        except Exception:  # noqa: BLE001 - whatever a service's own objects raise
            self.drop()

    def score(self, key: RequestKey, quality: float, exposures: Sequence[Exposure] = ()) -> None:
        """Counts the quality of a request that was recorded before."""
        number = finite(quality)
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
            key = CustomKey(label(name), ",".join(f"{label(k)}={label(str(v))}".replace(",", ";") for k, v in pairs))
            with self._lock:
                self._count_custom(key, number)
        except Exception:  # noqa: BLE001 - whatever a service's own objects raise
            self.drop()

    def observe(self, exposures: Sequence[Exposure], outcome: Outcome = SEEN) -> None:
        """Counts what the units of these exposures have shown."""
        with self._lock:
            for exposure in exposures:
                self._observe(exposure, outcome)

    def exposed(self, exposure: Exposure) -> bool:
        """Whether the unit was seen here in that arm of that stage."""
        with self._lock:
            stage = self._stages.get(exposure.rule)
            return stage is not None and stage.knows(exposure.variant, exposure.unit)

    def drop(self) -> None:
        """Counts something that could not be counted (without a lock: two at once may count as one)."""
        self._dropped += 1

    @property
    def alarming(self) -> bool:
        """Whether so many of the last calls to models went wrong that waiting to say so would cost detection."""
        return sum(self._calls.copy()) >= EARLY_BAD

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
            message = encode(
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
            self._full = len(message) > ROOMY
            return message

    def _count(self, counts: dict[_Key, int], key: _Key, times: int, limit: int, other: _Key) -> None:
        if key not in counts and (self._full or len(counts) >= limit):
            self.drop()
            key = other
        counts[key] = counts.get(key, 0) + times

    def _totals(self, key: RequestKey) -> RequestTotals:
        if key not in self._requests and (self._full or len(self._requests) >= MAX_REQUEST_SERIES):
            self.drop()
            key = RequestKey(OTHER, "", "", "")
        return self._requests.setdefault(key, RequestTotals())

    def _count_request(self, key: RequestKey, report: Report) -> None:
        totals = self._totals(key)
        count(totals, report)

    def _count_custom(self, key: CustomKey, value: float) -> None:
        totals = self._custom.get(key)
        if totals is None:
            if self._full or len(self._custom) >= MAX_CUSTOM_SERIES:
                self.drop()
                key = CustomKey(OTHER, "")
            totals = self._custom.setdefault(key, CustomTotals())
        totals.n += 1
        totals.total += value
        observe(totals.values, value)

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
