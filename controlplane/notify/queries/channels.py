"""How channels fare, and what they lead to."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.kit.rows import fetch, fetch_one, fetch_value, run
from controlplane.notify.values import Channel


class Health(msgspec.Struct, frozen=True):
    """A channel after an attempt."""

    failures: int
    failing_since: datetime | None
    announced_at: datetime | None


class SealedChannel(msgspec.Struct, frozen=True):
    key: str
    kind: str
    sealed: bytes | None


_COLUMNS = """
    channel.key, channel.team, channel.kind, channel.target, channel.created_by, channel.created_at, channel.paused_at,
    channel.paused_by, channel.failures, channel.failing_since, channel.last_error, channel.announced_at,
    channel.delivered_at, channel.next_test_at,
    (SELECT count(*) FROM delivery WHERE delivery.channel = channel.key AND delivery.ended_at IS NULL) AS waiting
"""


async def list_channels(connection: ReadConnection) -> list[Channel]:
    return await fetch(connection, Channel, f"SELECT {_COLUMNS} FROM channel ORDER BY channel.key")  # noqa: S608


async def find_channel(connection: ReadConnection, key: str) -> Channel | None:
    return await fetch_one(connection, Channel, f"SELECT {_COLUMNS} FROM channel WHERE channel.key = :key", key=key)  # noqa: S608


async def every_secret(connection: ReadConnection) -> list[SealedChannel]:
    return await fetch(connection, SealedChannel, "SELECT key, kind, sealed FROM channel ORDER BY key")


async def reseal(connection: WriteConnection, key: str, before: bytes, after: bytes) -> None:
    sql = "UPDATE channel SET sealed = :after WHERE key = :key AND sealed = :before"
    await run(connection, sql, key=key, before=before, after=after)


async def put_channel(
    connection: WriteConnection,
    key: str,
    *,
    team: str | None,
    kind: str,
    target: str,
    sealed: bytes | None,
    by: str,
    now: datetime,
    next_test_at: datetime,
) -> None:
    """A changed channel begins anew. One that was announced as failing stays so until it takes a delivery, for people
    who heard of it must hear of its end, too."""
    await run(
        connection,
        """
        INSERT INTO channel (key, team, kind, target, sealed, created_by, created_at, next_test_at)
        VALUES (:key, :team, :kind, :target, :sealed, :by, :now, :next_test_at)
        ON CONFLICT (key) DO UPDATE SET team = :team, kind = :kind, target = :target, sealed = :sealed, failures = 0,
            last_failed = NULL, retry_at = NULL, delivered_at = NULL,
            failing_since = CASE WHEN channel.announced_at IS NULL THEN NULL ELSE channel.failing_since END,
            last_error = CASE WHEN channel.announced_at IS NULL THEN '' ELSE channel.last_error END
        """,
        key=key, team=team, kind=kind, target=target, sealed=sealed, by=by, now=now, next_test_at=next_test_at,
    )  # fmt: skip


async def delete_channel(connection: WriteConnection, key: str) -> int:
    return await run(connection, "DELETE FROM channel WHERE key = :key", key=key)


async def lock_waiting(connection: WriteConnection, key: str) -> int:
    """Locks what waits for a channel; returns how many deliveries replicas have in hand, which it leaves alone."""
    sql = """
        WITH locked AS (SELECT id FROM delivery WHERE channel = :key AND ended_at IS NULL FOR UPDATE SKIP LOCKED)
        SELECT (SELECT count(*) FROM delivery WHERE channel = :key AND ended_at IS NULL) - (SELECT count(*) FROM locked)
    """
    return int(await fetch_value(connection, sql, key=key))


async def lock_routes(connection: WriteConnection) -> None:
    """Changes of channels and subscriptions take turns: neither names what the other deletes."""
    await run(connection, "LOCK TABLE subscription IN SHARE ROW EXCLUSIVE MODE")


async def pause(connection: WriteConnection, key: str, by: str, now: datetime) -> int:
    sql = "UPDATE channel SET paused_at = :now, paused_by = :by WHERE key = :key AND paused_at IS NULL"
    return await run(connection, sql, key=key, by=by, now=now)


async def resume(connection: WriteConnection, key: str, now: datetime) -> int:
    """Returns 0 when the channel is not paused. What waited is due now, and is tried for as long as anything new."""
    sql = "UPDATE channel SET paused_at = NULL, paused_by = '', retry_at = NULL WHERE key = :key AND paused_at IS NOT NULL"
    resumed = await run(connection, sql, key=key)
    if resumed:
        await run(
            connection,
            """
            UPDATE delivery SET created_at = :now, next_at = :now WHERE id = ANY(ARRAY(
                SELECT id FROM delivery WHERE channel = :key AND ended_at IS NULL FOR UPDATE SKIP LOCKED
            ))
            """,
            key=key, now=now,
        )  # fmt: skip
    return resumed


async def skip_waiting(connection: WriteConnection, key: str, now: datetime) -> int:
    """Ends what waits for a channel, unsent; returns how many."""
    sql = "UPDATE delivery SET state = 'skipped', ended_at = :now WHERE channel = :key AND ended_at IS NULL"
    return await run(connection, sql, key=key, now=now)


async def replay(connection: WriteConnection, key: str, since: datetime, now: datetime) -> int:
    """Lets a channel tell again what it was given since then, in the same order, under the same message ids.
    What it does not take then wakes no one through another channel."""
    return await run(
        connection,
        """
        UPDATE delivery SET state = 'pending', ended_at = NULL, attempts = 0, error = '', then_to = '{}',
            created_at = :now, next_at = :now
        FROM event WHERE event.id = delivery.event AND delivery.channel = :key AND event.created_at >= :since
          AND delivery.ended_at IS NOT NULL
        """,
        key=key, since=since, now=now,
    )  # fmt: skip


async def replay_event(connection: WriteConnection, event: int, now: datetime) -> int:
    """As `replay`, for one event and every channel that it went to."""
    return await run(
        connection,
        """
        UPDATE delivery SET state = 'pending', ended_at = NULL, attempts = 0, error = '', then_to = '{}',
            created_at = :now, next_at = :now
        WHERE event = :event AND ended_at IS NOT NULL
        """,
        event=event, now=now,
    )  # fmt: skip


async def failed(
    connection: WriteConnection, key: str, delivery: int, *, error: str, now: datetime, retry_at: datetime | None
) -> Health:
    """Notes a failed attempt. The same delivery failing again counts once: one that is poison fails alone."""
    found = await fetch_one(
        connection,
        Health,
        """
        UPDATE channel SET failures = failures + CASE WHEN last_failed IS DISTINCT FROM :delivery THEN 1 ELSE 0 END,
            last_failed = :delivery, last_error = :error, failing_since = coalesce(failing_since, CAST(:now AS timestamptz)),
            retry_at = CAST(:retry_at AS timestamptz)
        WHERE key = :key RETURNING failures, failing_since, announced_at
        """,
        key=key, delivery=delivery, error=error, now=now, retry_at=retry_at,
    )  # fmt: skip
    assert found is not None
    return found


async def failures(connection: ReadConnection, key: str) -> int:
    return int(await fetch_value(connection, "SELECT failures FROM channel WHERE key = :key", key=key) or 0)


async def announce(connection: WriteConnection, key: str, now: datetime) -> bool:
    """Whether it is ours to say that the channel fails: one replica does, once."""
    sql = "UPDATE channel SET announced_at = :now WHERE key = :key AND announced_at IS NULL"
    return await run(connection, sql, key=key, now=now) > 0


async def others(connection: ReadConnection, key: str) -> list[str]:
    """Channels that work as far as we know, but for this one."""
    result = await fetch(
        connection,
        SealedChannel,
        """
        SELECT key, kind, sealed FROM channel WHERE key <> :key AND paused_at IS NULL AND announced_at IS NULL
        ORDER BY failures, key
        """,
        key=key,
    )
    return [each.key for each in result]


class Recovered(msgspec.Struct, frozen=True):
    """How a channel fared before."""

    failures: int
    was_announced: bool


async def worked(connection: WriteConnection, key: str, now: datetime, stale: datetime) -> Recovered | None:
    """Notes a delivery that was taken; None when there is nothing new to note."""
    return await fetch_one(
        connection,
        Recovered,
        """
        WITH before AS (
            SELECT key, failures, announced_at IS NOT NULL AS was_announced FROM channel
            WHERE key = :key AND (failures > 0 OR announced_at IS NOT NULL OR delivered_at IS NULL
                                  OR delivered_at < :stale)
            FOR NO KEY UPDATE
        )
        UPDATE channel SET failures = 0, failing_since = NULL, last_failed = NULL, last_error = '', retry_at = NULL,
            announced_at = NULL, delivered_at = :now
        FROM before WHERE channel.key = before.key
        RETURNING before.failures, before.was_announced
        """,
        key=key, now=now, stale=stale,
    )  # fmt: skip


async def hurry(connection: WriteConnection, key: str, now: datetime) -> int:
    """What waits for a channel that works again is due now."""
    return await run(
        connection,
        """
        UPDATE delivery SET next_at = :now WHERE id = ANY(ARRAY(
            SELECT id FROM delivery WHERE channel = :key AND ended_at IS NULL AND next_at > :now FOR UPDATE SKIP LOCKED
        ))
        """,
        key=key, now=now,
    )  # fmt: skip


class Named(msgspec.Struct, frozen=True):
    key: str
    kind: str


async def due_tests(connection: WriteConnection, now: datetime, next_at: datetime) -> list[Named]:
    """Channels whose weekly test is due; the next one is set in the same statement, so that one replica sends it."""
    return await fetch(
        connection,
        Named,
        """
        UPDATE channel SET next_test_at = :next_at WHERE key = ANY(ARRAY(
            SELECT key FROM channel WHERE next_test_at <= :now AND paused_at IS NULL FOR NO KEY UPDATE SKIP LOCKED
        )) RETURNING key, kind
        """,
        now=now, next_at=next_at,
    )  # fmt: skip


class Failing(msgspec.Struct, frozen=True):
    key: str
    last_error: str
    failing_since: datetime | None


async def failing(connection: ReadConnection) -> Sequence[Failing]:
    sql = "SELECT key, last_error, failing_since FROM channel WHERE announced_at IS NOT NULL AND paused_at IS NULL ORDER BY key"
    return await fetch(connection, Failing, sql)
