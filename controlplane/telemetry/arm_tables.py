"""The tables of rollouts' evidence: units that became bad, sampled units, and what each instance has shown."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from brownout.wire.telemetry import ArmKey
from controlplane.kit.database import ReadConnection, WriteConnection


async def add_bad_units(
    connection: WriteConnection,
    environment: str,
    key: str,
    found: dict[ArmKey, set[tuple[int, int]]],
    *,
    limit: int,
    now: datetime,
) -> dict[ArmKey, list[int]]:
    """Remembers units that became bad, of each rule at most `limit`; returns the indices of measures of those that nobody
    had reported with this SDK key before."""
    rows = [(arm.rule, arm.variant, unit, measure) for arm, units in found.items() for unit, measure in sorted(units)]
    rows = rows[:limit]
    if not rows:
        return {}
    added = await connection.execute(
        text(
            "INSERT INTO rollout_bad_unit (environment, key, rule, variant, unit, measure, at)"
            " SELECT :environment, :key, r, v, u, m, :now FROM unnest(CAST(:rules AS text[]), CAST(:variants AS text[]),"
            " CAST(:units AS bigint[]), CAST(:measures AS smallint[])) AS new(r, v, u, m)"
            " WHERE r NOT IN (SELECT rule FROM rollout_bad_unit WHERE environment = :environment AND key = :key"
            " AND rule = ANY(CAST(:rules AS text[])) GROUP BY rule HAVING count(*) >= :limit)"
            " ON CONFLICT DO NOTHING RETURNING rule, variant, measure"
        ),
        {
            "environment": environment,
            "key": key,
            "limit": limit,
            "now": now,
            "rules": [row[0] for row in rows],
            "variants": [row[1] for row in rows],
            "units": [row[2] for row in rows],
            "measures": [row[3] for row in rows],
        },
    )
    new: dict[ArmKey, list[int]] = {}
    for row in added:
        new.setdefault(ArmKey(row.rule, row.variant), []).append(row.measure)
    return new


class EvidenceRow(NamedTuple):
    """What one instance has shown of one rule; `arms` is encoded."""

    rule: str
    key: str
    instance: str
    arms: bytes
    units: int
    bad: int


EVIDENCE_S = 60
"""An instance's evidence is written again this seldom, and whenever its units have quadrupled or its bad units doubled."""


async def put_evidence(
    connection: WriteConnection, environment: str, rows: Sequence[EvidenceRow], now: datetime
) -> None:
    await connection.execute(
        text(
            "INSERT INTO rollout_evidence AS old (environment, rule, key, instance, arms, units, bad, first_at, last_at)"
            " SELECT :environment, r, k, i, a, u, b, :now, :now FROM unnest(CAST(:rule AS text[]),"
            " CAST(:key AS text[]), CAST(:instance AS text[]), CAST(:arms AS bytea[]), CAST(:units AS bigint[]),"
            " CAST(:bad AS bigint[])) AS new(r, k, i, a, u, b)"
            " ON CONFLICT (environment, rule, key, instance) DO UPDATE SET arms = excluded.arms, units = excluded.units,"
            " bad = excluded.bad, last_at = excluded.last_at"
            " WHERE old.last_at <= excluded.last_at - make_interval(secs => :rewrite)"
            " OR excluded.units >= 4 * old.units OR (excluded.bad > old.bad AND excluded.bad >= 2 * old.bad)"
        ),
        {
            "environment": environment,
            "now": now,
            "rewrite": EVIDENCE_S,
            **{field: [getattr(row, field) for row in rows] for field in EvidenceRow._fields},
        },
    )


class WitnessRow(NamedTuple):
    """An instance's evidence, and since and until when it was present: None when it never was."""

    key: str
    instance: str
    arms: bytes
    first_at: datetime
    last_at: datetime
    seen_from: datetime | None
    seen_until: datetime | None


async def witnesses(connection: ReadConnection, environment: str, rule: str) -> list[WitnessRow]:
    """Of a stage. Presence is of the same instance under the same SDK key."""
    rows = await connection.execute(
        text(
            "SELECT e.key, e.instance, e.arms, e.first_at, e.last_at, f.first_seen_at, f.last_seen_at"
            " FROM rollout_evidence e LEFT JOIN fleet_instance f USING (environment, key, instance)"
            " WHERE environment = :environment AND rule = :rule"
        ),
        {"environment": environment, "rule": rule},
    )
    return [WitnessRow(*row) for row in rows]


async def add_sample(
    connection: WriteConnection, environment: str, found: dict[ArmKey, set[int]], size: int, now: datetime
) -> None:
    """Merges sampled units, keeping at least the `size` smallest hashes of each rule."""
    by_rule: dict[str, list[tuple[int, str]]] = {}
    for key, units in found.items():
        by_rule.setdefault(key.rule, []).extend((unit, key.variant) for unit in units)
    for rule, candidates in sorted(by_rule.items()):
        last = await _last_sampled(connection, environment, rule, size)
        wanted = sorted(unit for unit in candidates if last is None or unit[0] < last)[:size]
        if wanted:
            await connection.execute(
                text(
                    "INSERT INTO rollout_sample (environment, rule, variant, unit, at)"
                    " SELECT :environment, :rule, v, u, :now FROM unnest(CAST(:variants AS text[]),"
                    " CAST(:units AS bigint[])) AS new(v, u) ON CONFLICT DO NOTHING"
                ),
                {
                    "environment": environment,
                    "rule": rule,
                    "now": now,
                    "variants": [variant for _, variant in wanted],
                    "units": [unit for unit, _ in wanted],
                },
            )
            await _trim_sample(connection, environment, rule, size)


TRIMMED_AT = 8
"""A sample may grow to so many times its size before it is cut: an honest one is not before millions of units."""


async def _trim_sample(connection: WriteConnection, environment: str, rule: str, size: int) -> None:
    place = {"environment": environment, "rule": rule}
    rows = await connection.execute(
        text("SELECT count(*) FROM rollout_sample WHERE environment = :environment AND rule = :rule"), place
    )
    if rows.scalar_one() > TRIMMED_AT * size:
        await connection.execute(
            text("DELETE FROM rollout_sample WHERE environment = :environment AND rule = :rule AND unit > :last"),
            {**place, "last": await _last_sampled(connection, environment, rule, size)},
        )


async def _last_sampled(connection: ReadConnection, environment: str, rule: str, size: int) -> int | None:
    """The largest hash that still matters; None while there is room."""
    rows = await connection.execute(
        text(
            "SELECT unit FROM rollout_sample WHERE environment = :environment AND rule = :rule"
            " ORDER BY unit OFFSET :last LIMIT 1"
        ),
        {"environment": environment, "rule": rule, "last": size - 1},
    )
    return rows.scalar_one_or_none()


async def sample(connection: ReadConnection, environment: str, rule: str, size: int) -> dict[str, int]:
    """Sampled units by variant: of the `size` smallest hashes."""
    rows = await connection.execute(
        text(
            "SELECT variant, count(*) AS units FROM (SELECT variant FROM rollout_sample WHERE environment = :environment"
            " AND rule = :rule ORDER BY unit LIMIT :size) AS smallest GROUP BY variant"
        ),
        {"environment": environment, "rule": rule, "size": size},
    )
    return {row.variant: row.units for row in rows}
