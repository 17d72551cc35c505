"""Two people change the same thing: no change vanishes without a conflict, and creating never replaces."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brownout.wire import Operation
from controlplane.access.actor import Actor
from controlplane.configuration.store.errors import AlreadyExistsError, ChangedMeanwhileError, StaleRevisionError
from controlplane.contract.kinds import edited
from controlplane.errors import ConflictError, MergeConflictError, StaleProposalError
from controlplane.safemode.request import ActivationRequest, ExtensionRequest
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

P = "production"
API = f"/api/v1/environments/{P}"
FLAG: dict[str, Any] = {
    "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on",
    "description": "was", "owner": "was",
}  # fmt: skip


def put(key: str, kind: str = "flag", **changed: Any) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode({**FLAG, **changed})))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, P) as opened:
        yield opened


@pytest.fixture
async def ed(world: World) -> Actor:
    return await world.person("ed@example.com", {P: ["admin"]})


@pytest.fixture
async def bo(world: World) -> Actor:
    return await world.person("bo@example.com", {P: ["admin"]})


@pytest.fixture
async def browser(world: World, ed: Actor) -> httpx.AsyncClient:
    return world.client((await world.access.tokens.create_personal(ed, "console", sensitive=True)).token)


async def commit(world: World, actor: Actor, *ops: Operation) -> int:
    return (await world.services.changes.commit(actor, P, ops, "change")).revision


async def spec(world: World, key: str) -> dict[str, Any]:
    return msgspec.json.decode((await world.services.store.get_resource(P, "flag", key)).spec)


async def save(browser: httpx.AsyncClient, document: dict[str, Any] | None, base: int, **more: Any) -> httpx.Response:
    fields = {"spec": msgspec.json.encode(document).decode()} if document is not None else {}
    form = {"key": "f", "base": str(base), "message": "ed saves", **fields, **more}
    return await browser.post(f"/e/{P}/save/flag", data=form)


def before(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, first: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Lets `first` happen before the next call of a method, and only that."""
    real = getattr(owner, name)

    async def once(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        await first()
        return await real(*args, **kwargs)

    monkeypatch.setattr(owner, name, once)


@pytest.mark.parametrize("gap", ["find", "commit"])
async def test_a_save_between_the_reading_and_the_writing_of_mine_is_not_overwritten(
    world: World, bo: Actor, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, gap: str
) -> None:
    base = await commit(world, bo, put("f"))
    owner = world.services.reads if gap == "find" else world.services.store
    before(monkeypatch, owner, gap, lambda: commit(world, bo, put("f", description="bo's")))
    refused = await save(browser, {**FLAG, "owner": "ed"}, base)
    assert refused.status_code == 409
    assert await spec(world, "f") == {**FLAG, "description": "bo's"}
    assert 'name="onto" value="3"' in refused.text
    assert (await save(browser, {**FLAG, "owner": "ed"}, base, onto="3")).status_code == 303
    assert await spec(world, "f") == {**FLAG, "description": "bo's", "owner": "ed"}


async def test_a_field_that_both_changed_is_chosen_by_hand_and_the_choice_is_of_what_was_seen(
    world: World, bo: Actor, browser: httpx.AsyncClient
) -> None:
    base = await commit(world, bo, put("f"))
    onto = await commit(world, bo, put("f", description="bo's", owner="bo"))
    mine = {**FLAG, "description": "ed's", "default": "off"}
    undecided = await save(browser, mine, base, onto=str(onto))
    assert (undecided.status_code, 'name="pick:/description"' in undecided.text) == (409, True)
    later = await commit(world, bo, put("f", description="bo's second", owner="bo"))
    chosen = {"pick:/description": "mine"}
    assert (await save(browser, mine, base, onto=str(onto), **chosen)).status_code == 409
    assert (await spec(world, "f"))["description"] == "bo's second"
    assert (await save(browser, mine, base, onto=str(later), **chosen)).status_code == 303
    assert await spec(world, "f") == {**FLAG, "description": "ed's", "owner": "bo", "default": "off"}


async def test_deleting_what_someone_just_changed_is_a_conflict(
    world: World, bo: Actor, browser: httpx.AsyncClient
) -> None:
    base = await commit(world, bo, put("f"))
    onto = await commit(world, bo, put("f", default="off"))
    assert (await save(browser, None, base)).status_code == 409
    assert (await spec(world, "f"))["default"] == "off"
    assert (await save(browser, None, base, onto=str(onto), **{"pick:": "mine"})).status_code == 303
    assert await world.services.store.find_resource(P, "flag", "f") is None


SPECS: dict[str, dict[str, Any]] = {
    "flag": FLAG,
    "cohort": {"include": ["a"]},
    "request_class": {"criticality": "critical", "model": "m"},
    "safe_mode_profile": {"max_output_tokens": 10},
    "response_template": {"text": "sorry"},
    "failure_mode": {"detect": {"errors": ["auth"]}},
    "service_tier": {"rank": 1},
}
MODEL = {
    "type": "model_route", "off_variant": "a", "default": "a",
    "variants": {"a": {"targets": {"t": {"provider": "p", "model": "m"}}, "primary": "t"}},
}  # fmt: skip


async def test_creating_what_exists_is_refused_for_every_kind(
    world: World, ed: Actor, browser: httpx.AsyncClient
) -> None:
    assert SPECS.keys() == edited().keys()
    await world.services.changes.commit(
        ed, P, [Operation("put", "flag", "m", msgspec.Raw(msgspec.json.encode(MODEL)))], "m"
    )
    for kind, body in SPECS.items():
        path = f"{API}/{edited()[kind].path}/f"
        new = {"If-None-Match": "*"}
        assert (await browser.put(path, json=body, headers=new)).status_code == 200
        other = {**body, "description": "an accident"}
        refused = await browser.put(path, json=other, headers=new)
        assert (refused.status_code, refused.json()["code"]) == (412, "already_exists")
        form = {"key": "f", "base": "0", "message": "new", "spec": msgspec.json.encode(other).decode()}
        page = await browser.post(f"/e/{P}/save/{kind}", data=form)
        assert (page.status_code, "already" in page.text, 'review-form">Save' in page.text) == (422, True, False)
        assert msgspec.json.decode((await world.services.store.get_resource(P, kind, "f")).spec) == body


async def test_a_new_rollout_never_replaces_one(world: World, ed: Actor, browser: httpx.AsyncClient) -> None:
    await commit(world, ed, put("f"))
    rollout = {"flag": "f", "control": "on", "treatment": "off", "stages": [{"weight_bp": 5000}]}
    body = {"spec": rollout, "reason": "new"}
    first = await browser.put(f"{API}/rollouts/r", json=body, headers={"If-None-Match": "*"})
    assert first.status_code == 200
    again = await browser.put(f"{API}/rollouts/r", json=body, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["code"]) == (412, "already_exists")
    fields = {"text:/flag": "f", "text:/control": "on", "text:/treatment": "off", "int:/stages/[0]/weight_bp": "1000"}
    page = await browser.post(f"/e/{P}/rollouts/save", data={"key": "r", "reason": "new", **fields})
    assert (page.status_code, "already" in page.text) == (422, True)


async def test_a_rollout_that_starts_while_it_is_replaced_is_not_replaced(
    world: World, ed: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(world, ed, put("f"))
    rollouts = world.services.rollouts
    rollout = msgspec.json.encode({"flag": "f", "control": "on", "treatment": "off", "stages": [{"weight_bp": 5000}]})
    await rollouts.create(ed, P, "r", rollout, "draft")
    before(monkeypatch, world.services.store, "commit", lambda: rollouts.move(ed, P, "r", "start", "go"))
    with pytest.raises(StaleRevisionError):
        await rollouts.edit(ed, P, "r", rollout, "replace")
    assert (await rollouts.get(ed, P, "r")).summary.state == "running"


async def test_an_edit_of_a_proposal_names_the_edition_that_it_was_made_from(
    world: World, ed: Actor, bo: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposals = world.services.proposals
    made = await proposals.propose(ed, P, [put("f")], "new")
    await proposals.edit(bo, P, made.id, [put("f", owner="bo")], "bo's", edition=made.edition)
    with pytest.raises(StaleProposalError):
        await proposals.edit(ed, P, made.id, [put("f", owner="ed")], "ed's", edition=made.edition)
    with pytest.raises(StaleProposalError):
        await proposals.rebase(ed, P, made.id, made.edition)
    third = [put("f", owner="bo again")]
    before(monkeypatch, world.services.store, "head", lambda: proposals.edit(bo, P, made.id, third, "3", edition=2))
    with pytest.raises(StaleProposalError):
        await proposals.rebase(ed, P, made.id, 2)
    assert (await proposals.get(ed, P, made.id)).proposal.operations == (put("f", owner="bo again"),)


async def test_rebasing_merges_and_an_edit_does_not_hide_what_others_committed(
    world: World, ed: Actor, bo: Actor
) -> None:
    proposals = world.services.proposals
    await commit(world, bo, put("f"))
    made = await proposals.propose(ed, P, [put("f", owner="ed")], "mine")
    await commit(world, bo, put("f", description="bo's"))
    edited_ = await proposals.edit(ed, P, made.id, [put("f", owner="ed 2")], "mine", edition=1)
    assert (await proposals.get(ed, P, made.id)).stale
    done = await proposals.rebase(ed, P, made.id, edited_.edition)
    assert msgspec.json.decode(done.operations[0].spec) == {**FLAG, "owner": "ed 2", "description": "bo's"}
    await commit(world, bo, put("f", owner="bo"))
    with pytest.raises(MergeConflictError) as both:
        await proposals.rebase(ed, P, made.id, done.edition)
    assert [fault.pointer for fault in both.value.faults] == ["/ops/0/spec/owner"]


async def test_a_save_that_waits_for_approval_is_made_from_what_was_read(
    world: World, bo: Actor, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = await commit(world, bo, put("f"))
    await world.access.rule.set(ROOT, P, 1)

    async def sneak() -> None:
        await world.services.store.commit(P, [put("f", owner="bo")], author="bo", message="bo")

    before(monkeypatch, world.services.proposals, "propose", sneak)
    assert (await save(browser, {**FLAG, "default": "off"}, base)).status_code == 409
    assert await world.services.proposals.list_proposals(bo, P) == []


async def test_safe_mode_that_was_changed_since_it_was_looked_at_is_neither_lifted_nor_shortened(
    world: World, ed: Actor, bo: Actor
) -> None:
    await commit(world, ed, Operation("put", "safe_mode_profile", "p", msgspec.Raw(b'{"max_output_tokens":9}')))
    safe_mode = world.services.safe_mode
    on = await safe_mode.activate(ed, P, ActivationRequest(profile="p", reason="incident", for_s=600))
    await safe_mode.extend(bo, P, on.key, ExtensionRequest(for_s=7_200, reason="worse than it looked"))
    for late in (
        safe_mode.lift(ed, P, on.key, seen=on.commit.revision),
        safe_mode.extend(ed, P, on.key, ExtensionRequest(for_s=60), seen=on.commit.revision),
    ):
        with pytest.raises(ChangedMeanwhileError):
            await late
    await safe_mode.lift(ed, P, on.key, seen=on.commit.revision + 1)


async def test_a_restore_puts_nothing_back_that_was_changed_since_it_was_looked_at(
    world: World, ed: Actor, bo: Actor
) -> None:
    first = await commit(world, ed, put("f"))
    seen = await commit(world, ed, put("f", default="off"))
    await commit(world, bo, put("f", default="off", owner="bo"))
    with pytest.raises(ChangedMeanwhileError):
        await world.services.restores.restore(ed, P, first, seen=seen)
    seen += 1
    await commit(world, bo, put("elsewhere"))
    refs = [("flag", "f")]
    await world.services.restores.restore(ed, P, first, refs=[*map(_ref, refs)], seen=seen)
    assert await spec(world, "f") == FLAG


def _ref(pair: tuple[str, str]) -> Any:
    from brownout.model.resources import ResourceRef

    return ResourceRef(*pair)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"1", "{head}"'}, 200),
        ({"If-Match": '"{head}", "999"'}, 200),
        ({"If-Match": 'W/"{head}"'}, 412),
        ({"If-Match": 'W/"{head}", "{head}"'}, 200),
        ({"If-Match": '"1"'}, 412),
        ({"If-Match": "*"}, 200),
        ({"If-Match": ""}, 422),
        ({"If-None-Match": ""}, 422),
        ({"If-None-Match": '"1"'}, 422),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": "*", "If-None-Match": "*"}, 422),
    ],
)
async def test_conditions_are_read_as_http_says(
    world: World, browser: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await browser.put(f"{API}/flags/f", json=FLAG, headers={"If-Match": "*"})).status_code == 412
    head = (await browser.put(f"{API}/flags/f", json=FLAG)).headers["ETag"].strip('"')
    sent = {name: value.format(head=head) for name, value in headers.items()}
    assert (await browser.put(f"{API}/flags/f", json={**FLAG, "owner": "x"}, headers=sent)).status_code == status
    assert ((await spec(world, "f"))["owner"] == "x") == (status == 200)


FIELDS = ("default", "description", "owner")
steps = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["open", "save"]), st.sampled_from(FIELDS), st.sampled_from(["on", "off"])),
    max_size=14,
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
async def test_whatever_two_editors_do_no_change_vanishes_without_a_conflict(
    world: World, ed: Actor, browser: httpx.AsyncClient, script: list[tuple[int, str, str, str]]
) -> None:
    """A model knows, for each field, who set it last; a save may change only what its editor changed or chose."""
    found = await world.services.store.find_resource(P, "flag", "f")
    if found is None:
        await commit(world, ed, put("f"))
    opened: dict[int, tuple[int, dict[str, Any]]] = {}
    for who, step, field, value in script:
        saved = await world.services.store.get_resource(P, "flag", "f")
        now = msgspec.json.decode(saved.spec)
        if step == "open" or who not in opened:
            opened[who] = (saved.revision, now)
            continue
        base, was = opened[who]
        mine = {**was, field: value}
        answer = await save(browser, mine, base)
        if answer.status_code == 409:
            assert saved.revision != base
            assert await spec(world, "f") == now
            clash = now[field] not in {was[field], value} and value != was[field]
            assert (f'name="pick:/{field}"' in answer.text) == clash
            answer = await save(browser, mine, base, onto=str(saved.revision), **{f"pick:/{field}": "mine"})
        assert answer.status_code == 303, answer.text
        wanted = value if value != was[field] else now[field]
        assert await spec(world, "f") == {**now, field: wanted}
        del opened[who]


async def test_whoever_creates_second_is_told(world: World, ed: Actor) -> None:
    await world.services.changes.commit(ed, P, [put("f")], "one", bases={_ref(("flag", "f")): 0})
    with pytest.raises(AlreadyExistsError) as refused:
        await world.services.changes.commit(ed, P, [put("f")], "two", bases={_ref(("flag", "f")): 0})
    assert isinstance(refused.value, ConflictError)
    assert [fault.pointer for fault in refused.value.faults] == ["/key"]
