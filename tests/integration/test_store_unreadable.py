"""What this version cannot read (a newer one wrote it, and was taken back) can be repaired, and holds up no safe mode."""

import pytest
from sqlalchemy import text

from brownout.wire import Operation
from controlplane.configuration.store import Store
from controlplane.errors import InvalidInputError
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.safemode.service import find_all
from tests.integration.resources import activation, cohort, delete, flag, in_cohort, model_flag, put, request_class
from tests.integration.rollout_world import ENVIRONMENT, KEY, ME, ROLLOUT, MovedClock, World, raw

pytestmark = pytest.mark.anyio

PROFILE = ("safe_mode_profile", "calm", {"max_attempts": 1, "serve_safe_variant": ["search"]})
SEARCH = flag("search", safe_variant="off", rules=[in_cohort("beta")])
WORLD = [
    cohort("beta", "u-1"), SEARCH, model_flag("model", "small"), request_class("reply", model="model"), PROFILE,
]  # fmt: skip


@pytest.fixture
async def world(store: Store) -> Store:
    await commit(store, *map(put, WORLD))
    return store


async def commit(store: Store, *ops: Operation) -> tuple[str, ...]:
    return (await store.commit(ENVIRONMENT, ops, author="test", message="change")).effective


async def spoil(database: Database, kind: str, key: str) -> None:
    async with database.writing() as connection:
        await connection.execute(
            text("UPDATE resource SET spec = :spec WHERE kind = :kind AND key = :key"),
            {"spec": b'{"newer":1}', "kind": kind, "key": key},
        )


async def test_it_can_be_replaced_and_deleted(world: Store, database: Database) -> None:
    await spoil(database, "flag", "search")
    assert await commit(world, put(SEARCH)) == ("flag search: replaced, this version could not read it",)
    await spoil(database, "request_class", "reply")
    assert await commit(world, delete("request_class", "reply")) == (
        "request class reply: gone, this version could not read it",
    )


async def test_what_has_to_look_into_it_is_refused_and_names_it(world: Store, database: Database) -> None:
    await spoil(database, "flag", "model")
    with pytest.raises(InvalidInputError) as refused:
        await commit(world, put(request_class("reply", model="model", sensitive=True)))
    assert [fault.pointer for fault in refused.value.faults] == ["/flag/model"]
    assert "replace or delete it first" in refused.value.message


async def test_what_it_may_build_on_is_not_changed_behind_its_back(world: Store, database: Database) -> None:
    await spoil(database, "flag", "search")
    with pytest.raises(InvalidInputError) as refused:
        await commit(world, put(cohort("beta", "u-2")))
    assert [fault.pointer for fault in refused.value.faults] == ["/flag/search"]
    await commit(world, put(cohort("another", "u-2")))


@pytest.mark.parametrize(("kind", "key"), [("flag", "search"), ("flag", "model"), ("request_class", "reply")])
async def test_safe_mode_is_switched_whatever_cannot_be_read(
    world: Store, database: Database, kind: str, key: str
) -> None:
    await spoil(database, kind, key)
    await commit(world, put(activation("everything", "calm")))
    await commit(world, put(activation("replies", "calm", scope={"request_classes": ["reply"]})))
    await commit(world, delete("safe_mode_activation", "replies"))


async def test_a_profile_that_cannot_be_read_is_not_activated_but_lifted(world: Store, database: Database) -> None:
    await commit(world, put(activation("before", "calm")))
    await spoil(database, "safe_mode_profile", "calm")
    with pytest.raises(InvalidInputError):
        await commit(world, put(activation("after", "calm")))
    await commit(world, delete("safe_mode_activation", "before"))


async def test_an_activation_that_cannot_be_read_hides_no_other_and_can_be_lifted(
    world: Store, database: Database
) -> None:
    for key in ("one", "two"):
        await commit(world, put(activation(key, "calm")))
    await spoil(database, "safe_mode_activation", "one")
    assert [found.key for found in await find_all(world, ENVIRONMENT, SystemClock().now())] == ["two"]
    assert await commit(world, delete("safe_mode_activation", "one")) == (
        "safe mode activation one: gone, this version could not read it",
    )


async def test_a_rollout_goes_on_beside_an_activation_and_a_rollout_that_cannot_be_read(
    database: Database, store: Store
) -> None:
    world = World(database, store, MovedClock())
    await world.begin()
    await world.activate("a")
    await world.changes.commit(ME, ENVIRONMENT, [Operation("put", "rollout", "other", raw(ROLLOUT))], "another")
    await spoil(database, "safe_mode_activation", "a")
    await spoil(database, "rollout", "other")
    await world.live(4, lambda model: 0.25 if model == "sonnet" else 0.02)
    assert (await world.view()).summary.state == "rolled_back"
    assert [found.key for found in (await world.rollouts.list(ME, ENVIRONMENT)).items] == [KEY]
