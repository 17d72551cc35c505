"""From cumulative messages to what is new in them. Pure: the same fold whatever was lost, repeated or reordered."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from brownout.wire.telemetry import (
    ArmKey,
    ArmTotals,
    CustomKey,
    CustomTotals,
    EvaluationKey,
    RequestKey,
    RequestTotals,
    TelemetryMessage,
    Totals,
)
from controlplane.telemetry.boundary import RefusedError
from controlplane.telemetry.units import News, news

T = TypeVar("T", bound=Totals)


class Counted(msgspec.Struct):
    """What was newly counted, by series. Folding adds; an empty one says nothing happened."""

    evaluations: dict[EvaluationKey, int] = {}
    policies: dict[RequestKey, int] = {}
    requests: dict[RequestKey, RequestTotals] = {}
    custom: dict[CustomKey, CustomTotals] = {}
    units: dict[ArmKey, dict[int, News]] = {}
    levels: dict[str, int] = {}
    """The highest at which an instance follows units of a rule."""
    arms: dict[tuple[str, str, str], ArmTotals] = {}
    """By rule, variant and SDK key: what `units` add, which only the database knows."""
    dropped: int = 0

    @classmethod
    def between(cls, message: TelemetryMessage, before: TelemetryMessage | None) -> Self:
        """What `message` counted since `before`, an earlier message of the same instance and start.

        Raises:
            RefusedError: something was counted less often than before.
        """
        new = cls(
            _counts(message.evaluations, before.evaluations if before else {}),
            _counts(message.policies, before.policies if before else {}),
            _totals(message.requests, before.requests if before else {}),
            _totals(message.custom, before.custom if before else {}),
            dropped=max(0, message.dropped - (before.dropped if before else 0)),
        )
        for key, arm in message.arms.items():
            found = news(arm, before.arms.get(key) if before else None)
            if found:
                new.units[key] = found
                new.levels[key.rule] = max(arm.level, new.levels.get(key.rule, 0))
        return new

    def add(self, other: "Counted") -> None:
        for evaluation, n in other.evaluations.items():
            self.evaluations[evaluation] = self.evaluations.get(evaluation, 0) + n
        for policy, n in other.policies.items():
            self.policies[policy] = self.policies.get(policy, 0) + n
        _merge(self.requests, other.requests)
        _merge(self.custom, other.custom)
        for arm, units in other.units.items():
            present = self.units.setdefault(arm, {})
            for unit, new in units.items():
                present.setdefault(unit, News()).add(new)
        for rule, level in other.levels.items():
            self.levels[rule] = max(level, self.levels.get(rule, 0))
        self.dropped += other.dropped


class Position(NamedTuple):
    """Whose totals, counted since when (Unix ms). The same name under two keys is two instances."""

    key: str
    instance: str
    start: int


def _counts(now: Mapping[Any, int], before: Mapping[Any, int]) -> dict[Any, int]:
    found = {}
    for key, n in now.items():
        new = n - before.get(key, 0)
        if new < 0:
            raise RefusedError("shrinks", "a count went down")
        if new:
            found[key] = new
    return found


def _totals(now: Mapping[Any, Any], before: Mapping[Any, Any]) -> dict[Any, Any]:
    found = {}
    for key, totals in now.items():
        known = before.get(key)
        if totals != known:
            found[key] = _grown(totals.minus(known)) if known else totals
    return found


def _grown(new: T) -> T:
    """Sums of values may go down, counts may not."""
    for field in new.__struct_fields__:
        value = getattr(new, field)
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
        for part in parts:
            if isinstance(part, Totals):
                _grown(part)
            elif isinstance(part, int) and part < 0:
                raise RefusedError("shrinks", f"{field} went down")
    return new


def _merge(into: dict[Any, Any], new: Mapping[Any, Totals]) -> None:
    for key, totals in new.items():
        present = into.get(key)
        into[key] = present.plus(totals) if present else totals
