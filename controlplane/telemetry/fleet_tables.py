"""The fleet's tables: where every instance was last, and how each commit spread. Written in batches, never per message."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.telemetry.fleet_state import LIVE_S, Convergence, Head, Seen
from controlplane.telemetry.values import Delivery

REWRITE_S = 60
"""An instance whose news is only that it is still there is written this seldom."""


async def put_instances(connection: WriteConnection, environment: str, seen: Sequence[Seen]) -> int:
    """Writes what is newer than the table by more than REWRITE_S, or different; answers how many rows that were.

    Every replica hears everything and calls this: whoever comes second finds nothing to write.
    """
    result = await connection.execute(
        text(
            "INSERT INTO fleet_instance AS old (environment, instance, key, service, sdk_version, epoch, revision, state,"
            " first_seen_at, last_seen_at, closed, schema_level)"
            " SELECT :environment, i, k, s, v, e, r, t, f, l, c, n FROM"
            " unnest(CAST(:keys AS text[]), CAST(:instances AS text[]), CAST(:services AS text[]), CAST(:versions AS text[]),"
            " CAST(:epochs AS bigint[]), CAST(:revisions AS bigint[]), CAST(:states AS text[]),"
            " CAST(:firsts AS timestamptz[]), CAST(:lasts AS timestamptz[]), CAST(:closeds AS boolean[]),"
            " CAST(:levels AS smallint[])) AS new(k, i, s, v, e, r, t, f, l, c, n) ON CONFLICT (environment, instance) DO UPDATE SET"
            " service = excluded.service, sdk_version = excluded.sdk_version, epoch = excluded.epoch,"
            " revision = excluded.revision, state = excluded.state, last_seen_at = excluded.last_seen_at,"
            " closed = excluded.closed, key = excluded.key, schema_level = excluded.schema_level, first_seen_at = CASE WHEN old.key = excluded.key"
            " THEN old.first_seen_at ELSE excluded.first_seen_at END WHERE old.last_seen_at < excluded.last_seen_at"
            " AND (old.last_seen_at < excluded.last_seen_at - make_interval(secs => :rewrite)"
            " OR (old.epoch, old.revision, old.state, old.closed)"
            " <> (excluded.epoch, excluded.revision, excluded.state, excluded.closed))"
        ),
        {
            "environment": environment,
            "rewrite": REWRITE_S,
            "keys": [s.key for s in seen],
            "instances": [s.instance for s in seen],
            "services": [s.service for s in seen],
            "versions": [s.sdk_version for s in seen],
            "epochs": [s.head.epoch for s in seen],
            "revisions": [s.head.revision for s in seen],
            "states": [s.state for s in seen],
            "firsts": [_instant(s.first_seen) for s in seen],
            "lasts": [_instant(s.last_seen) for s in seen],
            "closeds": [s.closed for s in seen],
            "levels": [s.schema_level for s in seen],
        },
    )
    return int(result.rowcount)


async def put_convergence(connection: WriteConnection, environment: str, convergence: Convergence) -> None:
    """The earliest time that any replica measured is kept."""
    await connection.execute(
        text(
            "INSERT INTO fleet_convergence AS old (environment, epoch, revision, published_at, live, took_50_ms,"
            " took_95_ms, took_100_ms) VALUES (:environment, :epoch, :revision, :published_at, :live, :took_50_ms,"
            " :took_95_ms, :took_100_ms) ON CONFLICT (environment, epoch, revision) DO UPDATE SET"
            " published_at = least(old.published_at, excluded.published_at), live = excluded.live,"
            " took_50_ms = least(old.took_50_ms, excluded.took_50_ms),"
            " took_95_ms = least(old.took_95_ms, excluded.took_95_ms),"
            " took_100_ms = least(old.took_100_ms, excluded.took_100_ms)"
        ),
        {
            "environment": environment,
            "published_at": _instant(convergence.published),
            **{
                field: getattr(convergence, field)
                for field in ("epoch", "revision", "live", "took_50_ms", "took_95_ms", "took_100_ms")
            },
        },
    )


async def known_instances(connection: ReadConnection, since: datetime) -> list[tuple[str, Seen]]:
    """(environment, instance) of all that were heard of since."""
    rows = await connection.execute(text("SELECT * FROM fleet_instance WHERE last_seen_at >= :since"), {"since": since})
    return [
        (
            row.environment,
            Seen(
                row.instance,
                row.service,
                row.sdk_version,
                Head(row.epoch, row.revision),
                row.state,
                0.0,
                row.first_seen_at.timestamp(),
                row.last_seen_at.timestamp(),
                row.last_seen_at.timestamp(),
                row.closed,
                key=row.key,
                schema_level=row.schema_level,
            ),
        )
        for row in rows
    ]


async def live(connection: ReadConnection, environment: str, now: datetime) -> int:
    """Instances whose presence was written lately: what every replica agrees on."""
    rows = await connection.execute(
        text(
            "SELECT count(*) FROM fleet_instance WHERE environment = :environment AND NOT closed"
            " AND last_seen_at >= :since"
        ),
        {"environment": environment, "since": now - timedelta(seconds=LIVE_S + REWRITE_S)},
    )
    return int(rows.scalar_one())


async def told_laggards(connection: ReadConnection) -> dict[str, list[str]]:
    """By environment: the instances of whose lag people know, and not yet that it is over."""
    rows = await connection.execute(
        text("SELECT environment, instance FROM fleet_instance WHERE lag_told_at IS NOT NULL")
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.environment, []).append(row.instance)
    return found


async def note_lag(
    connection: WriteConnection, environment: str, instances: Sequence[str], now: datetime
) -> frozenset[str]:
    """Those of whose lag nobody has told yet: telling is up to the caller now."""
    rows = await connection.execute(
        text(
            "UPDATE fleet_instance SET lag_told_at = :now WHERE environment = :environment"
            " AND instance = ANY(:instances) AND lag_told_at IS NULL RETURNING instance"
        ),
        {"now": now, "environment": environment, "instances": list(instances)},
    )
    return frozenset(rows.scalars())


async def note_lag_over(connection: WriteConnection, environment: str, instances: Sequence[str]) -> frozenset[str]:
    """Those of which it is up to the caller to tell."""
    rows = await connection.execute(
        text(
            "UPDATE fleet_instance SET lag_told_at = NULL WHERE environment = :environment"
            " AND instance = ANY(:instances) AND lag_told_at IS NOT NULL RETURNING instance"
        ),
        {"environment": environment, "instances": list(instances)},
    )
    return frozenset(rows.scalars())


async def deliveries(connection: ReadConnection, environment: str, revisions: Sequence[int]) -> dict[int, Delivery]:
    """By revision; a revision reused in several epochs answers with its latest."""
    rows = await connection.execute(
        text(
            "SELECT * FROM fleet_convergence WHERE environment = :environment AND revision = ANY(:revisions)"
            " ORDER BY epoch"
        ),
        {"environment": environment, "revisions": list(revisions)},
    )
    return {
        row.revision: Delivery(
            row.revision, row.published_at, row.live, row.took_50_ms, row.took_95_ms, row.took_100_ms
        )
        for row in rows
    }


def _instant(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
