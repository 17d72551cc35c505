"""What people prove themselves with besides a password: codes, recovery codes, passkeys."""

from datetime import datetime

import msgspec

from controlplane.access.queries.base import fetch, fetch_one, run
from controlplane.kit.database import ReadConnection, WriteConnection


class Held(msgspec.Struct, frozen=True):
    """What one person has to prove themselves with."""

    password: bool = False
    sso: bool = False
    code: bool = False
    passkey: bool = False
    recovery: int = 0
    """Recovery codes that nobody has used."""

    @property
    def factor(self) -> bool:
        return self.code or self.passkey

    @property
    def proofs(self) -> tuple[str, ...]:
        """Who has a second factor proves themselves with it; a password does for those who have none."""
        local = [name for name, has in (("passkey", self.passkey), ("code", self.code)) if has]
        local += ["recovery"] if local and self.recovery else []
        local = local or (["password"] if self.password else [])
        return (*local, *(["sso"] if self.sso else []))


class TotpRow(msgspec.Struct, frozen=True):
    person: str
    sealed: bytes
    last_step: int
    confirmed_at: datetime | None


class PasskeyRow(msgspec.Struct, frozen=True):
    """`credential` is the attested credential data (WebAuthn §6.5.2): the public key and its algorithm."""

    id: str
    person: str
    name: str
    credential_id: bytes
    credential: bytes
    sign_count: int
    created_at: datetime
    used_at: datetime | None


async def held(connection: ReadConnection, person: str) -> Held:
    found = await fetch_one(
        connection,
        Held,
        """
        SELECT password IS NOT NULL AS password, subject IS NOT NULL AS sso,
            EXISTS (SELECT FROM totp WHERE person = id AND confirmed_at IS NOT NULL) AS code,
            EXISTS (SELECT FROM passkey WHERE passkey.person = person.id) AS passkey,
            (SELECT count(*) FROM recovery_code r WHERE r.person = person.id AND used_at IS NULL) AS recovery
        FROM person WHERE id = :person
        """,
        person=person,
    )
    return found or Held()


async def totp(connection: ReadConnection, person: str) -> TotpRow | None:
    sql = "SELECT person, sealed, last_step, confirmed_at FROM totp WHERE person = :person"
    return await fetch_one(connection, TotpRow, sql, person=person)


async def totps(connection: ReadConnection) -> list[TotpRow]:
    return await fetch(connection, TotpRow, "SELECT person, sealed, last_step, confirmed_at FROM totp")


async def begin_totp(connection: WriteConnection, person: str, sealed: bytes, at: datetime) -> bool:
    """Replaces one that was never confirmed; False when there is one that counts."""
    sql = """
    INSERT INTO totp (person, sealed, created_at) VALUES (:person, :sealed, :at)
    ON CONFLICT (person) DO UPDATE SET sealed = :sealed, created_at = :at, last_step = -1
    WHERE totp.confirmed_at IS NULL
    """
    return await run(connection, sql, person=person, sealed=sealed, at=at) == 1


async def use_step(connection: WriteConnection, person: str, step: int) -> bool:
    """False when this code, or a later one, was used already."""
    sql = "UPDATE totp SET last_step = :step WHERE person = :person AND last_step < :step"
    return await run(connection, sql, person=person, step=step) == 1


async def confirm_totp(connection: WriteConnection, person: str, at: datetime) -> bool:
    sql = "UPDATE totp SET confirmed_at = :at WHERE person = :person AND confirmed_at IS NULL"
    return await run(connection, sql, person=person, at=at) == 1


async def delete_totp(connection: WriteConnection, person: str) -> bool:
    return await run(connection, "DELETE FROM totp WHERE person = :person", person=person) == 1


async def replace_totp(connection: WriteConnection, person: str, old: bytes, fresh: bytes) -> None:
    sql = "UPDATE totp SET sealed = :fresh WHERE person = :person AND sealed = :old"
    await run(connection, sql, person=person, old=old, fresh=fresh)


async def set_recovery_codes(connection: WriteConnection, person: str, digests: list[str], at: datetime) -> None:
    """Those of before stop working."""
    await run(connection, "DELETE FROM recovery_code WHERE person = :person", person=person)
    sql = "INSERT INTO recovery_code (digest, person, created_at) VALUES (:digest, :person, :at)"
    for digest in digests:
        await run(connection, sql, digest=digest, person=person, at=at)


async def use_recovery_code(connection: WriteConnection, person: str, digest: str, at: datetime) -> bool:
    sql = "UPDATE recovery_code SET used_at = :at WHERE digest = :digest AND person = :person AND used_at IS NULL"
    return await run(connection, sql, person=person, digest=digest, at=at) == 1


_PASSKEY = "id, person, name, credential_id, credential, sign_count, created_at, used_at"


async def passkeys(connection: ReadConnection, person: str) -> list[PasskeyRow]:
    sql = f"SELECT {_PASSKEY} FROM passkey WHERE person = :person ORDER BY created_at"  # noqa: S608
    return await fetch(connection, PasskeyRow, sql, person=person)


async def find_passkey(connection: ReadConnection, credential_id: bytes) -> PasskeyRow | None:
    sql = f"SELECT {_PASSKEY} FROM passkey WHERE credential_id = :credential_id"  # noqa: S608
    return await fetch_one(connection, PasskeyRow, sql, credential_id=credential_id)


async def insert_passkey(connection: WriteConnection, row: PasskeyRow) -> bool:
    """False when that passkey is registered already."""
    sql = f"""
    INSERT INTO passkey ({_PASSKEY})
    VALUES (:id, :person, :name, :credential_id, :credential, :sign_count, :created_at, :used_at)
    ON CONFLICT DO NOTHING
    """  # noqa: S608
    return await run(connection, sql, **msgspec.structs.asdict(row)) == 1


async def use_passkey(connection: WriteConnection, passkey: str, sign_count: int, at: datetime) -> bool:
    """False when its counter does not go up: there may be a copy (WebAuthn §6.1.1). Zero: it does not count."""
    sql = """
    UPDATE passkey SET sign_count = :count, used_at = :at
    WHERE id = :id AND (sign_count < :count OR (sign_count = 0 AND :count = 0))
    """
    return await run(connection, sql, id=passkey, count=sign_count, at=at) == 1


async def rename_passkey(connection: WriteConnection, person: str, passkey: str, name: str) -> bool:
    sql = "UPDATE passkey SET name = :name WHERE id = :id AND person = :person"
    return await run(connection, sql, id=passkey, person=person, name=name) == 1


async def delete_passkey(connection: WriteConnection, person: str, passkey: str) -> bool:
    sql = "DELETE FROM passkey WHERE id = :id AND person = :person"
    return await run(connection, sql, id=passkey, person=person) == 1


async def forget_factors(connection: WriteConnection, person: str) -> None:
    for table in ("totp", "passkey", "recovery_code"):
        await run(connection, f"DELETE FROM {table} WHERE person = :person", person=person)  # noqa: S608


async def forget_recovery_codes(connection: WriteConnection, person: str) -> None:
    await run(connection, "DELETE FROM recovery_code WHERE person = :person", person=person)


async def use_challenge(connection: WriteConnection, digest: str, now: datetime, expires_at: datetime) -> bool:
    """False when it was used before."""
    await run(connection, "DELETE FROM used_challenge WHERE expires_at < :now", now=now)
    sql = "INSERT INTO used_challenge (digest, expires_at) VALUES (:digest, :expires_at) ON CONFLICT DO NOTHING"
    return await run(connection, sql, digest=digest, expires_at=expires_at) == 1
