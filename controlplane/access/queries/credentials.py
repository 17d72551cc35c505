"""Sessions, known devices, API tokens and SDK keys: digests in, never a secret."""

from datetime import datetime
from typing import Literal

import msgspec

from controlplane.access.queries.base import fetch, fetch_one, fetch_value, run
from controlplane.access.values import KeyRow, TokenRow
from controlplane.kit.database import ReadConnection, WriteConnection

_TOKEN = (
    "id, hint, name, owner, made_by, person, parent, handed_by, grants, created_at, expires_at, used_at, revoked_at, "  # noqa: S105
    "sensitive, proven_at, networks"
)
_SESSION = "id, person, method, address, agent, created_at, seen_at, expires_at, proven_at, stage"
_KEYS = """
SELECT id, hint, environment, name, made_by, created_at, expires_at, revoked_at, used_at, uses
FROM sdk_key LEFT JOIN sdk_key_use ON key = id
"""


class SessionRow(msgspec.Struct, frozen=True):
    id: str
    person: str
    method: str
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    proven_at: datetime
    """When they last proved who they are."""
    stage: Literal["full", "factor"] = "full"
    """`factor`: the second factor is still to be shown."""


async def insert_session(connection: WriteConnection, row: SessionRow, digest: str) -> None:
    await run(
        connection,
        """
        INSERT INTO session
            (id, digest, person, method, address, agent, created_at, seen_at, expires_at, proven_at, stage)
        VALUES
            (:id, :digest, :person, :method, :address, :agent, :created_at, :seen_at, :expires_at, :proven_at, :stage)
        """,
        digest=digest, **msgspec.structs.asdict(row),
    )  # fmt: skip


async def find_session(connection: ReadConnection, digest: str) -> SessionRow | None:
    """Only one that has not been ended."""
    return await fetch_one(
        connection,
        SessionRow,
        f"SELECT {_SESSION} FROM session WHERE digest = :digest AND ended_at IS NULL",  # noqa: S608
        digest=digest,
    )


async def session(connection: ReadConnection, session_id: str, now: datetime) -> SessionRow | None:
    """A live one, by its id."""
    return await fetch_one(
        connection,
        SessionRow,
        f"SELECT {_SESSION} FROM session WHERE id = :id AND ended_at IS NULL AND expires_at > :now",  # noqa: S608
        id=session_id, now=now,
    )  # fmt: skip


async def sessions(connection: ReadConnection, person: str | None, now: datetime) -> list[SessionRow]:
    """Live ones of one person, or of all."""
    return await fetch(
        connection,
        SessionRow,
        f"""
        SELECT {_SESSION} FROM session WHERE ended_at IS NULL AND stage = 'full' AND expires_at > :now
        AND (CAST(:person AS text) IS NULL OR person = :person) ORDER BY seen_at DESC LIMIT 500
        """,  # noqa: S608
        person=person, now=now,
    )  # fmt: skip


async def touch_session(connection: WriteConnection, session: str, at: datetime, expires_at: datetime) -> None:
    sql = "UPDATE session SET seen_at = :at, expires_at = :expires_at WHERE id = :id"
    await run(connection, sql, id=session, at=at, expires_at=expires_at)


async def prove_session(connection: WriteConnection, session: str, at: datetime) -> None:
    await run(connection, "UPDATE session SET proven_at = :at WHERE id = :id", id=session, at=at)


async def prove_token(connection: WriteConnection, token_id: str, at: datetime) -> None:
    await run(connection, "UPDATE api_token SET proven_at = :at WHERE id = :id", id=token_id, at=at)


async def end_session(connection: WriteConnection, session: str, at: datetime) -> bool:
    return (
        await run(
            connection, "UPDATE session SET ended_at = :at WHERE id = :id AND ended_at IS NULL", id=session, at=at
        )
        == 1
    )


async def end_sessions_of(
    connection: WriteConnection, person: str, at: datetime, but: str = "", method: str = ""
) -> int:
    """All but one, or those that were opened by one method."""
    sql = """
    UPDATE session SET ended_at = :at
    WHERE person = :person AND ended_at IS NULL AND id <> :but AND (:method = '' OR method = :method)
    """
    return await run(connection, sql, person=person, at=at, but=but, method=method)


async def insert_device(connection: WriteConnection, digest: str, person: str, at: datetime) -> None:
    sql = "INSERT INTO known_device (digest, person, created_at) VALUES (:digest, :person, :at)"
    await run(connection, sql, digest=digest, person=person, at=at)


async def device_belongs(connection: ReadConnection, digest: str, person: str) -> bool:
    sql = "SELECT 1 FROM known_device WHERE digest = :digest AND person = :person"
    result = await fetch(connection, dict[str, int], sql, digest=digest, person=person)
    return bool(result)


async def forget_devices(connection: WriteConnection, person: str) -> None:
    await run(connection, "DELETE FROM known_device WHERE person = :person", person=person)


async def insert_token(connection: WriteConnection, row: TokenRow, digest: str) -> None:
    await run(
        connection,
        """
        INSERT INTO api_token
            (id, digest, hint, name, owner, made_by, person, parent, grants, created_at, expires_at, sensitive, networks)
        VALUES (:id, :digest, :hint, :name, :owner, :made_by, :person, :parent, CAST(:grants AS jsonb), :created_at,
            :expires_at, :sensitive, :networks)
        """,
        id=row.id, digest=digest, hint=row.hint, name=row.name, owner=row.owner, made_by=row.made_by, person=row.person,
        parent=row.parent, grants=msgspec.json.encode(row.grants).decode(), created_at=row.created_at,
        expires_at=row.expires_at, sensitive=row.sensitive, networks=list(row.networks),
    )  # fmt: skip


async def find_token(connection: ReadConnection, digest: str) -> TokenRow | None:
    """Only one that has not been revoked, and neither has any that it was made with."""
    sql = f"""
    SELECT {_TOKEN} FROM api_token WHERE digest = :digest AND revoked_at IS NULL AND NOT EXISTS (
        WITH RECURSIVE up AS (
            SELECT parent FROM api_token WHERE digest = :digest
            UNION SELECT t.parent FROM api_token t JOIN up ON t.id = up.parent
        )
        SELECT FROM api_token t JOIN up ON t.id = up.parent WHERE t.revoked_at IS NOT NULL
    )
    """  # noqa: S608
    return await fetch_one(connection, TokenRow, sql, digest=digest)


async def token(connection: ReadConnection, token_id: str) -> TokenRow | None:
    return await fetch_one(connection, TokenRow, f"SELECT {_TOKEN} FROM api_token WHERE id = :id", id=token_id)  # noqa: S608


async def tokens(connection: ReadConnection, person: str | None) -> list[TokenRow]:
    """Those that one person owns or answers for, or all."""
    sql = f"""
    SELECT {_TOKEN} FROM api_token
    WHERE CAST(:person AS text) IS NULL OR owner = :person OR person = :person
    ORDER BY revoked_at IS NOT NULL, created_at DESC LIMIT 500
    """  # noqa: S608
    return await fetch(connection, TokenRow, sql, person=person)


async def service_tokens_of(connection: ReadConnection, person: str, now: datetime) -> list[TokenRow]:
    """Live ones of machines that this person answers for."""
    sql = f"""
    SELECT {_TOKEN} FROM api_token WHERE person = :person AND owner IS NULL AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > :now) ORDER BY created_at
    """  # noqa: S608
    return await fetch(connection, TokenRow, sql, person=person, now=now)


async def hand_over(connection: WriteConnection, token_id: str, person: str, by: str) -> None:
    sql = "UPDATE api_token SET person = :person, handed_by = :by WHERE id = :id"
    await run(connection, sql, id=token_id, person=person, by=by)


async def endless_tokens(connection: ReadConnection) -> int:
    """How many live ones have no end; those of before there was one."""
    sql = "SELECT count(*) FROM api_token WHERE expires_at IS NULL AND revoked_at IS NULL"
    return int(await fetch_value(connection, sql))


async def touch_token(connection: WriteConnection, token_id: str, at: datetime) -> None:
    await run(connection, "UPDATE api_token SET used_at = :at WHERE id = :id", id=token_id, at=at)


class Ended(msgspec.Struct, frozen=True):
    id: str
    name: str


async def revoke_token(connection: WriteConnection, token_id: str, at: datetime) -> list[Ended]:
    """With whatever was made with it; those that were alive."""
    return await _revoke(connection, "id = :id", at, id=token_id)


async def revoke_personal(connection: WriteConnection, owner: str, at: datetime) -> list[Ended]:
    return await _revoke(connection, "owner = :owner", at, owner=owner)


async def revoke_all_of(connection: WriteConnection, person: str, at: datetime) -> list[Ended]:
    """Personal tokens, and those of machines that they answer for."""
    return await _revoke(connection, "owner = :person OR person = :person", at, person=person)


async def revoke_made_by(connection: WriteConnection, person: str, at: datetime) -> list[Ended]:
    """Personal tokens, and those of machines that they did not take over from somebody."""
    return await _revoke(connection, "person = :person AND handed_by IS NULL", at, person=person)


async def _revoke(connection: WriteConnection, which: str, at: datetime, **parameters: str) -> list[Ended]:
    sql = f"""
    WITH RECURSIVE gone AS (
        SELECT id FROM api_token WHERE {which}
        UNION SELECT t.id FROM api_token t JOIN gone ON t.parent = gone.id
    )
    UPDATE api_token SET revoked_at = :at WHERE id IN (SELECT id FROM gone) AND revoked_at IS NULL RETURNING id, name
    """  # noqa: S608 - `which` is one of those above
    return await fetch(connection, Ended, sql, at=at, **parameters)


async def insert_key(connection: WriteConnection, row: KeyRow, digest: str) -> None:
    await run(
        connection,
        """
        INSERT INTO sdk_key (id, digest, hint, environment, name, made_by, created_at, expires_at, uses)
        VALUES (:id, :digest, :hint, :environment, :name, :made_by, :created_at, :expires_at, :uses)
        """,
        id=row.id, digest=digest, hint=row.hint, environment=row.environment, name=row.name, made_by=row.made_by,
        created_at=row.created_at, expires_at=row.expires_at, uses=list(row.uses),
    )  # fmt: skip


async def find_key(connection: ReadConnection, digest: str) -> KeyRow | None:
    return await fetch_one(connection, KeyRow, f"{_KEYS} WHERE digest = :digest AND revoked_at IS NULL", digest=digest)


async def key(connection: ReadConnection, key_id: str) -> KeyRow | None:
    return await fetch_one(connection, KeyRow, f"{_KEYS} WHERE id = :id", id=key_id)


async def keys(connection: ReadConnection, environment: str) -> list[KeyRow]:
    sql = f"{_KEYS} WHERE environment = :environment ORDER BY created_at DESC LIMIT 500"
    return await fetch(connection, KeyRow, sql, environment=environment)


async def touch_key(connection: WriteConnection, key_id: str, at: datetime) -> None:
    sql = """
    INSERT INTO sdk_key_use (key, used_at) VALUES (:key, :at)
    ON CONFLICT (key) DO UPDATE SET used_at = greatest(sdk_key_use.used_at, excluded.used_at)
    """
    await run(connection, sql, key=key_id, at=at)


async def expire_key(connection: WriteConnection, key_id: str, at: datetime) -> None:
    """Brings the end forward; never puts it off."""
    sql = "UPDATE sdk_key SET expires_at = least(coalesce(expires_at, :at), :at) WHERE id = :id"
    await run(connection, sql, id=key_id, at=at)


async def revoke_key(connection: WriteConnection, key_id: str, at: datetime) -> bool:
    sql = "UPDATE sdk_key SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL"
    return await run(connection, sql, id=key_id, at=at) == 1
