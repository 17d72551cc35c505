"""What each unit of a rollout's stage has shown: bounded memory, and what instances report merges by unit.

Distinct sampling (Gibbons, 2001): a unit is followed if its hash is below a ceiling that every instance computes alike.
At level n the ceiling lets one unit in 2^n through, in both arms. The level rises when there are more units than there is
room for. docs/adr/0110 says why.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import mmh3

from brownout.wire.telemetry import Arm, ArmKey, ArmTotals, UnitCounts, ceiling

MAX_RULES = 16
"""Rollout stages remembered; the one unused longest is dropped."""

MAX_UNITS = 20_000
"""Units followed a stage, both arms together."""

MAX_TOLD = 2_000
"""Units of a stage in one message."""

TOLD = 6
"""Messages that tell of a unit after it was seen: as many less one may be lost in a row."""

MAX_MEASURES = 64
"""Measures a stage: those of requests, and what its guardrails and gates ask `client.track` for."""


class Outcome(NamedTuple):
    """One request, or one tracked event, in the terms of a rollout. A measure that was not observed is in neither."""

    bad: Mapping[str, bool]
    values: Mapping[str, float]


SEEN = Outcome({}, {})
"""The unit was exposed, and nothing else is known of it."""


class StageUnits:
    """One rule's units. Not thread-safe: Telemetry holds its lock around every call."""

    def __init__(self) -> None:
        self.level = 0
        self._measures: dict[str, int] = {}
        """Name -> its place in the message's table, and its bit in `_known`."""
        self._known: dict[tuple[str, int], int] = {}
        """(Variant, unit) -> bits of the measures that have been bad, or whose value is told."""
        self._told: dict[tuple[str, int], UnitCounts] = {}
        self._seen_at: dict[tuple[str, int], int] = {}
        """(Variant, unit) -> the sequence after which it was seen last."""
        self._totals: dict[str, ArmTotals] = {}

    def observe(self, variant: str, unit: str, outcome: Outcome, sequence: int) -> None:
        """Counts `outcome` for the unit; `sequence` is of the last message."""
        sampling = _sampling(unit)
        if sampling > ceiling(self.level):
            return
        key = (variant, sampling)
        known = self._known.get(key, 0)
        totals = self._totals.setdefault(variant, ArmTotals())
        counts = self._told.get(key)
        if counts is None:
            counts = self._told[key] = UnitCounts(sampling, sequence, {}, [], {})
        self._seen_at[key] = sequence
        for measure, bad in outcome.bad.items():
            place = self._place(measure)
            if place is None or known >> place & 1:
                continue
            counts.at_risk[place] = counts.at_risk.get(place, 0) + 1
            totals.at_risk[measure] = totals.at_risk.get(measure, 0) + 1
            if bad:
                known |= 1 << place
                counts.bad.append(place)
                totals.bad[measure] = totals.bad.get(measure, 0) + 1
        for measure, value in outcome.values.items():
            place = self._place(measure)
            if place is None or known >> place & 1 or not math.isfinite(value):
                continue  # later observations of the same unit would not be independent
            known |= 1 << place
            counts.values[place] = value
            totals.observe(measure, value)
        self._known[key] = known
        while len(self._known) > MAX_UNITS or len(self._told) > MAX_TOLD:
            self._thin()

    def knows(self, variant: str, unit: str) -> bool:
        return (variant, _sampling(unit)) in self._known

    def arms(self, rule: str, sequence: int) -> dict[ArmKey, Arm]:
        """For the message with this number."""
        for key in [key for key, seen in self._seen_at.items() if seen < sequence - TOLD]:
            del self._seen_at[key], self._told[key]
        measures = list(self._measures)
        arms = {
            ArmKey(rule, variant): Arm(totals, self.level, measures, []) for variant, totals in self._totals.items()
        }
        for totals in self._totals.values():
            totals.units = 0
        for variant, _ in self._known:
            self._totals[variant].units += 1 << self.level
        for (variant, _), counts in self._told.items():
            arms[ArmKey(rule, variant)].units.append(counts)
        return arms

    def _place(self, measure: str) -> int | None:
        if measure not in self._measures and len(self._measures) >= MAX_MEASURES:
            return None
        return self._measures.setdefault(measure, len(self._measures))

    def _thin(self) -> None:
        self.level += 1
        most = ceiling(self.level)
        self._known = {key: known for key, known in self._known.items() if key[1] <= most}
        self._told = {key: counts for key, counts in self._told.items() if key[1] <= most}
        self._seen_at = {key: seen for key, seen in self._seen_at.items() if key[1] <= most}


def _sampling(unit: str) -> int:
    return int(mmh3.hash64(unit.encode(), signed=True)[1])  # given half a surrogate pair, mmh3 ends the process
