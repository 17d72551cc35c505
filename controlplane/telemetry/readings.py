"""What other capabilities read of the counts, in their own words: no rows, no names of series."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from brownout.evaluation.counts import WITHOUT_UNIT
from brownout.wire.telemetry import ArmTotals, EvaluationKey, RequestKey, RequestTotals
from controlplane.kit.database import ReadConnection
from controlplane.telemetry import arm_tables, outcomes, series, tables, unit_tables
from controlplane.telemetry import fleet_tables as presence
from controlplane.telemetry.unit_tables import Sample
from controlplane.telemetry.values import AnsweredBy

EVERY_KEY = unit_tables.EVERY_KEY


def minute(instant: datetime) -> datetime:
    """The start of the minute that counts of `instant` belong to."""
    return series.floor(instant, series.FINE_S)


def quarter(instant: datetime) -> datetime:
    """The start of the quarter of an hour in which requests and evaluations of `instant` are counted."""
    return series.floor(instant, series.COARSE_S)


class Witness(msgspec.Struct, frozen=True):
    """What one instance has shown of a stage since `first_at`, by variant, and when its presence was heard."""

    key: str
    instance: str
    arms: dict[str, ArmTotals]
    first_at: datetime
    last_at: datetime
    seen_from: datetime | None
    seen_until: datetime | None


async def arms(
    connection: ReadConnection, environment: str, rule: str, *, since: datetime, until: datetime
) -> dict[datetime, dict[str, dict[str, ArmTotals]]]:
    """By minute and SDK key ("": all together, each unit once), what became of each variant that the rollout's `rule`
    served."""
    rows = await tables.rollups_between(
        connection, environment, "arm", step_s=series.FINE_S, since=since, until=until, prefix=rule + series.SEPARATOR
    )
    found: dict[datetime, dict[str, dict[str, ArmTotals]]] = {}
    for row in rows:
        _, variant, key = series.arm_series(row.series)
        found.setdefault(row.at, {}).setdefault(key, {})[variant] = series.decode_arm(row.totals)
    return found


async def witnesses(connection: ReadConnection, environment: str, rule: str) -> tuple[Witness, ...]:
    """Every instance that has reported on the rule."""
    rows = await arm_tables.witnesses(connection, environment, rule)
    return tuple(
        Witness(row.key, row.instance, series.decode_arms(row.arms), row.first_at, row.last_at, row.seen_from,
                row.seen_until)
        for row in rows
    )  # fmt: skip


async def live(connection: ReadConnection, environment: str, now: datetime) -> int:
    """Instances whose presence was written lately, whichever replica heard it."""
    return await presence.live(connection, environment, now)


class Units(msgspec.Struct, frozen=True):
    """Distinct units that a rule served, by variant: one in 2^level is followed."""

    level: int
    followed: dict[str, int]

    def of(self, variant: str) -> int:
        """All of them, exact at level 0; beyond, two in three times within 1 in the root of those that are followed."""
        return self.followed.get(variant, 0) << self.level


async def units(connection: ReadConnection, environment: str, rule: str) -> Units:
    """Of every instance and SDK key, each once."""
    return Units(*await unit_tables.distinct(connection, Sample(environment, rule, EVERY_KEY)))


async def without_unit(
    connection: ReadConnection, environment: str, flag: str, variant: str, *, since: datetime, until: datetime
) -> int:
    """Evaluations of the flag that got `variant` because a split found no unit, by quarters of an hour."""
    rows = await tables.rollups_between(
        connection, environment, "evaluation", step_s=series.COARSE_S, since=since, until=until,
        prefix=series.shard(flag),
    )  # fmt: skip
    key = EvaluationKey(flag, variant, WITHOUT_UNIT)
    return sum(series.decode_evaluations(row.totals).get(key, 0) for row in rows)


def answered(found: Sequence[tuple[RequestKey, RequestTotals]], variant: str) -> tuple[AnsweredBy, ...]:
    """What answered the requests to which `variant` was assigned, busiest first."""
    whole = RequestTotals()
    for key, totals in found:
        if key.variant == variant:
            whole = whole.plus(totals)
    return tuple(outcomes.answered(whole))


async def requests(
    connection: ReadConnection, environment: str, request_class: str, *, since: datetime, until: datetime
) -> list[tuple[RequestKey, RequestTotals]]:
    """Of one request class, by quarters of an hour, without drills."""
    rows = await tables.rollups_between(
        connection, environment, "request", step_s=series.COARSE_S, since=since, until=until,
        prefix=request_class + series.SEPARATOR,
    )  # fmt: skip
    found = [(series.request_key(row.series), series.decode_request(row.totals)) for row in rows]
    return [(key, totals) for key, totals in found if not key.drill]
