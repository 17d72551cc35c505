"""Reads what a rollout's stage has shown from the telemetry tables, keeping what can no longer change."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from brownout.model.resources import Rollout
from brownout.wire.telemetry import ArmTotals, rollout_rule
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.rollouts.evidence import Facts, Minute
from controlplane.telemetry import readings

SETTLED = timedelta(minutes=3)
"""A minute this old gets no more counts."""

MAX_KEPT = 64
"""Stages whose settled minutes are kept in memory."""

Arms = dict[str, dict[str, ArmTotals]]
"""By SDK key (readings.EVERY_KEY: all together), by variant."""


class FactReader:
    """One per replica; `read` is cheap for a stage of any age."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._settled: dict[tuple[str, str], dict[datetime, Arms]] = {}

    async def read(self, environment: str, key: str, rollout: Rollout) -> Facts:
        """Of the present stage of the present run."""
        progress = rollout.progress
        if progress.started_at is None:
            return Facts()
        rule = rollout_rule(key, progress.run, progress.stage)
        now = self._clock.now()
        settled = self._settled.pop((environment, rule), {})
        self._settled[environment, rule] = settled
        if len(self._settled) > MAX_KEPT:
            del self._settled[next(iter(self._settled))]
        first = max(settled, default=readings.minute(progress.started_at) - timedelta(minutes=1))
        async with self._database.reading() as connection:
            fresh = await readings.arms(
                connection, environment, rule, since=first + timedelta(minutes=1), until=now + timedelta(minutes=1)
            )
            units = await readings.units(connection, environment, rule)
            witnesses = await readings.witnesses(connection, environment, rule)
            live = await readings.live(connection, environment, now)
        table = {**settled, **fresh}
        settled.update({at: arms for at, arms in fresh.items() if at < now - SETTLED})
        return replace(_facts(rollout, table, units), witnesses=witnesses, live=live)


def _facts(rollout: Rollout, table: dict[datetime, Arms], units: readings.Units) -> Facts:
    minutes = tuple(_minute(rollout, at, arms) for at, arms in sorted(table.items()) if not _muted(rollout, at))
    treatment, control = rollout.treatment, rollout.control
    followed = units.followed.get(treatment, 0), units.followed.get(control, 0)
    return Facts(minutes, units.of(treatment), units.of(control), *followed)


def _minute(rollout: Rollout, at: datetime, arms: Arms) -> Minute:
    by_key = {
        key: (variants.get(rollout.treatment, ArmTotals()), variants.get(rollout.control, ArmTotals()))
        for key, variants in arms.items()
    }
    treatment, control = by_key.pop(readings.EVERY_KEY, (ArmTotals(), ArmTotals()))
    return Minute(at, treatment, control, by_key)


def _muted(rollout: Rollout, at: datetime) -> bool:
    """Whether the minute overlaps a pause."""
    end = at + timedelta(minutes=1)
    return any(pause.since < end and (pause.until is None or pause.until > at) for pause in rollout.progress.muted)
