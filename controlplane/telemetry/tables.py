"""Every statement on the telemetry tables. They are operational state: none of it decides what an SDK serves."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from brownout.telemetry_wire import ArmKey, TelemetryMessage, decode
from controlplane.database import ReadConnection, WriteConnection
from controlplane.telemetry.fold import Position

FOLD_LOCK = 0x666F6C64
"""With the environment's hash: replicas fold one after the other, so nobody merges into what another is writing."""

FLAG_USE_DAYS = 400
"""A flag that nobody asked about for so long counts as never asked about."""


class RollupKey(NamedTuple):
    kind: str
    step_s: int
    at: datetime
    series: str


async def lock_folding(connection: WriteConnection, environment: str) -> None:
    """Until the transaction ends."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:environment))"),
        {"lock": FOLD_LOCK, "environment": environment},
    )


async def cursors(
    connection: ReadConnection, environment: str, positions: Collection[Position]
) -> dict[Position, TelemetryMessage]:
    """The messages up to which these instances are folded."""
    rows = await connection.execute(
        text(
            "SELECT message FROM telemetry_cursor JOIN unnest(CAST(:instances AS text[]), CAST(:starts AS bigint[]))"
            " AS wanted(instance, start) USING (instance, start) WHERE environment = :environment"
        ),
        {
            "environment": environment,
            "instances": [position.instance for position in positions],
            "starts": [position.start for position in positions],
        },
    )
    messages = [decode(row.message) for row in rows]
    return {Position(message.instance, message.start): message for message in messages}


async def advance_cursors(
    connection: WriteConnection, environment: str, messages: Iterable[tuple[Position, int, bytes]], now: datetime
) -> None:
    """Each message is (position, sequence, encoded)."""
    rows = list(messages)
    await connection.execute(
        text(
            "INSERT INTO telemetry_cursor (environment, instance, start, sequence, message, updated_at)"
            " SELECT :environment, i, b, s, m, :now FROM unnest(CAST(:instances AS text[]), CAST(:starts AS bigint[]),"
            " CAST(:sequences AS bigint[]), CAST(:messages AS bytea[])) AS new(i, b, s, m)"
            " ON CONFLICT (environment, instance, start)"
            " DO UPDATE SET sequence = excluded.sequence, message = excluded.message, updated_at = excluded.updated_at"
        ),
        {
            "environment": environment,
            "now": now,
            "instances": [position.instance for position, _, _ in rows],
            "starts": [position.start for position, _, _ in rows],
            "sequences": [sequence for _, sequence, _ in rows],
            "messages": [message for _, _, message in rows],
        },
    )


async def rollups(connection: ReadConnection, environment: str, keys: Sequence[RollupKey]) -> dict[RollupKey, bytes]:
    """Those of `keys` that exist."""
    rows = await connection.execute(
        text(
            "SELECT kind, step_s, at, series, totals FROM telemetry_rollup JOIN unnest(CAST(:kinds AS text[]),"
            " CAST(:steps AS integer[]), CAST(:ats AS timestamptz[]), CAST(:series AS text[]))"
            " AS wanted(kind, step_s, at, series) USING (kind, step_s, at, series)"
            " WHERE environment = :environment AND at >= :first"
        ),
        {"environment": environment, "first": min(key.at for key in keys), **_columns(keys)},
    )
    return {RollupKey(row.kind, row.step_s, row.at, row.series): row.totals for row in rows}


async def put_rollups(connection: WriteConnection, environment: str, rows: dict[RollupKey, bytes]) -> None:
    await connection.execute(
        text(
            "INSERT INTO telemetry_rollup (environment, kind, step_s, at, series, totals)"
            " SELECT :environment, kind, step_s, at, series, totals FROM unnest(CAST(:kinds AS text[]),"
            " CAST(:steps AS integer[]), CAST(:ats AS timestamptz[]), CAST(:series AS text[]),"
            " CAST(:totals AS bytea[])) AS new(kind, step_s, at, series, totals)"
            " ON CONFLICT (environment, kind, step_s, at, series) DO UPDATE SET totals = excluded.totals"
        ),
        {"environment": environment, "totals": list(rows.values()), **_columns(list(rows))},
    )


def _columns(keys: Sequence[RollupKey]) -> dict[str, list[object]]:
    return {
        "kinds": [key.kind for key in keys],
        "steps": [key.step_s for key in keys],
        "ats": [key.at for key in keys],
        "series": [key.series for key in keys],
    }


class RollupRow(NamedTuple):
    at: datetime
    series: str
    totals: bytes


async def rollups_between(
    connection: ReadConnection,
    environment: str,
    kind: str,
    *,
    step_s: int,
    since: datetime,
    until: datetime,
    prefix: str = "",
) -> list[RollupRow]:
    """In order of time; `prefix` keeps the series that start with it."""
    rows = await connection.execute(
        text(
            "SELECT at, series, totals FROM telemetry_rollup WHERE environment = :environment AND kind = :kind"
            " AND step_s = :step AND at >= :since AND at < :until AND starts_with(series, :prefix) ORDER BY at, series"
        ),
        {
            "environment": environment, "kind": kind, "step": step_s, "since": since, "until": until, "prefix": prefix,
        },
    )  # fmt: skip
    return [RollupRow(row.at, row.series, row.totals) for row in rows]


async def first_rollup(
    connection: ReadConnection, environment: str, kind: str, step_s: int, *, since: datetime, until: datetime
) -> datetime | None:
    """The first step with any row."""
    rows = await connection.execute(
        text(
            "SELECT min(at) FROM telemetry_rollup WHERE environment = :environment AND kind = :kind"
            " AND step_s = :step AND at >= :since AND at < :until"
        ),
        {"environment": environment, "kind": kind, "step": step_s, "since": since, "until": until},
    )
    found: datetime | None = rows.scalar_one()
    return found


class FlagUseRow(NamedTuple):
    flag: str
    variant: str
    first_at: datetime
    last_at: datetime


async def put_flag_uses(
    connection: WriteConnection, environment: str, served: Sequence[tuple[str, str]], at: datetime
) -> None:
    """Each of (flag, variant) was served at `at`; rows that say so already are left alone."""
    await connection.execute(
        text(
            "INSERT INTO flag_use AS known (environment, flag, variant, first_at, last_at)"
            " SELECT :environment, f, v, :at, :at FROM unnest(CAST(:flags AS text[]), CAST(:variants AS text[]))"
            " AS new(f, v) ON CONFLICT (environment, flag, variant)"
            " DO UPDATE SET last_at = excluded.last_at WHERE known.last_at < excluded.last_at"
        ),
        {
            "environment": environment,
            "at": at,
            "flags": [flag for flag, _ in served],
            "variants": [variant for _, variant in served],
        },
    )


async def flag_uses(connection: ReadConnection, environment: str, flags: Sequence[str]) -> list[FlagUseRow]:
    rows = await connection.execute(
        text(
            "SELECT flag, variant, first_at, last_at FROM flag_use"
            " WHERE environment = :environment AND flag = ANY(CAST(:flags AS text[])) ORDER BY flag, variant"
        ),
        {"environment": environment, "flags": list(flags)},
    )
    return [FlagUseRow(*row) for row in rows]


async def counted_since(connection: ReadConnection, environment: str) -> datetime | None:
    """When the environment's first evaluation was counted."""
    rows = await connection.execute(
        text("SELECT min(first_at) FROM flag_use WHERE environment = :environment"), {"environment": environment}
    )
    found: datetime | None = rows.scalar_one()
    return found


async def add_bad_units(
    connection: WriteConnection, environment: str, found: dict[ArmKey, set[tuple[int, int]]], now: datetime
) -> dict[ArmKey, list[int]]:
    """Remembers units that became bad; answers the indices of measures of those that nobody had reported before."""
    rows = [(key.rule, key.variant, unit, measure) for key, units in found.items() for unit, measure in sorted(units)]
    if not rows:
        return {}
    added = await connection.execute(
        text(
            "INSERT INTO rollout_bad_unit (environment, rule, variant, unit, measure, at)"
            " SELECT :environment, r, v, u, m, :now FROM unnest(CAST(:rules AS text[]), CAST(:variants AS text[]),"
            " CAST(:units AS bigint[]), CAST(:measures AS smallint[])) AS new(r, v, u, m)"
            " ON CONFLICT DO NOTHING RETURNING rule, variant, measure"
        ),
        {
            "environment": environment,
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


async def add_sample(
    connection: WriteConnection, environment: str, found: dict[ArmKey, set[int]], size: int, now: datetime
) -> None:
    """Merges sampled units, keeping at least the `size` smallest hashes of each rule."""
    by_rule: dict[str, list[tuple[int, str]]] = {}
    for key, units in found.items():
        by_rule.setdefault(key.rule, []).extend((unit, key.variant) for unit in units)
    for rule, candidates in by_rule.items():
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


async def make_partition(connection: WriteConnection, day: datetime) -> None:
    """The day's partition of the rollups, when it does not exist. Replicas take turns: of two at once, IF NOT EXISTS
    alone refuses one."""
    start = day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    name = f"telemetry_rollup_{start:%Y%m%d}"
    exists = await connection.execute(text("SELECT to_regclass(:name) IS NOT NULL AS found"), {"name": name})
    if not exists.scalar_one():
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock, 0)"), {"lock": FOLD_LOCK})
        await connection.execute(
            text(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF telemetry_rollup"
                f" FOR VALUES FROM ('{start:%Y-%m-%d}T00:00Z') TO ('{start + timedelta(days=1):%Y-%m-%d}T00:00Z')"
            )
        )


async def drop_older(connection: WriteConnection, now: datetime, retention_days: int) -> list[str]:
    """Drops the rollups' partitions, and deletes everything else, older than the retention."""
    oldest = now - timedelta(days=retention_days)
    rows = await connection.execute(
        text("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'telemetry_rollup'::regclass")
    )
    dropped = [row.name for row in rows if row.name < f"telemetry_rollup_{oldest.astimezone(UTC):%Y%m%d}"]
    for name in dropped:
        await connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    for statement in (
        "DELETE FROM rollout_bad_unit WHERE at < :oldest",
        "DELETE FROM rollout_sample WHERE at < :oldest",
        "DELETE FROM fleet_convergence WHERE published_at < :oldest",
    ):
        await connection.execute(text(statement), {"oldest": oldest})
    await connection.execute(
        text("DELETE FROM flag_use WHERE last_at < :old"), {"old": now - timedelta(days=FLAG_USE_DAYS)}
    )
    await connection.execute(
        text("DELETE FROM telemetry_cursor WHERE updated_at < :old"), {"old": now - timedelta(days=2)}
    )
    await connection.execute(
        text("DELETE FROM fleet_instance WHERE last_seen_at < :old"), {"old": now - timedelta(days=2)}
    )
    return dropped
