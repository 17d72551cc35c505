"""The tables of a stage's units: which are followed, and for what each has counted."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from brownout.wire.telemetry import MAX_LEVEL, ArmTotals, ceiling
from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.telemetry.units import MAX_UNITS, Known, News, merge

EVERY_KEY = ""
"""In the place of an SDK key: the units of all of them together, each once."""


class Sample(NamedTuple):
    """One rollout's rule as the instances of one SDK key, or of EVERY_KEY, see it."""

    environment: str
    rule: str
    key: str


async def add_units(
    connection: WriteConnection, sample: Sample, level: int, found: Mapping[str, Mapping[int, News]], now: datetime
) -> dict[str, ArmTotals]:
    """Merges units by variant; returns what that adds to each. `level` is the highest that an instance reports. In a
    transaction that holds the fold's lock."""
    before = await _level(connection, sample)
    level = max(level, before or 0)
    if before is None or level > before:
        await _rise(connection, sample, level, now)
    added = {}
    inserted = 0
    for variant, all_news in found.items():
        news = {unit: new for unit, new in all_news.items() if unit <= ceiling(level)}
        known = await _known(connection, sample, variant, list(news))
        totals, after = merge(news, known)
        added[variant] = totals
        inserted += totals.units
        await _put(connection, sample, variant, {u: one for u, one in after.items() if one != known.get(u)}, now)
    while inserted and level < MAX_LEVEL and await _count(connection, sample) > MAX_UNITS:
        level += 1
        await _rise(connection, sample, level, now)
    return added


async def distinct(connection: ReadConnection, sample: Sample) -> tuple[int, dict[str, int]]:
    """The level, and by variant the units that are followed at it."""
    rows = await connection.execute(
        text(
            "SELECT level, variant, count(variant) AS units FROM rollout_sample LEFT JOIN rollout_unit"
            " USING (environment, rule, key)"
            " WHERE environment = :environment AND rule = :rule AND key = :key GROUP BY level, variant"
        ),
        sample._asdict(),
    )
    found = list(rows)
    return max((row.level for row in found), default=0), {row.variant: row.units for row in found if row.variant}


async def _level(connection: ReadConnection, sample: Sample) -> int | None:
    rows = await connection.execute(
        text("SELECT level FROM rollout_sample WHERE environment = :environment AND rule = :rule AND key = :key"),
        sample._asdict(),
    )
    return rows.scalar_one_or_none()


async def _rise(connection: WriteConnection, sample: Sample, level: int, now: datetime) -> None:
    await connection.execute(
        text(
            "INSERT INTO rollout_sample (environment, rule, key, level, at)"
            " VALUES (:environment, :rule, :key, :level, :now)"
            " ON CONFLICT (environment, rule, key) DO UPDATE SET level = excluded.level, at = excluded.at"
        ),
        {**sample._asdict(), "level": level, "now": now},
    )
    await connection.execute(
        text(
            "DELETE FROM rollout_unit"
            " WHERE environment = :environment AND rule = :rule AND key = :key AND unit > :ceiling"
        ),
        {**sample._asdict(), "ceiling": ceiling(level)},
    )


async def _count(connection: ReadConnection, sample: Sample) -> int:
    rows = await connection.execute(
        text("SELECT count(*) FROM rollout_unit WHERE environment = :environment AND rule = :rule AND key = :key"),
        sample._asdict(),
    )
    return int(rows.scalar_one())


async def _known(connection: ReadConnection, sample: Sample, variant: str, units: list[int]) -> dict[int, Known]:
    rows = await connection.execute(
        text(
            "SELECT unit, bad, valued FROM rollout_unit WHERE environment = :environment AND rule = :rule AND key = :key"
            " AND variant = :variant AND unit = ANY(CAST(:units AS bigint[]))"
        ),
        {**sample._asdict(), "variant": variant, "units": units},
    )
    return {row.unit: Known(frozenset(row.bad), frozenset(row.valued)) for row in rows}


_APART = "\x1f"


async def _put(
    connection: WriteConnection, sample: Sample, variant: str, units: Mapping[int, Known], now: datetime
) -> None:
    if not units:
        return
    await connection.execute(
        text(
            "INSERT INTO rollout_unit (environment, rule, key, variant, unit, bad, valued, at)"
            " SELECT :environment, :rule, :key, :variant, u, string_to_array(b, :apart), string_to_array(v, :apart), :now"
            " FROM unnest(CAST(:units AS bigint[]), CAST(:bad AS text[]), CAST(:valued AS text[])) AS new(u, b, v)"
            " ON CONFLICT (environment, rule, key, unit, variant)"
            " DO UPDATE SET bad = excluded.bad, valued = excluded.valued"
        ),
        {
            **sample._asdict(), "variant": variant, "now": now, "apart": _APART, "units": list(units),
            "bad": [_APART.join(sorted(known.bad)) for known in units.values()],
            "valued": [_APART.join(sorted(known.valued)) for known in units.values()],
        },
    )  # fmt: skip
