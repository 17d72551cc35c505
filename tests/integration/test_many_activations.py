"""Safe mode stays small: asked for again it lasts longer, machines do not pile it up, and what has expired leaves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate, policy
from brownout.model.parse import encode
from brownout.model.resources import ResourceRef, SafeModeActivation, SafeModeProfile, Scope
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, Role
from controlplane.app import open_services
from controlplane.configuration import changes
from controlplane.configuration.store import StaleRevisionError
from controlplane.contract.activations import MAX_BY_AUTOMATION, TooManyActivationsError
from controlplane.safemode.expiry import AUTHOR, BATCH, Expiry
from controlplane.safemode.request import ActivationRequest
from controlplane.safemode.service import Switched
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

ENVIRONMENT = "/api/v1/environments/production"
API = f"{ENVIRONMENT}/safe-mode"
OPERATOR = {"production": frozenset({Role.OPERATOR})}
MACHINE = Actor("token", "watcher", OPERATOR, person="u-1", machine=True)
PERSON = Actor("person", "mara@example.com", OPERATOR, person="u-1")
BY_TOKEN = Actor("token", "mara@example.com", OPERATOR, person="u-1")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"production": [Role.OPERATOR]}, name="on-call")) as client:
        yield client


def asked(profile: str = "contain", for_s: int = 600, reason: str = "INC-1", **more: Any) -> ActivationRequest:
    return ActivationRequest(profile=profile, reason=reason, for_s=for_s, **more)


def for_service(number: int) -> Scope:
    return Scope(services=(f"service-{number}",))


async def fill(world: World, amount: int, *, minutes: int = 60, prefix: str = "old") -> None:
    """As an older control plane left it: one activation a service."""
    now = world.clock.now()
    for start in range(0, amount, 500):
        ops = []
        for number in range(start, min(amount, start + 500)):
            spec = SafeModeActivation(
                "contain", "flood", "watcher", now, now + timedelta(minutes=minutes), for_service(number)
            )
            ops.append(Operation("put", "safe_mode_activation", f"{prefix}-{number:04}", msgspec.Raw(encode(spec))))
        await world.services.store.commit("production", ops, author="older", message="as it was")


async def active(world: World) -> dict[str, Any]:
    return {each.key: each for each in await world.services.safe_mode.active(ROOT, "production")}


async def test_the_same_profile_and_scope_is_extended_and_says_so(world: World, operator: httpx.AsyncClient) -> None:
    scope = {"services": ["a", "b"]}
    first = (
        await operator.post(
            f"{API}/activations", json={"profile": "contain", "reason": "INC-1", "for_s": 600, "scope": scope}
        )
    ).json()
    assert (first["extended"], first["expires_at"] is None) == (False, False)
    again = {"profile": "contain", "reason": "INC-2", "for_s": 1200, "scope": {"services": ["b", "a", "b"]}}
    second = (await operator.post(f"{API}/activations", json=again)).json()
    assert (second["key"], second["extended"]) == (first["key"], True)
    assert second["commit"]["revision"] == first["commit"]["revision"] + 1
    (only,) = (await operator.get(API)).json()["active"]
    assert (only["left_s"], only["reason"], only["expires_at"]) == (1200, "INC-1", second["expires_at"])
    history = (await operator.get(f"{API}/history")).json()["items"]
    assert [(item["what"], item["by"], item["reason"], item["key"]) for item in history] == [
        ("changed", "on-call", "INC-2", first["key"]),
        ("on", "on-call", "INC-1", first["key"]),
    ]


async def test_asked_for_again_it_is_never_shorter_or_looser_and_still_on_record(world: World) -> None:
    safe_mode = world.services.safe_mode
    first = await safe_mode.activate(MACHINE, "production", asked(for_s=3600, on_expiry="hold"))
    shorter = await safe_mode.activate(PERSON, "production", asked(for_s=60, reason="me too", incident="INC-7"))
    assert (shorter.key, shorter.extended, shorter.commit.unchanged) == (first.key, True, False)
    kept = (await active(world))[first.key]
    assert (kept.on_expiry, kept.actor, kept.incident) == ("hold", "watcher", "INC-7")
    assert first.expires_at is not None
    assert shorter.expires_at == kept.expires_at == first.expires_at + timedelta(milliseconds=1)
    switches, _ = await world.services.safe_mode_history.list(ROOT, "production")
    assert [(each.by, each.reason) for each in switches] == [("mara@example.com", "me too"), ("watcher", "INC-1")]


@pytest.mark.parametrize("other", [{"profile": "shed-load"}, {"scope": for_service(1)}])
async def test_another_profile_or_scope_is_another_activation(world: World, other: dict[str, Any]) -> None:
    safe_mode = world.services.safe_mode
    first = await safe_mode.activate(PERSON, "production", asked())
    second = await safe_mode.activate(PERSON, "production", asked(**other))
    assert (second.extended, set(await active(world))) == (False, {first.key, second.key})


async def test_what_has_expired_is_not_extended_but_an_overdue_hold_is(world: World) -> None:
    safe_mode = world.services.safe_mode
    gone = await safe_mode.activate(PERSON, "production", asked(for_s=60))
    held = await safe_mode.activate(PERSON, "production", asked("shed-load", for_s=60, on_expiry="hold"))
    world.clock.move(timedelta(seconds=61))
    assert (await safe_mode.activate(PERSON, "production", asked())).key != gone.key
    again = await safe_mode.activate(PERSON, "production", asked("shed-load", for_s=60))
    assert (again.key, again.extended) == (held.key, True)
    assert (await active(world))[held.key].overdue is False


async def test_a_repeated_extension_extends_once_and_revives_nothing(world: World) -> None:
    safe_mode = world.services.safe_mode
    first = await safe_mode.activate(MACHINE, "production", asked(for_s=60))
    made = await safe_mode.activate(PERSON, "production", asked(), idempotency_key="press")
    world.clock.move(timedelta(seconds=30))
    again = await safe_mode.activate(PERSON, "production", asked(), idempotency_key="press")
    assert (again.key, again.extended, again.expires_at, again.commit.replayed) == (
        first.key, True, made.expires_at, True,
    )  # fmt: skip
    await safe_mode.lift(PERSON, "production", first.key)
    late = await safe_mode.activate(PERSON, "production", asked(), idempotency_key="press")
    assert (late.key, late.commit.replayed, await active(world)) == (first.key, True, {})


async def test_many_who_ask_at_once_share_one_activation(world: World) -> None:
    async with open_services(world.services.settings, world.clock) as replica:
        both = (world.services.safe_mode, replica.safe_mode)

        async def activate(number: int) -> Switched:
            return await both[number % 2].activate(PERSON, "production", asked(for_s=600 + number))

        done = await asyncio.gather(*map(activate, range(8)))
    (only,) = (await active(world)).values()
    assert {each.key for each in done} == {only.key}
    assert only.left_s >= 607, "nobody's end was lost"


async def test_at_the_limit_machines_are_refused_and_people_never_are(
    world: World, operator: httpx.AsyncClient
) -> None:
    await fill(world, MAX_BY_AUTOMATION)
    head = (await world.services.store.head("production")).revision
    refused = await operator.post(f"{API}/activations", json={"profile": "shed-load", "reason": "x", "for_s": 60})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_activations")
    for by in (MACHINE, ROOT):
        with pytest.raises(TooManyActivationsError):
            await world.services.safe_mode.activate(by, "production", asked("shed-load"))
    assert (await world.services.store.head("production")).revision == head
    longer = await world.services.safe_mode.activate(MACHINE, "production", asked(for_s=7200, scope=for_service(3)))
    assert (longer.key, longer.extended) == ("old-0003", True)
    for by, profile in ((PERSON, "shed-load"), (BY_TOKEN, "humans-only")):
        assert (await world.services.safe_mode.activate(by, "production", asked(profile))).extended is False
    assert len(await active(world)) == MAX_BY_AUTOMATION + 2
    await world.services.safe_mode.lift(MACHINE, "production", "old-0001")


async def test_no_other_door_leads_past_the_limit(world: World) -> None:
    """A machine's own commits meet the same gate, also when many knock at once."""
    await fill(world, MAX_BY_AUTOMATION - 3)
    both = Actor("token", "deployer", {"production": frozenset({Role.OPERATOR, Role.EDITOR})}, machine=True)
    now = world.clock.now()

    async def knock(number: int) -> bool:
        spec = SafeModeActivation("contain", "r", "x", now, now + timedelta(hours=1), for_service(1_000 + number))
        op = Operation("put", "safe_mode_activation", f"new-{number}", msgspec.Raw(encode(spec)))
        try:
            await world.services.changes.commit(both, "production", (op,), "more", action=Action.SAFE_MODE)
        except TooManyActivationsError:
            return False
        return True

    assert sum(await asyncio.gather(*map(knock, range(12)))) == 3
    assert len(await active(world)) == MAX_BY_AUTOMATION


async def test_many_that_expired_leave_by_few_commits_and_history_still_has_them(world: World) -> None:
    tick = Expiry(world.services.store, world.services.changes, world.clock).tick
    await fill(world, BATCH + 20, minutes=1)
    held = await world.services.safe_mode.activate(PERSON, "production", asked(for_s=60, on_expiry="hold"))
    lasting = await world.services.safe_mode.activate(PERSON, "production", asked("shed-load"))
    world.clock.move(timedelta(minutes=2))
    before = (await world.services.store.head("production")).revision
    await tick()
    head = await world.services.store.head("production")
    assert head.revision == before + 2
    assert set(await active(world)) == {held.key, lasting.key}
    document = (await world.services.store.state("production")).resources
    assert {ref.key for ref in document if ref.kind == "safe_mode_activation"} == {held.key, lasting.key}
    switches, _ = await world.services.safe_mode_history.list(ROOT, "production", limit=2)
    assert sum(each.what == "expired" for each in switches) == BATCH + 20
    assert {each.by for each in switches} == {AUTHOR}
    page, following = await world.services.safe_mode_history.list(ROOT, "production")
    assert page == switches, "a page ends where it has enough"
    older, _ = await world.services.safe_mode_history.list(ROOT, "production", before=following)
    assert [each.what for each in older[:2]] == ["on", "on"]
    await tick()
    assert (await world.services.store.head("production")).revision == head.revision


async def test_expired_ones_leave_although_others_commit_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what expiry reads and what it commits, somebody else always commits."""
    await fill(world, 3, minutes=1)
    world.clock.move(timedelta(minutes=2))
    store, commit = world.services.store, world.services.changes.commit

    async def slower(*args: Any, **options: Any) -> Any:
        flag = b'{"include":["u"]}'
        await store.commit(
            "production", [Operation("put", "cohort", "busy", msgspec.Raw(flag))], author="x", message="y"
        )
        return await commit(*args, **options)

    monkeypatch.setattr(world.services.changes, "commit", slower)
    await Expiry(store, world.services.changes, world.clock).tick()
    assert [ref.key for ref in (await store.state("production")).resources if ref.kind == "safe_mode_activation"] == []


async def test_what_was_extended_meanwhile_is_not_lifted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on = await world.services.safe_mode.activate(PERSON, "production", asked(for_s=60, on_expiry="lift"))
    world.clock.move(timedelta(seconds=61))
    safe_mode, commit = world.services.safe_mode, changes.Changes.commit

    async def extend_first(self: changes.Changes, actor: Actor, *args: Any, **options: Any) -> Any:
        if actor.name == AUTHOR:
            from controlplane.safemode.request import ExtensionRequest

            await safe_mode.extend(PERSON, "production", on.key, ExtensionRequest(for_s=600))
        return await commit(self, actor, *args, **options)

    monkeypatch.setattr(changes.Changes, "commit", extend_first)
    await Expiry(world.services.store, world.services.changes, world.clock).tick()
    assert set(await active(world)) == {on.key}


async def test_an_activation_is_added_even_when_the_head_moves_every_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale: list[int] = []
    commit = changes.Changes.commit

    async def moved(self: changes.Changes, *args: Any, expected_revision: int | None = None, **options: Any) -> Any:
        if expected_revision is not None:
            stale.append(expected_revision)
            raise StaleRevisionError(expected_revision, expected_revision + 1, (), (), ())
        return await commit(self, *args, **options)

    monkeypatch.setattr(changes.Changes, "commit", moved)
    done = await world.services.safe_mode.activate(PERSON, "production", asked())
    assert (len(stale), done.extended, set(await active(world))) == (5, False, {done.key})


def test_a_hundred_overlapping_activations_are_composed_once_for_each_group_of_callers() -> None:
    """The work grows with the distinct profiles and cohorts, not with how activations overlap."""
    now = world_of(100)
    composed: list[int] = []
    plan_join = "brownout.evaluation.plan.join"
    from brownout.evaluation import plan

    original = plan.join

    def counting(overlays: Any) -> Any:
        found = tuple(overlays)
        composed.append(len(found))
        return original(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_join, counting)
        for number in range(200):
            policy(now, "reply", {"targeting_key": f"u-{number % 4}"})
    assert composed == [2] * len(composed)
    assert len(composed) <= 3, "one for members of each cohort, one for the rest"
    assert evaluate(now, "route", {"targeting_key": "u-1"}, default=None).error_code is None


def world_of(activations: int) -> Compiled:
    route = {"targets": {"t": {"provider": "o", "model": "m"}}, "primary": "t"}
    flag = {"type": "model_route", "variants": {"v": route}, "off_variant": "v", "default": "v"}
    resources = {
        ResourceRef("flag", "route"): msgspec.json.encode(flag),
        ResourceRef("request_class", "reply"): b'{"criticality":"critical","model":"route"}',
        ResourceRef("cohort", "c0"): b'{"include":["u-0"]}',
        ResourceRef("cohort", "c1"): b'{"include":["u-1"]}',
    }
    start = msgspec.json.decode(b'"2026-03-01T12:00:00Z"', type=SafeModeActivation.__annotations__["activated_at"])
    for name in ("calm", "strict"):
        resources[ResourceRef("safe_mode_profile", name)] = encode(SafeModeProfile(max_attempts=1))
    for number in range(activations):
        scope = Scope(cohorts=(f"c{number % 2}",)) if number % 3 else Scope()
        spec = SafeModeActivation(
            ("calm", "strict")[number // 2 % 2], "r", "a", start, start + timedelta(hours=number + 1), scope
        )
        resources[ResourceRef("safe_mode_activation", f"a-{number}")] = encode(spec)
    return Compiled.load("e", 1, resources)
