"""The two-person rule never holds up what is only safer, and lets nothing through that is riskier."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from brownout.wire import Operation
from controlplane.access.actor import Actor
from controlplane.errors import ApprovalRequiredError, ForbiddenError
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

P = "production"


def put(kind: str, key: str, spec: dict[str, Any]) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(spec)))


def tools(**values: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(values))
    return {"type": "tool_policy", "variants": values, "off_variant": first, "default": first}


def route(name: str, **changed: Any) -> dict[str, Any]:
    targets = {"t": {"provider": "openai", "model": name}}
    variant = {"targets": targets, "primary": "t"}
    return {"type": "model_route", "variants": {"v": variant}, "off_variant": "v", "default": "v", **changed}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, P) as opened:
        yield opened


@pytest.fixture
async def ed(world: World) -> Actor:
    return await world.person("ed@example.com", {P: ["editor", "admin"]})


async def commit(world: World, *ops: Operation) -> int:
    return (await world.services.changes.commit(ROOT, P, ops, "approved")).revision


async def refused(world: World, ed: Actor, *ops: Operation) -> str:
    head = (await world.services.store.head(P)).revision
    with pytest.raises(ApprovalRequiredError) as why:
        await world.services.changes.commit(ed, P, ops, "alone")
    assert (await world.services.store.head(P)).revision == head
    return why.value.message


async def test_a_rollout_is_paused_aborted_and_rolled_back_alone_and_someone_else_reviews_it(
    world: World, ed: Actor
) -> None:
    rollouts = world.services.rollouts
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "off"}
    plan = {"flag": "f", "control": "off", "treatment": "on", "stages": [{"weight_bp": 5000}, {"weight_bp": 10000}]}
    await commit(world, put("flag", "f", flag))
    for key in ("one", "two"):
        await rollouts.create(ROOT, P, key, msgspec.json.encode(plan), "draft")
    await rollouts.move(ROOT, P, "one", "start", "go")
    await world.access.rule.set(ROOT, P, 1)
    await rollouts.move(ed, P, "one", "pause", "looks odd")
    for riskier in ("resume", "advance"):
        with pytest.raises(ApprovalRequiredError):
            await rollouts.move(ed, P, "one", riskier, "more")
    done = await rollouts.move(ed, P, "one", "roll-back", "it is broken")
    assert msgspec.json.decode((await world.services.store.get_resource(P, "flag", "f")).spec).get("rules", []) == []
    for riskier in ("start",):
        with pytest.raises(ApprovalRequiredError):
            await rollouts.move(ed, P, "one", riskier, "again")
    await rollouts.move(ed, P, "two", "abort", "no longer wanted")

    waiting = await world.access.break_glass.list_broken(ed, P)
    assert [each.uses for each in waiting][1] == [f"r{done.revision}"]
    assert {each.actor for each in waiting} == {"ed@example.com"}
    assert not [told for told in world.alerts if told[0] == "break_glass"]
    with pytest.raises(ForbiddenError):
        await world.access.break_glass.review(ed, P, waiting[1].id, "mine")
    await refused(world, ed, put("flag", "f", {**flag, "default": "on"}))


async def test_a_rollout_of_fewer_tools_is_not_rolled_back_alone(world: World, ed: Actor) -> None:
    spec = tools(all={"include": ["*"]}, few={"include": ["search"], "require_approval": ["search"]})
    await commit(world, put("flag", "f", spec))
    plan = {"flag": "f", "control": "all", "treatment": "few", "stages": [{"weight_bp": 5000}]}
    await world.services.rollouts.create(ROOT, P, "r", msgspec.json.encode(plan), "draft")
    await world.services.rollouts.move(ROOT, P, "r", "start", "go")
    await world.access.rule.set(ROOT, P, 1)
    await world.services.rollouts.move(ed, P, "r", "pause", "wait")
    with pytest.raises(ApprovalRequiredError, match="includes more tools"):
        await world.services.rollouts.move(ed, P, "r", "roll-back", "hm")


async def test_an_earlier_approved_state_is_restored_and_undone_alone_unless_it_loosens(
    world: World, ed: Actor
) -> None:
    good = await commit(world, put("flag", "m", route("gpt-4")), put("flag", "t", tools(v={"exclude": ["shell"]})))
    await commit(world, put("flag", "m", route("gpt-5")))
    tight = await commit(world, put("flag", "t", tools(v={"exclude": ["shell", "mail"]})))
    await world.access.rule.set(ROOT, P, 1)
    with pytest.raises(ApprovalRequiredError, match="excludes fewer tools"):
        await world.services.restores.restore(ed, P, good)
    with pytest.raises(ApprovalRequiredError, match="excludes fewer tools"):
        await world.services.restores.restore(ed, P, tight - 1)
    done = await world.services.restores.restore(ed, P, good, refs=[_ref("flag", "m")])
    assert [change.key for change in done.changes] == ["m"]
    waiting = await world.access.break_glass.list_broken(ed, P)
    assert [each.uses for each in waiting] == [[f"r{done.revision}"]]


async def test_the_console_restores_what_is_safer_and_proposes_the_rest(world: World, ed: Actor) -> None:
    good = await commit(world, put("flag", "m", route("gpt-4")), put("flag", "t", tools(v={"exclude": ["shell"]})))
    await commit(world, put("flag", "m", route("gpt-5")), put("flag", "t", tools(v={"exclude": ["shell", "mail"]})))
    await world.access.rule.set(ROOT, P, 1)
    browser = world.client((await world.access.tokens.create_personal(ed, "console")).token)
    form = {"target": str(good), "seen": str(good + 1), "message": "gpt-5 is down"}
    safer = await browser.post(f"/e/{P}/restore", data={**form, "ref": "flag/m"})
    assert (safer.status_code, safer.headers["location"]) == (303, f"/e/{P}/history/{good + 2}?saved={good + 2}")
    rest = await browser.post(f"/e/{P}/restore", data={**form, "ref": "flag/t"})
    assert (rest.status_code, "/access/approvals/" in rest.headers["location"]) == (303, True)
    assert (await world.services.store.head(P)).revision == good + 2


async def test_what_was_only_committed_under_broken_glass_was_never_approved(world: World, ed: Actor) -> None:
    await commit(world, put("flag", "m", route("gpt-4")))
    await world.access.rule.set(ROOT, P, 1)
    glass = await world.access.break_glass.break_(ed, P, "urgent")
    alone = (await world.services.changes.commit(ed, P, [put("flag", "m", route("odd"))], "alone")).revision
    await world.access.break_glass.end(ed, P, glass.id)
    await world.services.restores.restore(ed, P, alone - 1, refs=[_ref("flag", "m")])
    with pytest.raises(ApprovalRequiredError, match="never approved"):
        await world.services.restores.restore(ed, P, alone, refs=[_ref("flag", "m")])


async def test_deleting_creating_and_what_decides_for_others_wait(world: World, ed: Actor) -> None:
    profile = {"max_output_tokens": 10, "exclude_tools": ["shell"]}
    cohort = {"include": ["a"]}
    await commit(world, put("safe_mode_profile", "p", {"max_output_tokens": 5, "exclude_tools": ["*"]}))
    await commit(
        world, put("safe_mode_profile", "p", profile), put("cohort", "c", cohort), put("flag", "m", route("a"))
    )
    await commit(world, put("cohort", "c", {"include": ["b"]}), put("flag", "m", route("a", safe_variant="v")))
    await world.access.rule.set(ROOT, P, 1)
    assert "disappears" in await refused(world, ed, Operation("del", "flag", "m"))
    assert "appears" in await refused(world, ed, put("flag", "n", route("a")))
    assert "decides" in await refused(world, ed, put("cohort", "c", cohort))
    assert "safe variant" in await refused(world, ed, put("flag", "m", route("a")))
    tighter = {"max_output_tokens": 5, "exclude_tools": ["*"]}
    await world.services.changes.commit(ed, P, [put("safe_mode_profile", "p", tighter)], "tighter")
    assert "loosens exclude_tools" in await refused(world, ed, put("safe_mode_profile", "p", profile))


def _ref(kind: str, key: str) -> Any:
    from brownout.model.resources import ResourceRef

    return ResourceRef(kind, key)
