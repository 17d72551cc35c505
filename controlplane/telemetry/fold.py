"""From cumulative messages to what is new in them. Pure: the same fold whatever was lost, repeated or reordered."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from brownout.telemetry_wire import (
    Arm,
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

EMPTY_ARM = Arm(ArmTotals(), [], [])


class Counted(msgspec.Struct):
    """What was newly counted, by series. Folding adds; an empty one says nothing happened."""

    evaluations: dict[EvaluationKey, int] = {}
    policies: dict[RequestKey, int] = {}
    requests: dict[RequestKey, RequestTotals] = {}
    custom: dict[CustomKey, CustomTotals] = {}
    arms: dict[ArmKey, ArmTotals] = {}
    """Without `bad`: which bad units are new for the fleet, only the database knows."""
    bad_units: dict[ArmKey, set[tuple[int, int]]] = {}
    sample: dict[ArmKey, set[int]] = {}
    dropped: int = 0

    def add(self, message: TelemetryMessage, before: TelemetryMessage | None) -> None:
        """Adds what `message` counted since `before`, an earlier message of the same instance and start."""
        _add_counts(self.evaluations, message.evaluations, before.evaluations if before else {})
        _add_counts(self.policies, message.policies, before.policies if before else {})
        _add_totals(self.requests, message.requests, before.requests if before else {})
        _add_totals(self.custom, message.custom, before.custom if before else {})
        self.dropped += message.dropped - (before.dropped if before else 0)
        for key, arm in message.arms.items():
            self._add_arm(key, arm, before.arms.get(key, EMPTY_ARM) if before else EMPTY_ARM)

    def _add_arm(self, key: ArmKey, arm: Arm, before: Arm) -> None:
        if arm.totals.requests < before.totals.requests:
            before = EMPTY_ARM  # the instance forgot this stage and met it again: it counts from zero
        if arm.totals == before.totals:
            return
        new = arm.totals.minus(before.totals)
        new.bad = [0] * len(new.bad)
        known = self.arms.get(key)
        self.arms[key] = known.plus(new) if known else new
        self.bad_units.setdefault(key, set()).update(set(arm.bad_units).difference(before.bad_units))
        self.sample.setdefault(key, set()).update(set(arm.sample).difference(before.sample))


class Position(NamedTuple):
    """Whose totals, counted since when (Unix ms)."""

    instance: str
    start: int


def latest(messages: Iterable[TelemetryMessage]) -> dict[Position, TelemetryMessage]:
    """The newest message of each instance and start: it contains all the earlier ones."""
    newest: dict[Position, TelemetryMessage] = {}
    for message in messages:
        position = Position(message.instance, message.start)
        known = newest.get(position)
        if known is None or known.sequence < message.sequence:
            newest[position] = message
    return newest


def _add_counts(into: dict[Any, int], now: Mapping[Any, int], before: Mapping[Any, int]) -> None:
    for key, n in now.items():
        if new := n - before.get(key, 0):
            into[key] = into.get(key, 0) + new


def _add_totals(into: dict[Any, Any], now: Mapping[Any, Totals], before: Mapping[Any, Totals]) -> None:
    for key, totals in now.items():
        known = before.get(key)
        if totals == known:
            continue
        new = totals.minus(known) if known else totals
        present = into.get(key)
        into[key] = present.plus(new) if present else new
