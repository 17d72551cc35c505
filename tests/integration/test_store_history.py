from datetime import timedelta

import asyncpg
import pytest

from brownout import wire
from brownout.model import ResourceRef
from controlplane.clock import SystemClock
from controlplane.errors import NotFoundError
from controlplane.store import Store
from tests.integration.resources import cohort, delete, flag, put

pytestmark = pytest.mark.anyio

BETA = ResourceRef("cohort", "beta")
SEARCH = ResourceRef("flag", "web-search")


async def commit(store: Store, *ops: wire.Operation, author: str = "mara") -> int:
    return (await store.commit("production", ops, author=author, message="because")).revision


async def test_any_revision_can_be_rebuilt(store: Store) -> None:
    states = [(await store.state("production")).resources]
    for ops in ([put(cohort("beta", "u-1"))], [put(flag("web-search"))], [put(cohort("beta", "u-2"))], [delete(*BETA)]):
        await commit(store, *ops)
        states.append((await store.state("production")).resources)
    for revision, resources in enumerate(states):
        state = await store.state("production", revision)
        assert (state.resources, state.head.revision) == (resources, revision)
    with pytest.raises(NotFoundError):
        await store.state("production", 99)


async def test_a_diff_leads_from_one_revision_to_the_other_in_either_direction(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")), put(cohort("idle")))
    await commit(store, put(cohort("beta", "u-2")), put(flag("web-search")))
    await commit(store, put(cohort("beta", "u-2", "u-3")))
    forth, back = await store.diff("production", 1, 3), await store.diff("production", 3, 1)
    assert [(r.kind, r.key) for r in forth.resources] == [BETA, SEARCH]
    assert [(f.pointer, f.before, f.after) for f in forth.resources[0].fields] == [
        ("/include", b'["u-1"]', b'["u-2","u-3"]')
    ]
    assert [(r.before, r.after) for r in back.resources] == [(r.after, r.before) for r in forth.resources]
    assert (await store.diff("production", 2, 2)).resources == ()


async def test_restoring_is_a_new_commit_that_makes_everything_what_it_was(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    then = (await store.state("production")).resources
    await commit(store, put(flag("web-search")), put(cohort("beta", "u-2")))
    done = await store.restore("production", 1, author="noor", message="undo")
    assert (done.revision, {change.ref for change in done.changes}) == (3, {BETA, SEARCH})
    assert (await store.state("production")).resources == then
    again = await store.restore("production", 1, author="noor", message="undo")
    assert (again.unchanged, again.revision) == (True, 3)


async def test_restoring_can_be_of_some_resources_only(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")), put(flag("web-search")))
    await commit(store, put(cohort("beta", "u-2")), delete(*SEARCH))
    preview = await store.preview_restore("production", 1, [BETA])
    done = await store.restore("production", 1, [BETA], author="noor", message="undo")
    assert preview.changes == done.changes
    assert [change.ref for change in done.changes] == [BETA]


async def test_a_repeated_restore_with_the_same_key_answers_with_the_first(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    await commit(store, put(cohort("beta", "u-2")))
    words = {"author": "noor", "message": "undo", "idempotency_key": "undo-1"}
    first = await store.restore("production", 1, **words)
    second = await store.restore("production", 1, **words)
    assert (second.revision, second.replayed, second.changes) == (3, True, first.changes)


async def test_fencing_jumps_ahead_and_the_chain_goes_through_it(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    before = await store.head("production")
    fenced = await store.fence("production", 41, before.epoch, "Postgres was restored to yesterday")
    assert fenced.revision == 42
    assert fenced.epoch >= SystemClock().now().timestamp() - 60
    assert await store.fence("production", 41, before.epoch, "seen by another replica too") == fenced
    assert await commit(store, put(cohort("beta", "u-2"))) == 43
    one, jump, after = await store.envelopes("production", 0, 10)
    assert (jump.previous_chain, after.previous_chain, jump.reset) == (one.chain, jump.chain, True)
    assert (await store.get_commit("production", 42)).message == "Postgres was restored to yesterday"
    assert (await store.verify_history("production")).broken is None
    assert (await store.state("production", 42)).resources == (await store.state("production", 1)).resources


async def test_an_oversize_commit_is_kept_whole_and_published_as_reset(store: Store) -> None:
    big = [put(flag(f"flag-{n}", description="x" * 15_000)) for n in range(40)]
    await commit(store, *big)
    (envelope,) = await store.envelopes("production", 0, 10)
    assert envelope.reset
    assert len(envelope.payload) < 1_000
    assert len((await store.get_commit("production", 1)).changes) == 40
    assert len((await store.state("production", 1)).resources) == 40
    assert (await store.verify_history("production")).broken is None


async def test_history_is_listed_newest_first_and_filtered(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")), author="mara")
    await commit(store, put(flag("web-search")), author="noor")
    await commit(store, put(cohort("beta", "u-2")), author="noor")

    async def revisions(**where: object) -> list[int]:
        return [line.revision for line in await store.list_commits("production", **where)]

    now = SystemClock().now()
    assert await revisions() == [3, 2, 1]
    assert await revisions(limit=2) == [3, 2]
    assert await revisions(before=2) == [1]
    assert await revisions(author="noor") == [3, 2]
    assert await revisions(kind="cohort") == [3, 1]
    assert await revisions(kind="flag", key="web-search") == [2]
    assert await revisions(since=now + timedelta(minutes=1)) == []
    assert await revisions(since=now - timedelta(minutes=1), until=now + timedelta(minutes=1)) == [3, 2, 1]
    (line,) = await store.list_commits("production", author="mara")
    assert (line.refs, line.changes) == ((BETA,), 1)


@pytest.mark.parametrize("table", ["revision", "change"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET environment = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_database_refuses_to_rewrite_history(
    store: Store, database_url: str, table: str, statement: str
) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await connection.execute(statement.format(table))
    await connection.close()


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
    await commit(store, put(cohort("beta", "u-1")))
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError, match=said):
        await connection.execute(FORGE, *forged)
    await connection.execute(FORGE, 2, 0, None, None)
    await connection.close()


async def test_the_database_refuses_changes_added_to_the_past(store: Store, database_url: str) -> None:
    await commit(store, put(cohort("beta", "u-1")))
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
        await commit(store, put(cohort(name)))
    assert (await store.verify_history("production")).revisions == 3
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE revision DISABLE TRIGGER append_only")
    await connection.execute(TAMPER[code])
    await connection.close()
    verified = await store.verify_history("production")
    assert verified.broken is not None
    assert (verified.broken.code, verified.broken.revision) == (code, 3 if code == "gap" else 2)


async def test_verification_sees_a_head_state_that_the_log_does_not_lead_to(store: Store, database_url: str) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE resource SET spec = '{}'")
    await connection.close()
    broken = (await store.verify_history("production")).broken
    assert broken is not None
    assert broken.code == "state"
