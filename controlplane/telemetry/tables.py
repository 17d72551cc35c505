"""Every statement on the telemetry tables. They are operational state: none of it decides what an SDK serves."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.telemetry.fold import Position
from controlplane.telemetry.refusals import Refusal
from controlplane.telemetry.values import Refused

FOLD_LOCK = 0x666F6C64
"""With the environment's hash: replicas fold one after the other, so nobody merges into what another is writing."""

FLAG_USE_DAYS = 400
"""A flag that nobody asked about for so long counts as never asked about."""


REFUSED_SHOWN = timedelta(days=1)

RECENT_S, RECENT_DAYS = 10, 8
"""Rollups of ten seconds have a table of their own, `telemetry_recent`, whose partitions are dropped sooner."""

_ROLLUPS = ("telemetry_rollup", "telemetry_recent")


def _table(step_s: int) -> str:
    return _ROLLUPS[step_s == RECENT_S]


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
) -> dict[Position, bytes]:
    """The messages, encoded, up to which these instances are folded."""
    rows = await connection.execute(
        text(
            "SELECT key, instance, start, message FROM telemetry_cursor JOIN unnest(CAST(:keys AS text[]),"
            " CAST(:instances AS text[]), CAST(:starts AS bigint[])) AS wanted(key, instance, start)"
            " USING (key, instance, start) WHERE environment = :environment"
        ),
        {"environment": environment, **_positions(positions)},
    )
    return {Position(row.key, row.instance, row.start): row.message for row in rows}


async def starts(connection: ReadConnection, environment: str, key: str, instances: Collection[str]) -> dict[str, int]:
    """How many counters of these instances are known."""
    rows = await connection.execute(
        text(
            "SELECT instance, count(*) AS n FROM telemetry_cursor WHERE environment = :environment AND key = :key"
            " AND instance = ANY(CAST(:instances AS text[])) GROUP BY instance"
        ),
        {"environment": environment, "key": key, "instances": list(instances)},
    )
    return {row.instance: row.n for row in rows}


async def make_room(
    connection: WriteConnection, environment: str, key: str, *, limit: int, wanted: int, idle_since: datetime
) -> int:
    """How many of `wanted` new cursors the key may have. Those idle since so long give way, the longest idle first."""
    place = {"environment": environment, "key": key}
    count = text("SELECT count(*) FROM telemetry_cursor WHERE environment = :environment AND key = :key")
    present: int = (await connection.execute(count, place)).scalar_one()
    if present + wanted <= limit:
        return wanted
    await connection.execute(
        text(
            "DELETE FROM telemetry_cursor WHERE environment = :environment AND key = :key AND (instance, start) IN ("
            "SELECT instance, start FROM telemetry_cursor WHERE environment = :environment AND key = :key"
            " AND updated_at < :idle_since ORDER BY updated_at LIMIT :excess)"
        ),
        {**place, "idle_since": idle_since, "excess": present + wanted - limit},
    )
    left: int = (await connection.execute(count, place)).scalar_one()
    return max(0, min(wanted, limit - left))


async def advance_cursors(
    connection: WriteConnection, environment: str, messages: Iterable[tuple[Position, int, bytes]], now: datetime
) -> None:
    """Each message is (position, sequence, encoded)."""
    rows = list(messages)
    await connection.execute(
        text(
            "INSERT INTO telemetry_cursor (environment, key, instance, start, sequence, message, updated_at)"
            " SELECT :environment, k, i, b, s, m, :now FROM unnest(CAST(:keys AS text[]), CAST(:instances AS text[]),"
            " CAST(:starts AS bigint[]), CAST(:sequences AS bigint[]), CAST(:messages AS bytea[])) AS new(k, i, b, s, m)"
            " ON CONFLICT (environment, key, instance, start)"
            " DO UPDATE SET sequence = excluded.sequence, message = excluded.message, updated_at = excluded.updated_at"
        ),
        {
            "environment": environment,
            "now": now,
            "sequences": [sequence for _, sequence, _ in rows],
            "messages": [message for _, _, message in rows],
            **_positions([position for position, _, _ in rows]),
        },
    )


def _positions(positions: Collection[Position]) -> dict[str, list[object]]:
    return {
        "keys": [position.key for position in positions],
        "instances": [position.instance for position in positions],
        "starts": [position.start for position in positions],
    }


async def admit_series(
    connection: WriteConnection, environment: str, key: str, kind: str, *, day: date, wanted: Sequence[int], limit: int
) -> set[int]:
    """All that the key uses on that day, having added the first of `wanted`, as many as there is room for."""
    place = {"environment": environment, "key": key, "day": day, "kind": kind}
    rows = await connection.execute(
        text(
            "SELECT series FROM telemetry_series"
            " WHERE environment = :environment AND key = :key AND day = :day AND kind = :kind"
        ),
        place,
    )
    known = set(rows.scalars())
    added = [one for one in wanted if one not in known][: max(0, limit - len(known))]
    if added:
        await connection.execute(
            text(
                "INSERT INTO telemetry_series (environment, key, day, kind, series)"
                " SELECT :environment, :key, :day, :kind, unnest(CAST(:series AS bigint[]))"
            ),
            {**place, "series": added},
        )
    return known.union(added)


async def rollups(connection: ReadConnection, environment: str, keys: Sequence[RollupKey]) -> dict[RollupKey, bytes]:
    """Those of `keys` that exist."""
    found: dict[RollupKey, bytes] = {}
    for table in _ROLLUPS:
        wanted = [key for key in keys if _table(key.step_s) == table]
        if not wanted:
            continue
        rows = await connection.execute(
            text(
                f"SELECT kind, step_s, at, series, totals FROM {table} JOIN unnest(CAST(:kinds AS text[]),"  # noqa: S608
                " CAST(:steps AS integer[]), CAST(:ats AS timestamptz[]), CAST(:series AS text[]))"
                " AS wanted(kind, step_s, at, series) USING (kind, step_s, at, series)"
                " WHERE environment = :environment AND at >= :first"
            ),
            {"environment": environment, "first": min(key.at for key in wanted), **_columns(wanted)},
        )
        found |= {RollupKey(row.kind, row.step_s, row.at, row.series): row.totals for row in rows}
    return found


async def put_rollups(connection: WriteConnection, environment: str, rows: dict[RollupKey, bytes]) -> None:
    for table in _ROLLUPS:
        put = {key: totals for key, totals in rows.items() if _table(key.step_s) == table}
        if not put:
            continue
        await connection.execute(
            text(
                f"INSERT INTO {table} (environment, kind, step_s, at, series, totals)"  # noqa: S608 - our own names
                " SELECT :environment, kind, step_s, at, series, totals FROM unnest(CAST(:kinds AS text[]),"
                " CAST(:steps AS integer[]), CAST(:ats AS timestamptz[]), CAST(:series AS text[]),"
                " CAST(:totals AS bytea[])) AS new(kind, step_s, at, series, totals)"
                " ON CONFLICT (environment, kind, step_s, at, series) DO UPDATE SET totals = excluded.totals"
            ),
            {"environment": environment, "totals": list(put.values()), **_columns(list(put))},
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
            f"SELECT at, series, totals FROM {_table(step_s)}"  # noqa: S608 - our own names
            " WHERE environment = :environment AND kind = :kind"
            " AND step_s = :step AND at >= :since AND at < :until AND starts_with(series, :prefix) ORDER BY at, series"
        ),
        {
            "environment": environment, "kind": kind, "step": step_s, "since": since, "until": until, "prefix": prefix,
        },
    )  # fmt: skip
    return [RollupRow(row.at, row.series, row.totals) for row in rows]


async def series_between(
    connection: ReadConnection,
    environment: str,
    kind: str,
    *,
    step_s: int,
    since: datetime,
    until: datetime,
    limit: int,
) -> list[str]:
    """The names of series with any row, in their order."""
    rows = await connection.execute(
        text(
            "SELECT DISTINCT series FROM telemetry_rollup WHERE environment = :environment AND kind = :kind"
            " AND step_s = :step AND at >= :since AND at < :until ORDER BY series LIMIT :limit"
        ),
        {"environment": environment, "kind": kind, "step": step_s, "since": since, "until": until, "limit": limit},
    )
    return list(rows.scalars())


async def first_rollup(
    connection: ReadConnection, environment: str, kind: str, step_s: int, *, since: datetime, until: datetime
) -> datetime | None:
    """The first step with any row."""
    rows = await connection.execute(
        text(
            f"SELECT min(at) FROM {_table(step_s)} WHERE environment = :environment AND kind = :kind"  # noqa: S608 - our own names
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


async def put_refused(connection: WriteConnection, refusals: Sequence[Refusal]) -> None:
    """Adds to what was refused of late; a day without a refusal begins anew."""
    for one in refusals:
        await connection.execute(
            text(
                "INSERT INTO telemetry_refused AS old (environment, key, reason, messages, instance, first_at, last_at)"
                " VALUES (:environment, :key, :reason, :messages, :instance, :at, :at)"
                " ON CONFLICT (environment, key, reason) DO UPDATE SET instance = excluded.instance,"
                " messages = excluded.messages + CASE WHEN old.last_at < :old THEN 0 ELSE old.messages END,"
                " first_at = CASE WHEN old.last_at < :old THEN excluded.first_at ELSE old.first_at END,"
                " last_at = greatest(old.last_at, excluded.last_at)"
            ),
            {**one._asdict(), "old": one.at - REFUSED_SHOWN},
        )


async def refused(connection: ReadConnection, environment: str, now: datetime) -> list[Refused]:
    """Of the last day, the latest first."""
    rows = await connection.execute(
        text(
            "SELECT key, reason, messages, instance, first_at, last_at FROM telemetry_refused"
            " WHERE environment = :environment AND last_at >= :since ORDER BY last_at DESC, key, reason LIMIT 100"
        ),
        {"environment": environment, "since": now - REFUSED_SHOWN},
    )
    return [Refused(*row) for row in rows]


async def make_partitions(connection: WriteConnection, day: datetime) -> None:
    """The day's partitions of the rollups, when they do not exist. Replicas take turns: of two at once, IF NOT EXISTS
    alone refuses one."""
    start = day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for table in _ROLLUPS:
        name = _partition(table, start)
        exists = await connection.execute(text("SELECT to_regclass(:name) IS NOT NULL AS found"), {"name": name})
        if not exists.scalar_one():
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock, 0)"), {"lock": FOLD_LOCK})
            await connection.execute(
                text(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{start:%Y-%m-%d}T00:00Z') TO ('{start + timedelta(days=1):%Y-%m-%d}T00:00Z')"
                )
            )


async def drop_older(connection: WriteConnection, now: datetime, retention_days: int) -> list[str]:
    """Drops the rollups' partitions older than the retention; those of ten seconds after RECENT_DAYS at most."""
    dropped: list[str] = []
    for table, days in zip(_ROLLUPS, (retention_days, min(RECENT_DAYS, retention_days)), strict=True):
        rows = await connection.execute(
            text("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)"),
            {"table": table},
        )
        oldest = _partition(table, now - timedelta(days=days))
        dropped += [row.name for row in rows if row.name < oldest]
    for name in dropped:
        await connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    return dropped


def _partition(table: str, day: datetime) -> str:
    return f"{table}_{day.astimezone(UTC):%Y%m%d}"


_TWO_DAYS = timedelta(days=2)
_KEPT: Mapping[str, tuple[str, timedelta | None]] = {
    "rollout_unit": ("at", None),
    "rollout_sample": ("at", None),
    "rollout_evidence": ("last_at", None),
    "telemetry_refused": ("last_at", None),
    "fleet_convergence": ("published_at", None),
    "flag_use": ("last_at", timedelta(days=FLAG_USE_DAYS)),
    "telemetry_series": ("day", timedelta(days=1)),
    "telemetry_cursor": ("updated_at", _TWO_DAYS),
    "fleet_instance": ("last_seen_at", _TWO_DAYS),
}
"""Table → the column with a row's age, and how long it is kept; None: the retention."""


async def delete_older(connection: WriteConnection, now: datetime, retention_days: int, limit: int) -> int:
    """Deletes up to `limit` rows that are too old, of every table together; returns how many. Those that another
    transaction holds are left for the next time."""
    deleted = 0
    for table, (column, kept) in _KEPT.items():
        oldest = now - (kept or timedelta(days=retention_days))
        done = await connection.execute(
            text(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"  # noqa: S608 - our own names
                f" WHERE {column} < :oldest LIMIT :limit FOR UPDATE SKIP LOCKED)) RETURNING 1"
            ),
            {"oldest": oldest.date() if column == "day" else oldest, "limit": limit - deleted},
        )
        deleted += len(done.all())
        if deleted >= limit:
            break
    return deleted
