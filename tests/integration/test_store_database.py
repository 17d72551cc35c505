"""What the database itself refuses, and what verification finds when somebody gets around that."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DBAPIError

from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.commit import IDEMPOTENCY_LIFETIME
from controlplane.configuration.store.tables import idempotency
from controlplane.errors import UnavailableError
from controlplane.kit.database import Database
from tests.integration.resources import cohort, put

pytestmark = pytest.mark.anyio


async def commit(store: Store, key: str = "beta") -> None:
    await store.commit("production", [put(cohort(key, "u-1"))], author="mara", message="because")


@pytest.mark.parametrize("table", ["revision", "change"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET environment = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_database_refuses_to_rewrite_history(
    store: Store, database_url: str, table: str, statement: str
) -> None:
    await commit(store)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await connection.execute(statement.format(table))
    await connection.close()


class MovedClock:
    """Tells the time plus whatever it was moved by."""

    def __init__(self) -> None:
        self.moved = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved


async def test_an_idempotency_key_is_forgotten_after_its_lifetime(
    store: Store, database: Database, signing_keys: SigningKeys
) -> None:
    clock = MovedClock()
    store = Store(database, clock, signing_keys)
    words = {"author": "mara", "message": "once", "idempotency_key": "k"}
    first = await store.commit("production", [put(cohort("a"))], **words)
    clock.moved = IDEMPOTENCY_LIFETIME - timedelta(seconds=1)
    assert (await store.commit("production", [put(cohort("a"))], **words)).replayed
    clock.moved = IDEMPOTENCY_LIFETIME + timedelta(seconds=5)
    second = await store.commit("production", [put(cohort("b"))], **words)
    assert (first.revision, second.revision, second.replayed) == (1, 2, False)
    assert (await store.commit("production", [put(cohort("b"))], **words)).revision == 2
    await store.commit("production", [put(cohort("c"))], **(words | {"idempotency_key": "other"}))
    async with database.reading() as connection:
        kept = await connection.sql.scalars(select(idempotency.c.key).order_by(idempotency.c.key))
        assert kept.all() == ["k", "other"]
    clock.moved *= 2
    await store.commit("production", [put(cohort("d"))], author="mara", message="later")
    async with database.reading() as connection:
        assert await connection.sql.scalar(select(func.count()).select_from(idempotency)) == 0


async def test_the_reading_pool_cannot_write(database: Database, store: Store) -> None:
    with pytest.raises(DBAPIError, match="read-only transaction"):
        async with database.reading() as connection:
            await connection.execute(delete(idempotency))


FORGE = """
INSERT INTO revision (environment, revision, epoch, previous_chain, chain, payload, signature, reset, author, message,
                      created_at, effective, changes, seal)
SELECT environment, $1, epoch + $2, coalesce($3, chain), coalesce($4, left(encode(sha256(convert_to(chain, 'UTF8')
    || payload), 'hex'), 32)), payload, signature, reset, author, message, created_at, effective, 0, seal
FROM revision WHERE revision = 1
"""


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ((3, 0, None, None), "not the next one"),
        ((1, 0, None, None), "not the next one"),
        ((2, -1, None, None), "not the next one"),
        ((2, 0, "elsewhere", None), "does not follow"),
        ((2, 0, None, "elsewhere"), "not that of its payload"),
    ],
)
async def test_the_database_refuses_a_revision_that_does_not_follow(
    store: Store, database_url: str, forged: tuple[object, ...], said: str
) -> None:
    await commit(store)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError, match=said):
        await connection.execute(FORGE, *forged)
    await connection.execute(FORGE, 2, 0, None, None)
    await connection.close()


async def test_the_database_refuses_changes_added_to_the_past(store: Store, database_url: str) -> None:
    await commit(store)
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError, match="with the revision that made it"):
        await connection.execute("INSERT INTO change VALUES ('production', 1, 'cohort', 'other', NULL, '{}')")
    await connection.close()


TAMPER = {
    "seal": "UPDATE revision SET author = 'nobody' WHERE revision = 2",
    "chain": "UPDATE revision SET payload = payload || ' '::bytea WHERE revision = 2",
    "signature": "UPDATE revision SET signature = (SELECT signature FROM revision WHERE revision = 1) WHERE revision = 2",
    "gap": "DELETE FROM revision WHERE revision = 2",
}


@pytest.mark.parametrize("code", TAMPER)
async def test_verification_names_the_first_broken_revision(store: Store, database_url: str, code: str) -> None:
    for name in ("a", "b", "c"):
        await commit(store, name)
    assert (await store.verify_history("production")).revisions == 3
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE revision DISABLE TRIGGER append_only")
    await connection.execute(TAMPER[code])
    await connection.close()
    verified = await store.verify_history("production")
    assert verified.broken is not None
    assert (verified.broken.code, verified.broken.revision) == (code, 3 if code == "gap" else 2)


async def test_verification_sees_a_head_state_that_the_log_does_not_lead_to(store: Store, database_url: str) -> None:
    await commit(store)
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE resource SET spec = '{}'")
    await connection.close()
    broken = (await store.verify_history("production")).broken
    assert broken is not None
    assert broken.code == "state"


@pytest.mark.parametrize(
    ("state", "said"), [("53100", "no disk space left"), ("53200", "does not answer"), ("57P03", "does not answer")]
)
async def test_a_server_that_has_run_out_of_something_is_unavailable(database: Database, state: str, said: str) -> None:
    raise_it = text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(UnavailableError, match=said):
        async with database.writing() as connection:
            await connection.execute(raise_it)
