"""What a rollout owns, from every side: second rollouts, finishing, imports, restores, exports and plain commits."""

from typing import Any

import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.parse import decode
from brownout.model.resources import Flag, ResourceRef, Rollout
from brownout.wire import Operation
from controlplane.configuration.documents import Documents
from controlplane.configuration.restores import Restores
from controlplane.configuration.store import Store
from controlplane.errors import ConflictError, InvalidInputError
from controlplane.kit.database import Database
from tests.integration.rollout_world import ENVIRONMENT, ME, MovedClock, World, raw

pytestmark = pytest.mark.anyio

FLAG: dict[str, Any] = {
    "type": "string", "variants": {"a": "A", "b": "B", "c": "C"}, "off_variant": "a", "default": "a",
}  # fmt: skip
BETA = {"any_of": [[{"attribute": "beta", "op": "in", "values": [True]}]]}
ONE = {"flag": "m", "control": "a", "treatment": "b", "stages": [{"weight_bp": 500}, {"weight_bp": 10_000}]}
TWO = {"flag": "m", "control": "b", "treatment": "c", "stages": [{"weight_bp": 10_000}]}


@pytest.fixture
async def world(database: Database, store: Store) -> World:
    world = World(database, store, MovedClock())
    ops = [Operation("put", "flag", "m", raw(FLAG)), Operation("put", "cohort", "beta", raw(BETA))]
    await world.changes.commit(ME, ENVIRONMENT, ops, "the world")
    return world


async def make(world: World, key: str, spec: dict[str, Any], *steps: str) -> None:
    await world.rollouts.create(ME, ENVIRONMENT, key, msgspec.json.encode(spec), "new", start=bool(steps))
    for step in steps[1:]:
        await world.rollouts.move(ME, ENVIRONMENT, key, step, "go on")


async def move(world: World, key: str, step: str) -> str:
    return (await world.rollouts.move(ME, ENVIRONMENT, key, step, "by hand")).state


async def flag(world: World, environment: str = ENVIRONMENT) -> Flag:
    found = decode("flag", (await world.store.get_resource(environment, "flag", "m")).spec)
    assert isinstance(found, Flag)
    return found


async def rollout(world: World, key: str) -> Rollout:
    found = decode("rollout", (await world.store.get_resource(ENVIRONMENT, "rollout", key)).spec)
    assert isinstance(found, Rollout)
    return found


async def served(world: World, context: dict[str, Any] | None = None) -> str | None:
    state = await world.store.state(ENVIRONMENT)
    compiled = Compiled.load(ENVIRONMENT, state.head.revision, state.resources)
    return evaluate(compiled, "m", context or {"targeting_key": "u1"}, default=None).variant


async def put(world: World, *ops: Operation) -> None:
    await world.changes.commit(ME, ENVIRONMENT, ops, "by people")


async def refused(world: World, *ops: Operation) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as found:
        await put(world, *ops)
    return [(fault.code, fault.pointer) for fault in found.value.faults]


async def test_a_second_rollout_starts_only_where_it_serves_and_then_serves(world: World) -> None:
    await make(world, "one", ONE, "start", "advance", "advance")
    with pytest.raises(ConflictError, match=r"stage 1 would serve no one.*`brownout rollout finish one`"):
        await make(world, "two", TWO, "start")
    assert (await world.store.find_resource(ENVIRONMENT, "rollout", "two")) is None, "nothing was saved"

    assert await move(world, "one", "finish") == "finished"
    assert (await flag(world)).rules == ()
    assert (await flag(world)).default == "b"
    await make(world, "two", TWO, "start")
    assert await served(world) == "c"
    await move(world, "two", "advance")
    await move(world, "two", "finish")
    assert await served(world) == "c"


async def test_a_rule_that_catches_everyone_refuses_a_start_and_holds_what_runs(world: World) -> None:
    everyone = {"id": "all", "serve": "a"}
    await put(world, Operation("put", "flag", "m", raw({**FLAG, "rules": [everyone]})))
    with pytest.raises(ConflictError, match="the rule all of the flag m already catches everyone"):
        await make(world, "one", ONE, "start")
    await put(world, Operation("put", "flag", "m", raw(FLAG)))
    await make(world, "one", ONE, "start")
    (own,) = (await flag(world)).rules
    shadowed = {**FLAG, "rules": [everyone, msgspec.to_builtins(own)]}
    done = await world.changes.commit(ME, ENVIRONMENT, [Operation("put", "flag", "m", raw(shadowed))], "in front")
    assert f"warning: flag m: rule {own.id} never serves, rule all before it catches everyone it asks for" in (
        done.effective
    )


async def test_finishing_a_cohort_leaves_an_ordinary_rule_that_serves_the_same(world: World) -> None:
    cohort = {**ONE, "stages": [{"cohort": "beta", "weight_bp": 5_000}]}
    await make(world, "one", cohort, "start", "advance")
    people = [{"targeting_key": f"u{n}", "beta": n % 2 == 0} for n in range(40)] + [{"beta": True}, {}]
    before = [await served(world, person) for person in people]
    await move(world, "one", "finish")
    (rule,) = (await flag(world)).rules
    assert (rule.id, (await flag(world)).default) == ("one-beta", "a")
    assert [await served(world, person) for person in people] == before
    assert before[-2:] == ["a", "a"], "no one without a unit is in a canary"


async def test_a_rollout_may_finish_by_itself_in_the_commit_that_completes_it(world: World) -> None:
    await make(world, "one", {**ONE, "finish": "automatic"}, "start", "advance")
    assert await move(world, "one", "advance") == "finished"
    assert ((await flag(world)).default, (await flag(world)).rules) == ("b", ())


async def test_finishing_never_wakes_rules_behind_it(world: World) -> None:
    await make(world, "one", {**ONE, "finish": "automatic"}, "start", "advance")
    (own,) = (await flag(world)).rules
    late = {"id": "late", "serve": "c"}
    await put(world, Operation("put", "flag", "m", raw({**FLAG, "rules": [msgspec.to_builtins(own), late]})))
    assert await move(world, "one", "advance") == "completed"
    with pytest.raises(ConflictError, match="late behind it would begin to serve"):
        await move(world, "one", "finish")
    assert await served(world) == "b"


async def test_a_completed_rollout_restarts_only_when_asked_to(world: World) -> None:
    await make(world, "one", ONE, "start", "advance", "advance")
    with pytest.raises(ConflictError, match=r"only 5 % of everyone would keep it.*`brownout rollout restart`"):
        await move(world, "one", "start")
    assert (await rollout(world, "one")).progress.state == "completed"
    assert await move(world, "one", "restart") == "running"
    assert (await rollout(world, "one")).progress.run == 2


async def test_creating_never_replaces_and_editing_only_what_serves_no_one(world: World) -> None:
    await make(world, "one", ONE)
    edited = msgspec.json.encode({**ONE, "stages": [{"weight_bp": 100}]})
    await world.rollouts.edit(ME, ENVIRONMENT, "one", edited, "smaller")
    assert [stage.weight_bp for stage in (await rollout(world, "one")).stages] == [100]
    await move(world, "one", "start")
    with pytest.raises(ConflictError, match="there is a rollout one already"):
        await make(world, "one", ONE)
    with pytest.raises(ConflictError, match="is running and serves b"):
        await world.rollouts.edit(ME, ENVIRONMENT, "one", edited, "under way")
    with pytest.raises(ConflictError, match="is running and serves b"):
        await move(world, "one", "delete")


async def test_a_deleted_rollouts_evidence_is_never_counted_again(world: World) -> None:
    await make(world, "one", ONE, "start", "abort")
    assert await move(world, "one", "delete") == "deleted"
    await make(world, "one", ONE, "start")
    assert (await rollout(world, "one")).progress.run > 1


async def test_a_plain_commit_moves_no_rollout(world: World) -> None:
    await make(world, "one", ONE, "start")
    running = await rollout(world, "one")
    done = msgspec.to_builtins(running)
    done["progress"]["state"] = "completed"
    forged = Operation("put", "rollout", "one", raw(done))
    assert ("owned", "/rollout/one/progress") in await refused(world, forged)
    assert ("owned", "/rollout/one") in await refused(world, Operation("del", "rollout", "one"))
    other = {**FLAG, "rules": [{"id": "rollout:nobody:1.0", "serve": "b"}]}
    assert await refused(world, Operation("put", "flag", "n", raw(other))) == [("owned", "/flag/n/rules/0")]
    new = {**ONE, "progress": {"state": "completed", "run": 1, "stage": 1}}
    assert ("owned", "/rollout/x/progress") in await refused(world, Operation("put", "rollout", "x", raw(new)))


async def test_documents_and_restores_leave_rollouts_and_their_rules_alone(world: World, store: Store) -> None:
    documents, restores = Documents(store, world.changes, world.clock), Restores(store, world.changes)
    before = await documents.export(ME, ENVIRONMENT)
    start = (await store.head(ENVIRONMENT)).revision
    await make(world, "one", ONE, "start")
    running = (await store.head(ENVIRONMENT)).revision
    during = await documents.export(ME, ENVIRONMENT)
    assert b"rollout:" not in bytes(during.resources["flag"]["m"])
    await move(world, "one", "advance")
    own = (await flag(world)).rules

    for document in (before, during):
        await documents.import_(ME, ENVIRONMENT, document, prune=True)
        assert ((await flag(world)).rules, (await rollout(world, "one")).progress.stage) == (own, 1)

    await put(world, Operation("put", "flag", "m", raw({**FLAG, "description": "edited"})))
    for revision in (start, running):
        await put(world, Operation("put", "flag", "m", raw({**FLAG, "description": f"r{revision}"})))
        await restores.restore(ME, ENVIRONMENT, revision)
        restored = await flag(world)
        assert (restored.rules, restored.description) == (own, "")
        assert (await rollout(world, "one")).progress.stage == 1
    with pytest.raises(InvalidInputError, match="its own commands"):
        await restores.restore(ME, ENVIRONMENT, running, refs=[ResourceRef("rollout", "one")])

    await store.create_environment("other", "Other")
    await documents.import_(ME, "other", during)
    assert (await flag(world, "other")).rules == ()
