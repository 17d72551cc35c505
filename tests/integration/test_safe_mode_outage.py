"""A provider is switched off by one commit that nobody has to approve, and names that match nothing are said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from brownout.wire import Operation
from controlplane.access.actor import Action, Role
from controlplane.configuration.changes import WouldOverwriteError
from controlplane.contract.outages import outage_keys, outage_put
from controlplane.demo.document import load_demo
from controlplane.errors import ForbiddenError
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

ENVIRONMENT = "/api/v1/environments/production"
API = f"{ENVIRONMENT}/safe-mode"
OUTAGE = {"exclude_providers": ["Anthropic"], "reason": "their status page is red", "for_s": 1800}
PROFILE = f"{ENVIRONMENT}/safe-mode-profiles/provider-outage-anthropic"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await load_demo(opened.services.documents, ROOT, "production")
        yield opened


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"production": [Role.OPERATOR]}, name="on-call")) as client:
        yield client


async def on(client: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    response = await client.post(f"{API}/activations", json=OUTAGE | changes)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def policy(client: httpx.AsyncClient) -> dict[str, Any]:
    asked = {"request_class": "support-reply", "context": {"targeting_key": "u-1"}}
    found: dict[str, Any] = (await client.post(f"{ENVIRONMENT}/policy", json=asked)).json()
    return found


async def put_profile(world: World, spec: dict[str, object]) -> None:
    async with world.client(await world.token({"production": [Role.EDITOR]}, name="editor")) as editor:
        response = await editor.put(PROFILE, json=spec)
        assert response.status_code == 200, response.text


async def test_a_provider_is_off_by_one_commit_under_the_two_person_rule(
    world: World, operator: httpx.AsyncClient
) -> None:
    """The operator may not edit, and another commit would wait for approval."""
    await world.access.rule.set(ROOT, "production", 1)
    before = (await operator.get(ENVIRONMENT)).json()["revision"]
    preview = (await operator.post(f"{API}/preview", json={"exclude_providers": ["anthropic"]})).json()
    assert (preview["profile"], preview["revision"]) == ("provider-outage-anthropic", before)
    assert preview["request_classes"]
    made = await on(operator)
    assert made["commit"]["revision"] == before + 1
    kinds = [(change["kind"], change["key"]) for change in made["commit"]["changes"]]
    assert kinds == [("safe_mode_activation", made["key"]), ("safe_mode_profile", "provider-outage-anthropic")]
    assert made["warnings"] == []
    found = await policy(operator)
    targets = [found["model"], *(rung.get("target") for rung in found["ladder"]["rungs"])]
    assert "anthropic" not in {target["provider"] for target in targets if target}
    again = await on(operator)
    assert (again["key"], again["extended"], len(again["commit"]["changes"])) == (made["key"], True, 1)


async def test_a_profile_of_that_key_is_used_when_it_excludes_the_provider_and_never_overwritten(
    world: World, operator: httpx.AsyncClient
) -> None:
    await put_profile(world, {"exclude_providers": ["anthropic"], "sensitive": "stop"})
    made = await on(operator)
    assert [change["kind"] for change in made["commit"]["changes"]] == ["safe_mode_activation"]
    spec = (await operator.get(PROFILE)).json()["spec"]
    assert (spec["exclude_providers"], spec["sensitive"]) == (["anthropic"], "stop")


async def test_a_profile_that_lets_the_provider_through_is_left_alone_and_the_provider_is_off(
    world: World, operator: httpx.AsyncClient
) -> None:
    await put_profile(world, {"max_attempts": 1})
    made = await on(operator)
    assert [change["key"] for change in made["commit"]["changes"]][1:] == ["provider-outage-anthropic-2"]
    spec = (await operator.get(PROFILE)).json()["spec"]
    assert (spec["exclude_providers"], spec["max_attempts"]) == ([], 1)


async def test_asked_at_once_and_again_it_is_one_activation(operator: httpx.AsyncClient) -> None:
    made = await asyncio.gather(*(on(operator) for _ in range(5)))
    assert len({each["key"] for each in made}) == 1
    headers = {"Idempotency-Key": "one"}
    first, second = [
        (await operator.post(f"{API}/activations", json=OUTAGE | {"exclude_providers": ["openai"]}, headers=headers))
        for _ in range(2)
    ]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["commit"]["revision"] == second.json()["commit"]["revision"]


async def test_only_what_excludes_and_nothing_else_travels_with_an_activation(world: World) -> None:
    """Neither another profile under the permission to switch safe mode, nor one that replaces what says more."""
    changes = world.services.changes
    operator = await world.person("op@example.com", {"production": ["operator"]})
    put = outage_put("provider-outage-anthropic", ["anthropic"])
    for forged in (
        Operation("put", "safe_mode_profile", "provider-outage-anthropic", b'{"exclude_providers":["openai"]}'),  # type: ignore[arg-type]
        Operation("put", "safe_mode_profile", "contain", put.spec),
        Operation("del", "safe_mode_profile", "contain"),
    ):
        with pytest.raises(ForbiddenError):
            await changes.commit(operator, "production", (forged,), "sly", action=Action.SAFE_MODE)
    await put_profile(world, {"exclude_providers": ["anthropic"], "sensitive": "stop"})
    with pytest.raises(WouldOverwriteError):
        await changes.commit(operator, "production", (put,), "sly", action=Action.SAFE_MODE)


async def test_neither_both_nor_none_nor_blank(operator: httpx.AsyncClient) -> None:
    for wrong in ({"profile": "contain"}, {"exclude_providers": []}, {"exclude_providers": ["  "]}):
        response = await operator.post(f"{API}/activations", json=OUTAGE | wrong)
        assert response.status_code == 422, response.text
        assert response.json()["faults"][0]["pointer"] in {"/profile", "/exclude_providers"}


async def test_names_that_match_nothing_are_said_and_never_refused(world: World, operator: httpx.AsyncClient) -> None:
    scope = {"providers": ["antropic"], "services": ["nowhere"]}
    asked = {"profile": "contain", "scope": scope, "reason": "x", "for_s": 60}
    said = [
        "No model route uses the provider “antropic”, so it matches 0 requests. Did you mean “anthropic”?",
        "No live instance belongs to the service “nowhere”, so it matches 0 requests.",
    ]
    assert (await operator.post(f"{API}/preview", json=asked)).json()["warnings"] == said
    made = (await operator.post(f"{API}/activations", json=asked)).json()
    assert made["warnings"] == said
    assert (await on(operator, exclude_providers=["antropic"]))["warnings"] == said[:1]
    async with world.client(await world.token({"production": [Role.EDITOR]}, name="editor")) as editor:
        profile = {"exclude_providers": ["ANTHROPIC", "*"], "exclude_targets": ["no-such"]}
        done = await editor.put(PROFILE, json=profile)
        assert done.json()["warnings"] == ["No model route has the target “no-such”, so it matches 0 requests."]


def test_every_list_of_providers_has_keys() -> None:
    for providers in (["Azure OpenAI"], ["日本"], ["*"], ["a" * 200], [f"provider-{n}" for n in range(50)]):
        keys = outage_keys(providers)
        assert len(set(keys)) == len(keys)
        assert all(len(key) <= 100 for key in keys)
        assert keys == outage_keys([name.upper() for name in reversed(providers)])
