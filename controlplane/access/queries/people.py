"""People, their roles, the links that let them in the first time."""

from datetime import datetime

import msgspec

from controlplane.access.actor import Grants
from controlplane.access.grants import collect
from controlplane.access.queries.base import fetch, fetch_one, fetch_value, run
from controlplane.kit.database import ReadConnection, WriteConnection

_PERSON = "id, email, name, password, issuer, subject, created_at, disabled_at, second_factor_due"


class PersonRow(msgspec.Struct, frozen=True):
    id: str
    email: str
    name: str
    password: str | None
    issuer: str | None
    subject: str | None
    created_at: datetime
    disabled_at: datetime | None
    second_factor_due: datetime | None = None
    """From when on they need one, once the rule has asked them for one."""


class GrantRow(msgspec.Struct, frozen=True):
    person: str
    environment: str
    role: str
    source: str


class SsoRow(msgspec.Struct, frozen=True):
    """`sealed`: what the identity provider can be asked with again, encrypted."""

    person: str
    sealed: bytes | None
    confirmed_at: datetime | None


class LinkRow(msgspec.Struct, frozen=True):
    purpose: str
    person: str | None
    expires_at: datetime
    used_at: datetime | None


async def by_id(connection: ReadConnection, person: str) -> PersonRow | None:
    return await fetch_one(connection, PersonRow, f"SELECT {_PERSON} FROM person WHERE id = :id", id=person)  # noqa: S608


async def by_email(connection: ReadConnection, email: str) -> PersonRow | None:
    sql = f"SELECT {_PERSON} FROM person WHERE email = :email"  # noqa: S608
    return await fetch_one(connection, PersonRow, sql, email=email)


async def by_subject(connection: ReadConnection, issuer: str, subject: str) -> PersonRow | None:
    sql = f"SELECT {_PERSON} FROM person WHERE issuer = :issuer AND subject = :subject"  # noqa: S608
    return await fetch_one(connection, PersonRow, sql, issuer=issuer, subject=subject)


async def everybody(connection: ReadConnection) -> list[PersonRow]:
    return await fetch(connection, PersonRow, f"SELECT {_PERSON} FROM person ORDER BY email")  # noqa: S608


async def anybody(connection: ReadConnection) -> bool:
    return bool(await fetch_value(connection, "SELECT EXISTS (SELECT FROM person)"))


async def insert(connection: WriteConnection, row: PersonRow) -> bool:
    """False when the address is taken."""
    return await run(
        connection,
        """
        INSERT INTO person (id, email, name, password, issuer, subject, created_at)
        VALUES (:id, :email, :name, :password, :issuer, :subject, :created_at) ON CONFLICT DO NOTHING
        """,
        id=row.id, email=row.email, name=row.name, password=row.password, issuer=row.issuer, subject=row.subject,
        created_at=row.created_at,
    ) == 1  # fmt: skip


async def set_password(connection: WriteConnection, person: str, password: str) -> None:
    await run(connection, "UPDATE person SET password = :password WHERE id = :id", id=person, password=password)


async def set_name(connection: WriteConnection, person: str, name: str) -> None:
    await run(connection, "UPDATE person SET name = :name WHERE id = :id", id=person, name=name)


async def link_subject(connection: WriteConnection, person: str, issuer: str, subject: str) -> None:
    sql = "UPDATE person SET issuer = :issuer, subject = :subject WHERE id = :id"
    await run(connection, sql, id=person, issuer=issuer, subject=subject)


async def set_disabled(connection: WriteConnection, person: str, at: datetime | None) -> None:
    await run(connection, "UPDATE person SET disabled_at = :at WHERE id = :id", id=person, at=at)


async def set_second_factor_due(connection: WriteConnection, person: str, at: datetime) -> None:
    """The first time counts."""
    sql = "UPDATE person SET second_factor_due = :at WHERE id = :id AND second_factor_due IS NULL"
    await run(connection, sql, id=person, at=at)


async def grants(connection: ReadConnection, person: str | None = None) -> list[GrantRow]:
    """Of one person, or of all."""
    return await fetch(
        connection,
        GrantRow,
        """
        SELECT person, environment, role, source FROM role_grant
        WHERE CAST(:person AS text) IS NULL OR person = :person ORDER BY person, environment, role
        """,
        person=person,
    )


async def held(connection: ReadConnection, person: str, confirmed_since: datetime) -> Grants:
    """What they may: roles given here, and those of single sign-on if it has confirmed them since then."""
    sql = """
    SELECT g.environment, g.role FROM role_grant g LEFT JOIN sso_identity s ON s.person = g.person
    WHERE g.person = :person AND (g.source = 'local' OR s.confirmed_at > :since)
    """
    rows = await fetch(connection, dict[str, str], sql, person=person, since=confirmed_since)
    return collect((row["environment"], row["role"]) for row in rows)


async def grant(
    connection: WriteConnection, person: str, environment: str, role: str, *, source: str, by: str, at: datetime
) -> bool:
    """False when it was granted already."""
    return await run(
        connection,
        """
        INSERT INTO role_grant (person, environment, role, source, granted_by, granted_at)
        VALUES (:person, :environment, :role, :source, :by, :at) ON CONFLICT DO NOTHING
        """,
        person=person, environment=environment, role=role, source=source, by=by, at=at,
    ) == 1  # fmt: skip


async def revoke(connection: WriteConnection, person: str, environment: str, role: str) -> bool:
    """Local grants only: what the identity provider gives, it takes. False when there was none."""
    return await run(
        connection,
        """
        DELETE FROM role_grant
        WHERE person = :person AND environment = :environment AND role = :role AND source = 'local'
        """,
        person=person, environment=environment, role=role,
    ) == 1  # fmt: skip


async def drop_sso_grant(connection: WriteConnection, person: str, environment: str, role: str) -> None:
    sql = """
    DELETE FROM role_grant WHERE person = :person AND environment = :environment AND role = :role AND source = 'sso'
    """
    await run(connection, sql, person=person, environment=environment, role=role)


async def sso(connection: ReadConnection, person: str) -> SsoRow | None:
    sql = "SELECT person, sealed, confirmed_at FROM sso_identity WHERE person = :person"
    return await fetch_one(connection, SsoRow, sql, person=person)


async def keep_sso(
    connection: WriteConnection, person: str, sealed: bytes | None, confirmed_at: datetime | None, at: datetime
) -> None:
    """What the provider said; `confirmed_at` None: it no longer confirms them."""
    sql = """
    INSERT INTO sso_identity (person, sealed, confirmed_at, checked_at) VALUES (:person, :sealed, :confirmed_at, :at)
    ON CONFLICT (person) DO UPDATE SET sealed = :sealed, confirmed_at = :confirmed_at, checked_at = :at
    """
    await run(connection, sql, person=person, sealed=sealed, confirmed_at=confirmed_at, at=at)


async def all_sso(connection: ReadConnection) -> list[SsoRow]:
    """Those with something to ask the provider with."""
    return await fetch(
        connection, SsoRow, "SELECT person, sealed, confirmed_at FROM sso_identity WHERE sealed IS NOT NULL"
    )


async def reseal_sso(connection: WriteConnection, person: str, old: bytes, fresh: bytes) -> None:
    sql = "UPDATE sso_identity SET sealed = :fresh WHERE person = :person AND sealed = :old"
    await run(connection, sql, person=person, old=old, fresh=fresh)


async def take_sso(connection: WriteConnection, before: datetime, at: datetime) -> SsoRow | None:
    """Somebody who was last checked before then; no other replica takes them for this turn."""
    sql = """
    UPDATE sso_identity SET checked_at = :at WHERE person = (
        SELECT s.person FROM sso_identity s JOIN person p ON p.id = s.person
        WHERE s.sealed IS NOT NULL AND s.checked_at <= :before AND p.disabled_at IS NULL
        ORDER BY s.checked_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED
    ) RETURNING person, sealed, confirmed_at
    """
    return await fetch_one(connection, SsoRow, sql, before=before, at=at)


async def lock_grants(connection: WriteConnection) -> None:
    """Until the transaction ends nobody else changes who is an administrator."""
    await run(connection, "LOCK TABLE role_grant IN SHARE ROW EXCLUSIVE MODE")


async def administrators(connection: ReadConnection) -> int:
    """How many people who can sign in hold every permission everywhere."""
    sql = """
    SELECT count(DISTINCT p.id) FROM person p JOIN role_grant g ON g.person = p.id
    WHERE p.disabled_at IS NULL AND g.environment = '*' AND g.role = 'admin'
      AND (p.password IS NOT NULL OR p.subject IS NOT NULL)
    """
    return int(await fetch_value(connection, sql))


async def insert_link(
    connection: WriteConnection,
    *, digest: str, purpose: str, person: str | None, by: str, at: datetime, expires_at: datetime,
) -> None:  # fmt: skip
    """The one link by which this person (None: the first ever) gets in: older ones stop working, whatever for."""
    await end_links(connection, person)
    await run(
        connection,
        """
        INSERT INTO one_time_link (digest, purpose, person, created_by, created_at, expires_at)
        VALUES (:digest, :purpose, :person, :by, :at, :expires_at)
        """,
        digest=digest, purpose=purpose, person=person, by=by, at=at, expires_at=expires_at,
    )  # fmt: skip


async def end_links(connection: WriteConnection, person: str | None) -> None:
    """Those of this person that nobody has used."""
    sql = "DELETE FROM one_time_link WHERE person IS NOT DISTINCT FROM :person AND used_at IS NULL"
    await run(connection, sql, person=person)


async def find_link(connection: ReadConnection, digest: str) -> LinkRow | None:
    sql = "SELECT purpose, person, expires_at, used_at FROM one_time_link WHERE digest = :digest"
    return await fetch_one(connection, LinkRow, sql, digest=digest)


async def use_link(connection: WriteConnection, digest: str, at: datetime) -> bool:
    """False when somebody was faster, or it has expired."""
    sql = "UPDATE one_time_link SET used_at = :at WHERE digest = :digest AND used_at IS NULL AND expires_at > :at"
    return await run(connection, sql, digest=digest, at=at) == 1
