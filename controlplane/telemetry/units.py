"""Units of a rollout's stage, merged: each counts once, however many instances saw it. Pure (ADR 0110)."""

from collections.abc import Mapping, Sequence

import msgspec

from brownout.wire.telemetry import Arm, ArmTotals, UnitCounts
from controlplane.telemetry.boundary import RefusedError

MAX_UNITS = 20_000
"""Units that are followed of a stage: beyond, half of them are."""

MOST_REQUESTS = 1_000
"""Requests of one unit that count in one fold: no unit outweighs the others."""


class News(msgspec.Struct):
    """What is new of one unit, by measure."""

    at_risk: dict[str, int] = {}
    bad: set[str] = set()
    values: dict[str, float] = {}

    def add(self, other: "News") -> None:
        for measure, n in other.at_risk.items():
            self.at_risk[measure] = self.at_risk.get(measure, 0) + n
        self.bad |= other.bad
        self.values = {**other.values, **self.values}


class Known(msgspec.Struct, frozen=True):
    """Measures for which a unit has counted for good: bad once, or with its first value."""

    bad: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()


UNKNOWN = Known()


def news(arm: Arm, before: Arm | None) -> dict[int, News]:
    """What `arm` says of its units beyond `before`, of the same instance.

    Raises:
        RefusedError: a count went down.
    """
    known = {counts.unit: counts for counts in before.units} if before else {}
    found = {}
    for counts in arm.units:
        old = known.get(counts.unit)
        if old != counts:
            found[counts.unit] = _new(arm.measures, counts, old if old and old.born == counts.born else None)
    return found


def merge(news: Mapping[int, News], known: Mapping[int, Known]) -> tuple[ArmTotals, dict[int, Known]]:
    """What `news` adds to an arm whose units are `known`, and what is known of these units from now on."""
    totals, after = ArmTotals(), {}
    for unit, new in news.items():
        was = known.get(unit)
        totals.units += was is None
        was = was or UNKNOWN
        turned = new.bad - was.bad
        for measure in new.at_risk.keys() | turned:
            if measure not in was.bad:
                n = min(max(new.at_risk.get(measure, 0), measure in turned), MOST_REQUESTS)
                totals.at_risk[measure] = totals.at_risk.get(measure, 0) + n
        for measure in turned:
            totals.bad[measure] = totals.bad.get(measure, 0) + 1
        for measure in new.values.keys() - was.valued:
            totals.observe(measure, new.values[measure])
        after[unit] = Known(was.bad | turned, was.valued | new.values.keys())
    return totals, after


def _new(measures: Sequence[str], now: UnitCounts, before: UnitCounts | None) -> News:
    new = News()
    for place, n in now.at_risk.items():
        fresh = n - (before.at_risk.get(place, 0) if before else 0)
        if fresh < 0:
            raise RefusedError("shrinks", "a unit's requests went down")
        if fresh:
            new.at_risk[_named(measures, place)] = fresh
    new.bad = {_named(measures, place) for place in now.bad}
    new.values = {_named(measures, place): value for place, value in now.values.items()}
    return new


def _named(measures: Sequence[str], place: int) -> str:
    if place >= len(measures):
        raise RefusedError("malformed", "a unit has a measure without a name")
    return measures[place]
