"""Safe mode over HTTP: switched by one commit, overlapping, ending by itself, on record."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from brownout.model.resources import Scope
from controlplane.access.actor import Actor, Role
from controlplane.app import open_services
from controlplane.cli.safemode import reach_text
from controlplane.demo.document import load_demo
from controlplane.safemode.expiry import AUTHOR, Expiry
from controlplane.safemode.preview import SafeModePreview
from controlplane.safemode.request import ActivationRequest
from controlplane.safemode.service import Switched
from controlplane.safemode.values import Reach
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

ENVIRONMENT = "/api/v1/environments/production"
API = f"{ENVIRONMENT}/safe-mode"
CONTAIN = {"profile": "contain", "reason": "INC-1", "for_s": 600}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await load_demo(opened.services.documents, ROOT, "production")
        yield opened


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"production": [Role.OPERATOR]}, name="on-call")) as client:
        yield client


async def switch_on(client: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    response = await client.post(f"{API}/activations", json=CONTAIN | changes)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def policy(client: httpx.AsyncClient, request_class: str = "support-reply", **context: object) -> dict[str, Any]:
    asked = {"request_class": request_class, "context": context}
    found: dict[str, Any] = (await client.post(f"{ENVIRONMENT}/policy", json=asked)).json()
    return found


async def head(client: httpx.AsyncClient) -> int:
    return int((await client.get(ENVIRONMENT)).json()["revision"])


async def test_on_longer_and_off_are_one_commit_each(operator: httpx.AsyncClient) -> None:
    before = await head(operator)
    on = await switch_on(operator)
    assert on["commit"]["revision"] == before + 1
    assert [change["kind"] for change in on["commit"]["changes"]] == ["safe_mode_activation"]
    status = (await operator.get(API)).json()
    assert status["active"][0]["scope"] == {"services": [], "request_classes": [], "cohorts": [], "providers": []}
    assert (status["on"], status["active"][0]["left_s"], status["active"][0]["actor"]) == (True, 600, "on-call")
    assert (await policy(operator))["safe_mode"]["profiles"] == ["contain"]
    longer = await operator.post(f"{API}/activations/{on['key']}/extend", json={"for_s": 3600})
    assert longer.json()["commit"]["revision"] == before + 2
    assert (await operator.get(f"{API}/activations/{on['key']}")).json()["left_s"] == 3600
    off = await operator.post(f"{API}/activations/{on['key']}/lift", json={"reason": "resolved"})
    assert off.json()["commit"]["revision"] == before + 3
    assert (await operator.get(API)).json()["on"] is False
    assert (await policy(operator))["safe_mode"]["profiles"] == []
    again = await operator.post(f"{API}/activations/{on['key']}/lift", json={})
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"reason": ""}, "/reason"),
        ({"for_s": None}, "/expires_at"),
        ({"for_s": None, "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"for_s": 10**9}, "/for_s"),
        ({"profile": "nonsense"}, "/profile"),
        ({"scope": {"cohorts": ["nonsense"]}}, "/scope/cohorts/0"),
        ({"scope": {"request_classes": ["nonsense"]}}, "/scope/request_classes/0"),
    ],
)
async def test_bad_activations_write_nothing(
    operator: httpx.AsyncClient, changes: dict[str, object], pointer: str
) -> None:
    before = await head(operator)
    response = await operator.post(f"{API}/activations", json=CONTAIN | changes)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert pointer in [fault.get("pointer", "") for fault in response.json()["faults"]], response.text
    assert await head(operator) == before


async def test_unknown_fields_are_refused(operator: httpx.AsyncClient) -> None:
    response = await operator.post(f"{API}/activations", json=CONTAIN | {"scope": {"everyone": True}})
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


async def test_who_may_only_look_may_not_switch(world: World, operator: httpx.AsyncClient) -> None:
    for role in (Role.VIEWER, Role.EDITOR):
        async with world.client(await world.token({"production": [role]}, name=f"a-{role}")) as other:
            assert (await other.post(f"{API}/activations", json=CONTAIN)).status_code == 403
            ops = [{"op": "put", "kind": "safe_mode_activation", "key": "sneaky", "spec": {}}]
            assert (await other.post(f"{ENVIRONMENT}/commits", json={"ops": ops, "message": "x"})).status_code == 403
            assert (await other.get(API)).status_code == 200
    assert (await operator.get(API)).json()["on"] is False


async def test_a_repeated_request_switches_once(operator: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "pressed-twice"}
    first = (await operator.post(f"{API}/activations", json=CONTAIN, headers=headers)).json()
    second = (await operator.post(f"{API}/activations", json=CONTAIN, headers=headers)).json()
    assert (first["key"], first["commit"]["revision"]) == (second["key"], second["commit"]["revision"])
    assert second["commit"]["replayed"] is True
    assert len((await operator.get(API)).json()["active"]) == 1


async def test_however_many_ask_at_once_with_one_key_it_is_switched_once(world: World) -> None:
    actor = Actor("token", "on-call", {"production": frozenset({Role.OPERATOR})})
    request = ActivationRequest(profile="contain", reason="INC-1", for_s=600)
    before = await world.services.store.head("production")
    async with open_services(world.services.settings, world.clock) as replica:
        both = (world.services.safe_mode, replica.safe_mode)

        async def activate(number: int) -> Switched:
            world.clock.move(timedelta(seconds=1))  # so that no two would write the same
            return await both[number % 2].activate(actor, "production", request, idempotency_key="all-at-once")

        answers = await asyncio.gather(*map(activate, range(20)))
    assert {(each.key, each.commit.revision) for each in answers} == {(answers[0].key, before.revision + 1)}
    assert sum(not each.commit.replayed for each in answers) == 1
    assert (await world.services.store.head("production")).revision == before.revision + 1


@pytest.mark.parametrize("other", [{"reason": "another"}, {"scope": {"services": ["chat"]}}, {"for_s": 77}])
async def test_an_idempotency_key_switches_nothing_else(operator: httpx.AsyncClient, other: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "mine"}
    await operator.post(f"{API}/activations", json=CONTAIN, headers=headers)
    refused = await operator.post(f"{API}/activations", json=CONTAIN | other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert len((await operator.get(API)).json()["active"]) == 1


async def test_lifting_one_of_two_never_loosens_the_other(operator: httpx.AsyncClient) -> None:
    contain = await switch_on(operator)
    shed = await switch_on(operator, profile="shed-load")
    both = await policy(operator, "support-summary")
    assert (both["shed_bp"], both["tools"]["exclude"]) == (10_000, ["*"])
    await operator.post(f"{API}/activations/{contain['key']}/lift", json={})
    after = await policy(operator, "support-summary")
    assert after["shed_bp"] == 10_000
    assert after["safe_mode"]["activations"] == [shed["key"]]


async def test_the_preview_says_what_then_happens(operator: httpx.AsyncClient) -> None:
    asked = {"profile": "contain", "scope": {"request_classes": ["support-reply"]}}
    radius = (await operator.post(f"{API}/preview", json=asked)).json()
    assert {row["request_class"] for row in radius["request_classes"]} == {"support-reply"}
    assert radius["untouched"] == ["refund-decision", "support-summary"]
    effects = {effect["what"]: effect for effect in radius["request_classes"][0]["effects"]}
    assert (effects["tools"]["now"] != "none", effects["tools"]["then"]) == (True, "none")
    assert effects["sensitive"]["then"] == "human review"
    assert await head(operator) == radius["revision"]
    await switch_on(operator, scope=asked["scope"])
    now = await policy(operator)
    assert now["sensitive"] == "human_review"
    assert now["tools"]["exclude"] == ["*"]
    assert (await policy(operator, "support-summary"))["safe_mode"]["profiles"] == []


async def test_the_preview_of_a_cohort_shows_its_members(operator: httpx.AsyncClient) -> None:
    asked = {"profile": "small-models", "scope": {"cohorts": ["enterprise"]}}
    radius = (await operator.post(f"{API}/preview", json=asked)).json()
    rows = [row for row in radius["request_classes"] if row["request_class"] == "support-reply"]
    assert [row["cohort"] for row in rows] == ["enterprise"]
    model = next(effect for effect in rows[0]["effects"] if effect["what"] == "model")
    assert ("sonnet" in model["now"], "sonnet" in model["then"]) == (True, False)
    unknown = await operator.post(f"{API}/preview", json={"profile": "nope", "scope": {"cohorts": ["neither"]}})
    assert {fault["pointer"] for fault in unknown.json()["faults"]} == {"/profile", "/scope/cohorts/0"}


class Running:
    """Five instances of two services, and the rates of three request classes."""

    def live_services(self, actor: Actor, environment: str) -> list[str]:  # noqa: ARG002 - nothing runs elsewhere
        return ["copilot", "copilot", "copilot", "billing", "billing"]

    async def request_rates(self, actor: Actor, environment: str) -> dict[str, float]:  # noqa: ARG002
        return {"support-reply": 30.0, "support-summary": 9.0, "unheard-of": 1.0}


async def test_the_preview_says_how_much_of_what_runs_is_touched(world: World, operator: httpx.AsyncClient) -> None:
    preview = SafeModePreview(world.services.evaluations, world.clock, Running())
    scope = Scope(services=("copilot",), request_classes=("support-reply",))
    radius = await preview.preview(ROOT, "production", ActivationRequest(profile="contain", scope=scope))
    assert radius.reach == Reach(18.0, 40.0, to_people_per_min=18.0, by_instances=True, instances=3, of_instances=5)
    said = "touches 45% of requests (18 of 40 a minute), 3 of 5 instances, 1 of 3 request classes"
    assert reach_text(radius).startswith(said)
    quiet = (await operator.post(f"{API}/preview", json={"profile": "contain"})).json()["reach"]
    assert set(quiet.values()) == {0}


@pytest.fixture
def expiry(world: World) -> Callable[[], Any]:
    return Expiry(world.services.store, world.services.changes, world.clock).tick


async def test_what_has_expired_is_lifted_by_a_commit(
    world: World, operator: httpx.AsyncClient, expiry: Callable[[], Any]
) -> None:
    on = await switch_on(operator, for_s=60)
    assert await expiry() == datetime.fromisoformat(on["commit"]["changes"][0]["after"]["expires_at"]).astimezone(UTC)
    world.clock.move(timedelta(seconds=61))
    assert (await operator.get(API)).json()["on"] is False
    assert (await policy(operator))["safe_mode"]["profiles"] == []
    before = await head(operator)
    await expiry()
    await expiry()
    assert await head(operator) == before + 1
    last = (await operator.get(f"{ENVIRONMENT}/history", params={"limit": 1})).json()["items"][0]
    assert last["author"] == AUTHOR
    assert "INC-1" in last["message"]


async def test_a_hold_stays_on_past_its_end_and_says_so(
    world: World, operator: httpx.AsyncClient, expiry: Callable[[], Any]
) -> None:
    await switch_on(operator, for_s=60, on_expiry="hold")
    world.clock.move(timedelta(seconds=61))
    await expiry()
    status = (await operator.get(API)).json()
    assert (status["on"], status["overdue"], status["active"][0]["overdue"]) == (True, 1, True)
    assert (await policy(operator))["safe_mode"]["profiles"] == ["contain"]
    assert 'brownout_safe_mode_overdue{environment="production"} 1.0' in (await operator.get("/metrics")).text


async def test_history_tells_who_switched_what_and_why(
    world: World, operator: httpx.AsyncClient, expiry: Callable[[], Any]
) -> None:
    first = await switch_on(operator)
    await operator.post(f"{API}/activations/{first['key']}/extend", json={"for_s": 60, "reason": "not yet"})
    await operator.post(f"{API}/activations/{first['key']}/lift", json={"reason": "tools work again"})
    await switch_on(operator, for_s=60)
    world.clock.move(timedelta(minutes=5))
    await expiry()
    page = (await operator.get(f"{API}/history")).json()
    assert [(item["what"], item["by"]) for item in page["items"]] == [
        ("expired", AUTHOR), ("on", "on-call"), ("off", "on-call"), ("changed", "on-call"), ("on", "on-call"),
    ]  # fmt: skip
    assert [item["reason"] for item in page["items"]] == ["", "INC-1", "tools work again", "not yet", "INC-1"]
    part = (await operator.get(f"{API}/history", params={"limit": 2})).json()
    rest = (await operator.get(f"{API}/history", params={"limit": 200, "before": part["next"]})).json()
    assert len(rest["items"]) == 3
