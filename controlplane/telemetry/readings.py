"""What other capabilities read of the counts, in their own words: no rows, no names of series."""

from datetime import datetime

from brownout.telemetry_units import SAMPLE
from brownout.telemetry_wire import ArmTotals, RequestKey, RequestTotals
from controlplane.database import ReadConnection
from controlplane.telemetry import series, tables


def minute(instant: datetime) -> datetime:
    """The start of the minute that counts of `instant` belong to."""
    return series.floor(instant, series.FINE_S)


async def arms(
    connection: ReadConnection, environment: str, rule: str, *, since: datetime, until: datetime
) -> dict[datetime, dict[str, ArmTotals]]:
    """By minute, what became of each variant that the rollout's `rule` served."""
    rows = await tables.rollups_between(
        connection, environment, "arm", step_s=series.FINE_S, since=since, until=until, prefix=rule + series.SEPARATOR
    )
    found: dict[datetime, dict[str, ArmTotals]] = {}
    for row in rows:
        found.setdefault(row.at, {})[series.arm_key(row.series).variant] = series.decode_arm(row.totals)
    return found


async def sampled(connection: ReadConnection, environment: str, rule: str) -> dict[str, int]:
    """Units by variant, in a sample of at most brownout.telemetry_units.SAMPLE of all that `rule` served."""
    return await tables.sample(connection, environment, rule, SAMPLE)


async def requests(
    connection: ReadConnection, environment: str, request_class: str, *, since: datetime, until: datetime
) -> list[tuple[RequestKey, RequestTotals]]:
    """Of one request class, by quarters of an hour."""
    rows = await tables.rollups_between(
        connection, environment, "request", step_s=series.COARSE_S, since=since, until=until,
        prefix=request_class + series.SEPARATOR,
    )  # fmt: skip
    return [(series.request_key(row.series), series.decode_request(row.totals)) for row in rows]
