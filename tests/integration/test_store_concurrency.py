"""Many writers at once, in one replica and in two."""

from itertools import pairwise

import asyncpg
import pytest
from anyio import Event, create_task_group, fail_after

from brownout import wire
from controlplane.configuration.store import NOTIFY_CHANNEL, Commit, SigningKeys, StaleRevisionError, Store
from controlplane.errors import UnavailableError
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.conftest import SECRET_KEY
from tests.integration.resources import cohort, put

pytestmark = pytest.mark.anyio

WRITERS = 50


async def test_parallel_commits_of_two_replicas_are_gapless_and_ordered(store: Store, database_url: str) -> None:
    other_database = Database(database_url)
    replicas = [store, Store(other_database, SystemClock(), SigningKeys(other_database, SystemClock(), SECRET_KEY))]
    made: dict[int, str] = {}

    async def commit(number: int) -> None:
        ops = [put(cohort(f"c-{number}")), put(cohort("shared", f"u-{number}"))]
        done = await replicas[number % 2].commit("production", ops, author=f"w-{number}", message="race")
        made[done.revision] = done.author

    async with create_task_group() as group:
        for number in range(WRITERS):
            group.start_soon(commit, number)
    await other_database.close()

    envelopes = await store.envelopes("production", 0, WRITERS * 2)
    assert [e.revision for e in envelopes] == list(range(1, WRITERS + 1)) == sorted(made)
    for previous, envelope in pairwise(envelopes):
        assert envelope.previous_chain == previous.chain == wire.chain(previous.previous_chain, previous.payload)
    lines = await store.list_commits("production", limit=WRITERS)
    assert {line.revision: line.author for line in lines} == made
    state = await store.state("production")
    assert len(state.resources) == WRITERS + 1
    last = made[WRITERS].removeprefix("w-")
    assert state.resources["cohort", "shared"] == f'{{"include":["u-{last}"]}}'.encode()
    assert (await store.verify_history("production")).broken is None


async def test_of_parallel_commits_that_expect_the_same_revision_one_wins(store: Store) -> None:
    outcomes: list[int | None] = []

    async def commit(number: int) -> None:
        try:
            done = await store.commit(
                "production", [put(cohort(f"c-{number}"))], author="w", message="race", expected_revision=0
            )
            outcomes.append(done.revision)
        except StaleRevisionError:
            outcomes.append(None)

    async with create_task_group() as group:
        for number in range(10):
            group.start_soon(commit, number)
    assert sorted(outcomes, key=bool) == [None] * 9 + [1]


async def test_parallel_requests_with_one_idempotency_key_make_one_revision(store: Store, database_url: str) -> None:
    other_database = Database(database_url)
    replicas = [store, Store(other_database, SystemClock(), SigningKeys(other_database, SystemClock(), SECRET_KEY))]
    answers: list[Commit] = []

    async def commit(number: int) -> None:
        answers.append(
            await replicas[number % 2].commit(
                "production", [put(cohort("beta"))], author="w", message="retry", idempotency_key="only-once"
            )
        )

    async with create_task_group() as group:
        for number in range(20):
            group.start_soon(commit, number)
    await other_database.close()
    assert {(answer.revision, answer.chain) for answer in answers} == {(1, answers[0].chain)}
    assert sum(not answer.replayed for answer in answers) == 1


async def test_every_commit_is_told_to_listeners(store: Store, database_url: str) -> None:
    told: list[str] = []
    heard = Event()

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        told.append(str(payload))
        heard.set()

    connection = await asyncpg.connect(database_url)
    await connection.add_listener(NOTIFY_CHANNEL, hear)
    await store.commit("production", [put(cohort("beta"))], author="w", message="tell")
    with fail_after(5):
        await heard.wait()
    await connection.close()
    assert told == ["production 1"]


async def test_a_commit_waits_no_longer_for_the_lock_than_the_timeout(store: Store, database_url: str) -> None:
    hasty = Database(database_url, lock_timeout_ms=50)
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("SELECT FROM environment FOR UPDATE")
        second = Store(hasty, SystemClock(), SigningKeys(hasty, SystemClock(), SECRET_KEY))
        with pytest.raises(UnavailableError):
            await second.commit("production", [put(cohort("beta"))], author="w", message="wait")
    await connection.close()
    await hasty.close()
    assert (await store.head("production")).revision == 0


async def test_connections_lost_in_a_restart_are_replaced(store: Store, database_url: str) -> None:
    await store.head("production")
    connection = await asyncpg.connect(database_url)
    ended = await connection.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    assert ended
    assert (await store.commit("production", [put(cohort("beta"))], author="w", message="again")).revision == 1
    assert (await store.head("production")).revision == 1
