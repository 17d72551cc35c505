"""Alerts that wait for a receiver. Times are Postgres's own: a replica with a wrong clock delays nothing."""

import msgspec

from controlplane.access.queries.base import fetch_one, fetch_value, run
from controlplane.kit.database import ReadConnection, WriteConnection


class Waiting(msgspec.Struct, frozen=True):
    """The oldest alert of its kind. Times are Unix seconds."""

    id: int
    message_id: str
    kind: str
    body: str
    attempts: int
    created_s: float
    now_s: float


async def put(connection: WriteConnection, message_id: str, kind: str, body: str) -> None:
    sql = "INSERT INTO webhook_delivery (message_id, kind, body) VALUES (:message_id, :kind, :body)"
    await run(connection, sql, message_id=message_id, kind=kind, body=body)


async def claim(connection: WriteConnection) -> Waiting | None:
    """One alert that is due, locked until the transaction ends: no other replica delivers it meanwhile.

    An alert waits for the older ones of its kind, also while another replica has them in hand.
    """
    return await fetch_one(
        connection,
        Waiting,
        """
        SELECT id, message_id, kind, body, attempts, extract(epoch FROM created_at)::float8 AS created_s,
               extract(epoch FROM clock_timestamp())::float8 AS now_s
        FROM webhook_delivery AS one
        WHERE outcome IS NULL AND next_at <= now() AND NOT EXISTS (
            SELECT FROM webhook_delivery AS older
            WHERE older.kind = one.kind AND older.id < one.id AND older.outcome IS NULL
        )
        ORDER BY id LIMIT 1 FOR UPDATE OF one SKIP LOCKED
        """,
    )


async def end(connection: WriteConnection, delivery: int, outcome: str) -> None:
    await run(
        connection,
        "UPDATE webhook_delivery SET outcome = :outcome, ended_at = now(), attempts = attempts + 1 WHERE id = :id",
        id=delivery, outcome=outcome,
    )  # fmt: skip


async def postpone(connection: WriteConnection, delivery: int, wait_s: float) -> None:
    await run(
        connection,
        """
        UPDATE webhook_delivery
        SET attempts = attempts + 1, next_at = clock_timestamp() + make_interval(secs => :wait_s)
        WHERE id = :id
        """,
        id=delivery, wait_s=wait_s,
    )  # fmt: skip


async def waiting(connection: ReadConnection) -> int:
    return int(await fetch_value(connection, "SELECT count(*) FROM webhook_delivery WHERE outcome IS NULL"))


async def forget(connection: WriteConnection, days: int, limit: int) -> int:
    """Deletes up to `limit` that ended more than `days` ago; returns how many."""
    return await run(
        connection,
        """
        DELETE FROM webhook_delivery WHERE id = ANY(ARRAY(
            SELECT id FROM webhook_delivery
            WHERE outcome IS NOT NULL AND ended_at < now() - make_interval(days => :days) LIMIT :limit
        ))
        """,
        days=days, limit=limit,
    )  # fmt: skip
