"""Which units a rollout's stage has seen, and which of them have been bad: bounded memory, each counted once."""

import heapq
import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import mmh3

from brownout.model.measures import MEAN_MEASURES, MEASURES, MeanMeasure, Measure
from brownout.wire.telemetry import Arm, ArmKey, ArmTotals

MAX_RULES = 16
"""Rollout stages remembered; the one unused longest is dropped."""

MAX_UNITS = 20_000
"""Units remembered a stage; the oldest is forgotten, and would be counted again if it came back."""

RECENT_BAD = 256
"""Bad units repeated in every message: as many may turn bad between two messages that arrive."""

SAMPLE = 512
"""Sampled units a stage, both arms together."""

_BIT = {measure: 1 << i for i, measure in enumerate(MEASURES)}


class Outcome(NamedTuple):
    """One request in the terms of a rollout. A measure that was not observed is in neither."""

    bad: Mapping[Measure, bool]
    means: Mapping[MeanMeasure, float]


class StageUnits:
    """One rule's units. Not thread-safe: Telemetry holds its lock around every call."""

    def __init__(self) -> None:
        self._bad_of: dict[int, int] = {}
        """Unit hash -> bits of the measures that have been bad."""
        self._totals: dict[str, ArmTotals] = {}
        self._recent: dict[str, deque[tuple[int, int]]] = {}
        self._sample: list[tuple[int, str]] = []
        """A max-heap (negated sampling hashes) of the smallest `SAMPLE`."""
        self.forgotten = 0

    def observe(self, variant: str, unit: str, outcome: Outcome) -> None:
        identity, sampling = mmh3.hash64(
            unit.encode(), signed=True
        )  # given half a surrogate pair, mmh3 ends the process
        totals = self._totals.get(variant)
        if totals is None:
            totals = self._totals[variant] = ArmTotals()
            self._recent[variant] = deque(maxlen=RECENT_BAD)
        known = self._bad_of.get(identity)
        totals.requests += 1
        if known is None:
            known = 0
            self._remember(sampling, variant)
            totals.units += 1
            _add_means(totals, outcome.means)
        for measure, bad in outcome.bad.items():
            bit = _BIT[measure]
            if known & bit:
                continue
            index = bit.bit_length() - 1
            totals.at_risk[index] += 1
            if bad:
                known |= bit
                totals.bad[index] += 1
                self._recent[variant].append((identity, index))
        self._bad_of[identity] = known

    def _remember(self, sampling: int, variant: str) -> None:
        if len(self._bad_of) >= MAX_UNITS:
            del self._bad_of[next(iter(self._bad_of))]
            self.forgotten += 1
        entry = (-sampling, variant)
        if len(self._sample) < SAMPLE:
            heapq.heappush(self._sample, entry)
        elif entry > self._sample[0]:
            heapq.heapreplace(self._sample, entry)

    def arms(self, rule: str) -> dict[ArmKey, Arm]:
        sample: dict[str, list[int]] = {variant: [] for variant in self._totals}
        for negated, variant in self._sample:
            sample[variant].append(-negated)
        return {
            ArmKey(rule, variant): Arm(totals, list(self._recent[variant]), sample[variant])
            for variant, totals in self._totals.items()
        }


def _add_means(totals: ArmTotals, means: Mapping[MeanMeasure, float]) -> None:
    """A unit's first observation only: later ones of the same unit would not be independent."""
    for measure, value in means.items():
        index = MEAN_MEASURES.index(measure)
        if math.isfinite(value):
            totals.mean_n[index] += 1
            totals.mean_total[index] += value
            totals.mean_squares[index] += value * value
