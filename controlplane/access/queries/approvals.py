"""Proposals, approvals, the rule of an environment, broken glass."""

from datetime import datetime

import msgspec

from controlplane.access.queries.base import fetch, fetch_one, fetch_value, run
from controlplane.access.values import GlassRow
from controlplane.kit.database import ReadConnection, WriteConnection

_PROPOSAL = """
id, environment, operations, message, base_revision, author, author_principal, edition, state, revision,
created_at, updated_at, opened
"""
_GLASS = """
id, environment, principal, actor, reason, started_at, expires_at, ended_at, uses, reviewed_by, reviewed_at, review,
opened
"""


class ProposalRow(msgspec.Struct, frozen=True):
    """`operations` is the JSON of wire.Operation; `edition` counts edits, and approvals belong to one. `opened` is its
    place in the common order of proposals, broken glass and changes of accounts."""

    id: int
    environment: str
    operations: bytes
    message: str
    base_revision: int
    author: str
    author_principal: str
    edition: int
    state: str
    revision: int | None
    created_at: datetime
    updated_at: datetime
    opened: int


class ApprovalRow(msgspec.Struct, frozen=True):
    proposal: int
    edition: int
    principal: str
    approver: str
    note: str
    approved_at: datetime


async def requires(connection: ReadConnection, environment: str) -> int:
    sql = "SELECT requires_approvals FROM environment_rule WHERE environment = :environment"
    return int(await fetch_value(connection, sql, environment=environment) or 0)


async def set_requires(connection: WriteConnection, environment: str, approvals: int) -> None:
    await run(
        connection,
        """
        INSERT INTO environment_rule (environment, requires_approvals) VALUES (:environment, :approvals)
        ON CONFLICT (environment) DO UPDATE SET requires_approvals = :approvals
        """,
        environment=environment, approvals=approvals,
    )  # fmt: skip


async def insert_proposal(
    connection: WriteConnection,
    *, environment: str, operations: bytes, message: str, base: int, author: str, principal: str, at: datetime,
) -> int:  # fmt: skip
    return int(
        await fetch_value(
            connection,
            """
            INSERT INTO proposal
                (environment, operations, message, base_revision, author, author_principal, created_at, updated_at)
            VALUES (:environment, :operations, :message, :base, :author, :principal, :at, :at) RETURNING id
            """,
            environment=environment,
            operations=operations,
            message=message,
            base=base,
            author=author,
            principal=principal,
            at=at,
        )
    )


async def add_editor(connection: WriteConnection, proposal: int, principal: str) -> None:
    sql = "INSERT INTO proposal_editor (proposal, principal) VALUES (:proposal, :principal) ON CONFLICT DO NOTHING"
    await run(connection, sql, proposal=proposal, principal=principal)


async def editors(connection: ReadConnection, proposal: int) -> frozenset[str]:
    sql = "SELECT principal FROM proposal_editor WHERE proposal = :proposal"
    return frozenset(row["principal"] for row in await fetch(connection, dict[str, str], sql, proposal=proposal))


async def by_anybody(connection: ReadConnection, environment: str) -> frozenset[int]:
    """Open proposals in which a token has a hand that no person answers for."""
    sql = """
    SELECT DISTINCT e.proposal FROM proposal_editor e JOIN proposal p ON p.id = e.proposal
    WHERE p.environment = :environment AND p.state = 'open' AND e.principal LIKE 'token:%'
    """
    found = await fetch(connection, dict[str, int], sql, environment=environment)
    return frozenset(row["proposal"] for row in found)


async def proposal(
    connection: ReadConnection, environment: str, proposal_id: int, *, lock: bool = False
) -> ProposalRow | None:
    sql = f"SELECT {_PROPOSAL} FROM proposal WHERE environment = :environment AND id = :id"  # noqa: S608
    return await fetch_one(
        connection, ProposalRow, sql + (" FOR UPDATE" if lock else ""), environment=environment, id=proposal_id
    )


async def proposals(connection: ReadConnection, environment: str, state: str) -> list[ProposalRow]:
    """The newest first; `state` empty: all."""
    sql = f"""
    SELECT {_PROPOSAL} FROM proposal WHERE environment = :environment AND (:state = '' OR state = :state)
    ORDER BY id DESC LIMIT 200
    """  # noqa: S608
    return await fetch(connection, ProposalRow, sql, environment=environment, state=state)


async def edit_proposal(
    connection: WriteConnection, proposal_id: int, *, operations: bytes, message: str, base: int, at: datetime
) -> None:
    """A new edition: what was approved is no longer what this is."""
    await run(
        connection,
        """
        UPDATE proposal SET operations = :operations, message = :message, base_revision = :base,
            edition = edition + 1, updated_at = :at
        WHERE id = :id
        """,
        id=proposal_id, operations=operations, message=message, base=base, at=at,
    )  # fmt: skip


async def close_proposal(
    connection: WriteConnection, proposal_id: int, state: str, at: datetime, revision: int | None = None
) -> None:
    sql = "UPDATE proposal SET state = :state, revision = :revision, updated_at = :at WHERE id = :id"
    await run(connection, sql, id=proposal_id, state=state, revision=revision, at=at)


async def approve(connection: WriteConnection, row: ApprovalRow) -> bool:
    """False when they have approved this edition already."""
    return (
        await run(
            connection,
            """
        INSERT INTO proposal_approval (proposal, edition, principal, approver, note, approved_at)
        VALUES (:proposal, :edition, :principal, :approver, :note, :approved_at) ON CONFLICT DO NOTHING
        """,
            **msgspec.structs.asdict(row),
        )
        == 1
    )


async def approvals(connection: ReadConnection, environment: str, proposal_id: int | None = None) -> list[ApprovalRow]:
    """Of the present editions only."""
    return await fetch(
        connection,
        ApprovalRow,
        """
        SELECT a.proposal, a.edition, a.principal, a.approver, a.note, a.approved_at
        FROM proposal_approval a JOIN proposal p ON p.id = a.proposal AND p.edition = a.edition
        WHERE p.environment = :environment AND (CAST(:proposal AS bigint) IS NULL OR p.id = :proposal)
        ORDER BY a.approved_at
        """,
        environment=environment, proposal=proposal_id,
    )  # fmt: skip


async def break_glass(
    connection: WriteConnection,
    *, environment: str, principal: str, actor: str, reason: str, at: datetime, expires_at: datetime,
) -> int:  # fmt: skip
    return int(
        await fetch_value(
            connection,
            """
            INSERT INTO break_glass (environment, principal, actor, reason, started_at, expires_at)
            VALUES (:environment, :principal, :actor, :reason, :at, :expires_at) RETURNING id
            """,
            environment=environment,
            principal=principal,
            actor=actor,
            reason=reason,
            at=at,
            expires_at=expires_at,
        )
    )


async def open_glass(connection: ReadConnection, environment: str, principal: str, now: datetime) -> int | None:
    """The id of what this principal has broken here and may still use."""
    found = await fetch_value(
        connection,
        """
        SELECT max(id) FROM break_glass
        WHERE environment = :environment AND principal = :principal AND ended_at IS NULL AND expires_at > :now
        """,
        environment=environment, principal=principal, now=now,
    )  # fmt: skip
    return None if found is None else int(found)


async def note_use(connection: WriteConnection, glass: int, use: str) -> None:
    await run(connection, "UPDATE break_glass SET uses = array_append(uses, :use) WHERE id = :id", id=glass, use=use)


async def revisions_alone(connection: ReadConnection, environment: str) -> frozenset[int]:
    """Those that someone committed without approvals where the rule asked for them."""
    sql = """
    SELECT DISTINCT CAST(substr(use, 2) AS bigint) AS revision FROM break_glass, unnest(uses) AS use
    WHERE environment = :environment AND use ~ '^r[0-9]{1,18}$'
    """
    return frozenset(row["revision"] for row in await fetch(connection, dict[str, int], sql, environment=environment))


async def glass(connection: ReadConnection, environment: str, glass_id: int) -> GlassRow | None:
    sql = f"SELECT {_GLASS} FROM break_glass WHERE environment = :environment AND id = :id"  # noqa: S608
    return await fetch_one(connection, GlassRow, sql, environment=environment, id=glass_id)


async def glasses(connection: ReadConnection, environment: str, *, unreviewed: bool) -> list[GlassRow]:
    sql = f"""
    SELECT {_GLASS} FROM break_glass WHERE environment = :environment AND (NOT :unreviewed OR reviewed_at IS NULL)
    ORDER BY id DESC LIMIT 200
    """  # noqa: S608
    return await fetch(connection, GlassRow, sql, environment=environment, unreviewed=unreviewed)


async def end_glass(connection: WriteConnection, glass_id: int, at: datetime) -> bool:
    sql = "UPDATE break_glass SET ended_at = :at WHERE id = :id AND ended_at IS NULL AND expires_at > :at"
    return await run(connection, sql, id=glass_id, at=at) == 1


async def sign_glass(connection: WriteConnection, glass_id: int, by: str, at: datetime, review: str) -> bool:
    sql = """
    UPDATE break_glass SET reviewed_by = :by, reviewed_at = :at, review = :review
    WHERE id = :id AND reviewed_at IS NULL
    """
    return await run(connection, sql, id=glass_id, by=by, at=at, review=review) == 1
