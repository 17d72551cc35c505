"""Rollouts from end to end: SDK evaluation, telemetry, Postgres, and three engines that want to act at once."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from brownout.evaluation.policy import Policy
from brownout.model.parse import decode, encode
from brownout.model.resources import Flag, Rollout, SafeModeActivation, Scope
from brownout.telemetry.attempted import Attempted
from brownout.wire import Operation
from controlplane.cli.rollouts import picture
from controlplane.configuration.store import Store
from controlplane.contract.activations import MAX_BY_AUTOMATION
from controlplane.embedded.nats import EmbeddedNats
from controlplane.errors import ConflictError, InvalidInputError
from controlplane.kit.database import Database
from controlplane.kit.tasks import end
from controlplane.rollouts import engine
from tests.integration.publishing import PATIENT, replica
from tests.integration.rollout_world import ENVIRONMENT, KEY, ME, RESOURCES, ROLLOUT, MovedClock, World, raw, route

pytestmark = pytest.mark.anyio


def good(model: str) -> float:
    return 0.02


def bad(model: str) -> float:
    return 0.25 if model == "sonnet" else 0.02


@pytest.fixture
async def world(database: Database, store: Store) -> World:
    return World(database, store, MovedClock())


async def test_a_good_model_is_promoted_through_all_stages(world: World) -> None:
    await world.begin()
    for _ in range(60):
        await world.live(1, good, requests=1_500)
        if (await world.view()).summary.state == "completed":
            break

    view = await world.view()
    assert (view.summary.state, [stage.state for stage in view.stages]) == ("completed", ["passed"] * 3)
    assert [message.split(":")[0] for message in await world.stages()] == [
        "stage 2 of 3", "stage 3 of 3", "completed",
    ]  # fmt: skip


async def test_a_bad_model_is_rolled_back_and_everyone_gets_the_control(world: World) -> None:
    await world.begin()
    await world.live(4, bad)

    view = await world.view()
    assert view.summary.state == "rolled_back"
    (message,) = await world.stages()
    assert message.startswith("rolled back: refusal")
    await world.traffic(200, lambda model: 1.0 if model == "sonnet" else 0.0)
    flag = await world.store.get_resource(ENVIRONMENT, "flag", "support-model")
    assert b"rollout:" not in flag.spec


async def test_a_bad_prompt_is_rolled_back_like_a_model_and_the_model_stays(world: World) -> None:
    say = {name: {"messages": [{"role": "system", "text": f"Be {name}."}]} for name in ("kind", "brief")}
    prompt = {"type": "prompt", "variants": say, "off_variant": "kind", "default": "kind"}
    reply = {**RESOURCES["request_class", "support-reply"], "prompt": "words"}
    world.by = lambda policy: policy.prompt.messages[0].text if policy.prompt else ""
    await world.begin(
        {("flag", "words"): prompt, ("request_class", "support-reply"): reply},
        flag="words", control="kind", treatment="brief",
    )  # fmt: skip
    await world.live(4, lambda text: 0.25 if text == "Be brief." else 0.02)

    assert (await world.view()).summary.state == "rolled_back"
    (message,) = await world.stages()
    assert message.startswith("rolled back: refusal")
    policy = world.instance.policy("support-reply", {"targeting_key": "u-1"})
    assert policy.model is not None
    assert policy.model.model == "haiku"


async def test_a_rollout_that_cannot_be_read_holds_up_no_guardrail(world: World) -> None:
    await world.begin()
    flag = Operation("put", "flag", "other-model", raw(RESOURCES["flag", "support-model"]))
    draft = Operation("put", "rollout", "a-first", raw({**ROLLOUT, "flag": "other-model"}))
    await world.changes.commit(ME, ENVIRONMENT, [flag, draft], "another")
    async with world.database.writing() as connection:
        await connection.execute(text("UPDATE resource SET spec = '{}' WHERE key = 'a-first'"))
    await world.live(4, bad)
    found = decode("rollout", (await world.store.get_resource(ENVIRONMENT, "rollout", KEY)).spec)
    assert isinstance(found, Rollout)
    assert found.progress.state == "rolled_back"


async def test_the_view_shows_evidence_thresholds_and_units_needed(world: World) -> None:
    await world.begin()
    await world.live(1, good)
    view = await world.view()

    refusal = view.judged[0]
    assert (refusal.measure, refusal.role, refusal.verdict) == ("refusal", "guardrail", "open")
    assert refusal.threshold == pytest.approx(40)
    assert len(refusal.times) == len(refusal.evidence_over_time) == 1
    assert view.next.act == "wait"
    assert view.treatment_units + view.control_units == 200
    assert [preview.measure for preview in view.preview] == ["refusal", "error"]
    assert view.request_classes == ("support-reply",)


async def test_a_boolean_flag_is_rolled_back_by_an_event_that_the_service_tracks(world: World) -> None:
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "off"}
    rollout = {
        "flag": "web-search", "control": "off", "treatment": "on", "stages": [{"weight_bp": 5_000}],
        "guardrails": [{"measure": "event:thumbs-down"}, {"measure": "value:stars"}],
        "gates": [{"measure": "amount:seconds"}],
    }  # fmt: skip
    await world.changes.commit(ME, ENVIRONMENT, [Operation("put", "flag", "web-search", raw(flag))], "search")
    await world.rollouts.create(ME, ENVIRONMENT, KEY, msgspec.json.encode(rollout), "search the web", start=True)

    for _ in range(10):
        await world.load()
        for _ in range(200):
            world.people += 1
            person = {"targeting_key": f"u-{world.people}"}
            searched = world.instance.boolean("web-search", person)
            world.instance.track("stars", 4.0, context=person)
            if world.chance.random() < (0.2 if searched else 0.04):
                world.instance.track("thumbs-down", context=person)
        await world.report()
        world.pass_time(60)
        await world.tick()

    view = await world.view()
    assert view.summary.state == "rolled_back"
    (message,) = await world.stages()
    assert message.startswith("rolled back: thumbs-down (event)")
    served = await world.store.get_resource(ENVIRONMENT, "flag", "web-search")
    assert b"rollout:" not in served.spec


async def test_requests_without_a_unit_get_the_control_and_are_counted(world: World) -> None:
    await world.begin(stages=[{"weight_bp": 9_900, "min_duration_s": 60}])
    await world.traffic(10, good)
    nobodies: list[dict[str, object]] = [{}, {"targeting_key": ""}, {"targeting_key": None}]
    for nobody in nobodies:
        policy = world.instance.policy("support-reply", nobody)
        assert policy.model is not None
        assert policy.model.model == "haiku"
        world.instance.record(policy, refused=True)
    await world.report()

    view = await world.view()
    assert view.without_unit is not None
    assert (view.without_unit.evaluations, view.without_unit.variant) == (3, "small")
    assert view.treatment_units + view.control_units == 10
    assert any("3 evaluations without a unit since" in str(line) for line in picture(view))
    await world.rollouts.move(ME, ENVIRONMENT, KEY, "abort", "enough seen")
    assert (await world.view()).without_unit is None


async def test_a_fallback_that_answers_well_hides_no_bad_model(world: World) -> None:
    """Half of the treatment's calls fail; every one of these requests is answered by the fallback, or by a retry."""
    await world.begin()

    def said(policy: Policy) -> dict[str, Any]:
        assert policy.model is not None
        own = Attempted(policy.model.name, policy.model.provider, policy.model.model)
        fails = policy.model.model == "sonnet" and world.chance.random() < 0.5
        if not fails:
            return {"attempts": (own,), "completed": True}
        failed = msgspec.structs.replace(own, error="timeout")
        if world.chance.random() < 0.5:
            return {"attempts": (failed, msgspec.structs.replace(own, purpose="retry")), "completed": True}
        spare = Attempted("spare", "other", "small-1")
        return {"attempts": (failed, spare), "rung": "model", "answered_by": "spare", "completed": True}

    for _ in range(3):
        await world.traffic(400, good, said)
        world.pass_time(60)
        await world.tick()

    view = await world.view()
    assert view.summary.state == "rolled_back"
    assert "error" in view.summary.why
    shares = {each.rung: each.share for each in view.answered.treatment}
    assert shares["model"] == pytest.approx(0.25, abs=0.08)
    assert all(each.completion_share == 1.0 for each in view.answered.treatment)
    assert [each.rung for each in view.answered.control] == ["primary"]


async def test_with_no_traffic_nothing_advances(world: World) -> None:
    await world.begin()
    await world.live(30, good, requests=0)

    assert await world.stages() == []
    assert "0 of 50 units" in (await world.view()).next.why


async def test_safe_mode_on_its_requests_pauses_it_and_lifting_resumes_it(world: World) -> None:
    await world.begin()
    await world.activate("a")
    await world.tick()
    paused = await world.view()
    assert (paused.summary.state, paused.spec.progress.paused_by) == ("paused", "safe_mode")
    assert "safe mode calm touches its requests" in paused.summary.why
    assert paused.safe_mode == ("a",)

    await world.live(5, bad)
    await world.changes.commit(ME, ENVIRONMENT, [Operation("del", "safe_mode_activation", "a")], "off")
    await world.tick()

    resumed = await world.view()
    assert resumed.summary.state == "running"
    assert resumed.judged[0].verdict == "open", "what was seen during safe mode must not count"
    assert resumed.elapsed_s < 60


async def test_a_rollout_pauses_and_resumes_as_soon_as_it_is_committed(
    world: World, database_url: str, nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Safe mode is switched in another process; nothing here looks by the clock."""
    monkeypatch.setattr(engine, "TICK_S", 3_600.0)
    await world.begin()
    async with replica(database_url, nats_server.url, PATIENT) as plane:
        plane.service.on_commit(world.engines[0].wake)
        running = asyncio.create_task(world.engines[0].run())
        await world.settled("running")
        await world.activate("a")
        await world.settled("paused")
        await world.changes.commit(ME, ENVIRONMENT, [Operation("del", "safe_mode_activation", "a")], "off")
        await world.settled("running")
        await end(running)
    assert [message.split(":")[0] for message in await world.stages()] == ["paused", "resumed"]


async def test_a_guardrail_may_switch_safe_mode_on(world: World) -> None:
    await world.begin(guardrails=[{"measure": "refusal", "action": "safe_mode", "profile": "calm"}])
    await world.live(4, bad)

    page = await world.store.list_resources(ENVIRONMENT, "safe_mode_activation")
    assert [resource.changed_by for resource in page.items] == [f"rollout:{KEY}"]
    assert (await world.view()).summary.state == "rolled_back"


async def test_at_the_limit_a_guardrail_still_rolls_back_without_safe_mode(world: World) -> None:
    await world.begin(guardrails=[{"measure": "refusal", "action": "safe_mode", "profile": "calm"}])
    now = world.clock.now()
    other = {"type": "model_route", "variants": {"v": route("other")}, "off_variant": "v", "default": "v"}
    ops = [
        Operation("put", "flag", "other-route", raw(other)),
        Operation("put", "request_class", "elsewhere", raw({"criticality": "critical", "model": "other-route"})),
    ]
    for number in range(MAX_BY_AUTOMATION):
        scope = Scope(request_classes=("elsewhere",), services=(f"s-{number}",))
        spec = SafeModeActivation("calm", "flood", "watcher", now, now + timedelta(days=1), scope)
        ops.append(Operation("put", "safe_mode_activation", f"old-{number}", msgspec.Raw(encode(spec))))
    await world.store.commit(ENVIRONMENT, ops, author="older", message="as it was")
    await world.live(4, bad)

    view = await world.view()
    assert view.summary.state == "rolled_back"
    assert "Safe mode was not switched on" in view.summary.why
    assert (await world.store.count_resources(ENVIRONMENT))["safe_mode_activation"] == MAX_BY_AUTOMATION


async def test_engines_that_act_at_once_act_once(world: World) -> None:
    await world.begin(gates=[], guardrails=[])
    for _ in range(2):
        await world.traffic(800, good)
        world.pass_time(130)
        await world.present()
        await asyncio.gather(*(engine.tick() for engine in world.engines))

    assert [message.split(":")[0] for message in await world.stages()] == ["stage 2 of 3", "stage 3 of 3"]


async def test_moves_by_hand_ask_for_a_reason_and_are_on_record(world: World) -> None:
    await world.begin()
    with pytest.raises(InvalidInputError):
        await world.rollouts.move(ME, ENVIRONMENT, KEY, "advance", "  ")
    with pytest.raises(InvalidInputError):
        await world.rollouts.move(ME, ENVIRONMENT, KEY, "dance", "why not")
    moved = await world.rollouts.move(ME, ENVIRONMENT, KEY, "advance", "support asked for it")
    assert (moved.stage, moved.state) == (1, "running")
    await world.rollouts.move(ME, ENVIRONMENT, KEY, "abort", "not now")
    with pytest.raises(ConflictError):
        await world.rollouts.move(ME, ENVIRONMENT, KEY, "pause", "too late")

    commits = await world.store.list_commits(ENVIRONMENT, author=ME.name, limit=2)
    assert [commit.message for commit in commits] == [
        f"abort {KEY}: not now", f"advance {KEY}: support asked for it",
    ]  # fmt: skip


async def test_two_rollouts_never_move_one_flag(world: World) -> None:
    await world.begin()
    await world.rollouts.create(ME, ENVIRONMENT, "second", msgspec.json.encode(ROLLOUT), "greedy")
    with pytest.raises(ConflictError, match="already moving"):
        await world.rollouts.move(ME, ENVIRONMENT, "second", "start", "greedy")
    with pytest.raises(ConflictError, match="there is a rollout new-model already"):
        await world.rollouts.create(ME, ENVIRONMENT, KEY, msgspec.json.encode(ROLLOUT), "again")


async def test_a_put_that_leaves_its_rules_out_keeps_them_and_one_that_edits_them_is_refused(world: World) -> None:
    await world.begin()
    flag = RESOURCES["flag", "support-model"]
    before = await _flag(world)
    put = Operation("put", "flag", "support-model", raw({**flag, "description": "edited"}))
    await world.changes.commit(ME, ENVIRONMENT, [put], "people's part")
    after = await _flag(world)
    assert (after.rules, after.description) == (before.rules, "edited")
    assert not (await world.view()).edited

    grown = msgspec.structs.replace(before, rules=(msgspec.structs.replace(before.rules[0], serve="big"),))
    put = Operation("put", "flag", "support-model", msgspec.Raw(encode(grown)))
    with pytest.raises(InvalidInputError) as refused:
        await world.changes.commit(ME, ENVIRONMENT, [put], "everyone, now")
    assert [(f.code, f.pointer) for f in refused.value.faults] == [("owned", "/flag/support-model/rules/0")]


async def test_rules_that_an_older_version_let_be_edited_are_noticed_and_put_back_on_resume(world: World) -> None:
    await world.begin()
    async with world.database.writing() as connection:
        spec = msgspec.json.encode(RESOURCES["flag", "support-model"], order="sorted")
        await connection.execute(text("UPDATE resource SET spec = :spec WHERE key = 'support-model'"), {"spec": spec})
    assert (await world.view()).edited

    await world.rollouts.move(ME, ENVIRONMENT, KEY, "pause", "what happened")
    await world.rollouts.move(ME, ENVIRONMENT, KEY, "resume", "put it back")
    assert not (await world.view()).edited


async def _flag(world: World) -> Flag:
    flag = decode("flag", (await world.store.get_resource(ENVIRONMENT, "flag", "support-model")).spec)
    assert isinstance(flag, Flag)
    return flag
