"""Rollouts over HTTP, as the command line speaks it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from brownout.wire import Operation
from controlplane.access.actor import ANY_ENVIRONMENT, Role
from controlplane.app import create_app, open_services
from controlplane.embedded.nats import EmbeddedNats
from controlplane.settings import Secret, Settings
from tests.integration.rollout_world import KEY, ME, RESOURCES, ROLLOUT, raw
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

PATH = f"/{KEY}"


@pytest.fixture
async def http(
    database_url: str, nats_server: EmbeddedNats, unique_environment: str
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        database_url=Secret(database_url), secret_key=Secret(SECRET_KEY), nats_url=nats_server.url
    )  # fmt: skip
    async with open_services(settings) as services:
        await services.store.create_environment(unique_environment, "Test")
        ops = [Operation("put", kind, key, raw(spec)) for (kind, key), spec in RESOURCES.items()]
        await services.changes.commit(ME, unique_environment, ops, "the world")
        token = await services.access.tokens.create_service(ME, "test", {ANY_ENVIRONMENT: [Role.EDITOR.value]})
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)),
            base_url=f"http://test/api/v1/environments/{unique_environment}/rollouts",
            headers={"Authorization": f"Bearer {token.token}"},
        ) as client:
            yield client


async def test_a_rollout_is_created_and_moved(http: httpx.AsyncClient) -> None:
    created = await http.put(PATH, json={"spec": ROLLOUT, "reason": "a new model"})
    assert created.status_code == 200, created.text
    assert await _now(http) == ("draft", 0)

    for step, state, stage in (
        ("start", "running", 0), ("pause", "paused", 0), ("resume", "running", 0), ("advance", "running", 1),
        ("roll-back", "rolled_back", 1),
    ):  # fmt: skip
        moved = await http.post(f"{PATH}/{step}", json={"reason": f"to see {step}"})
        assert (moved.status_code, moved.json()["state"]) == (201, state), moved.text
        assert await _now(http) == (state, stage)
    (listed,) = (await http.get("/")).json()["items"]
    assert (listed["key"], listed["state"]) == (KEY, "rolled_back")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"spec": {**ROLLOUT, "stages": [{"weight_bp": 0}]}}, "/spec/stages/0/weight_bp"),
        ({"spec": {**ROLLOUT, "flag": "nowhere"}}, "/spec/flag"),
        ({"spec": {**ROLLOUT, "progress": {"state": "running"}}}, "/spec/progress"),
        ({"spec": ROLLOUT, "because": "a typo"}, "/because"),
        ({"reason": "no spec"}, "/spec"),
    ],
)
async def test_what_is_no_rollout_is_refused(http: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    refused = await http.put(PATH, json=body)
    assert refused.status_code == 422, refused.text
    assert [fault.get("pointer", "") for fault in refused.json()["faults"]] == [pointer]


async def _now(http: httpx.AsyncClient) -> tuple[str, int]:
    summary = (await http.get(PATH)).json()["summary"]
    return summary["state"], summary["stage"]
