"""The served description of the API, taken at its word by schemathesis: no 5xx, and nothing of another environment."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from controlplane.access.actor import Role
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

EXAMPLES = 4
"""Per operation and credential."""

ANSWER_S = 5.0
MARK = "only-staging-knows-this"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await opened.services.environments.create(ROOT, "secret-env", MARK)
        yield opened


async def send(client: httpx.AsyncClient, case: schemathesis.Case) -> httpx.Response | None:
    """None for a stream that goes on."""
    wanted = case.as_transport_kwargs(base_url=str(client.base_url))
    wanted = {name: wanted[name] for name in ("method", "url", "headers", "params", "json", "data") if wanted.get(name)}
    if isinstance(wanted.get("data"), bytes | str):
        wanted["content"] = wanted.pop("data")
    wanted["headers"] = {
        name: str(value) for name, value in dict(wanted.get("headers") or {}).items() if name.lower() != "authorization"
    }
    try:
        async with asyncio.timeout(ANSWER_S):
            return await client.request(**wanted)
    except (TimeoutError, httpx.InvalidURL, UnicodeError, ValueError):
        return None


@pytest.mark.parametrize("credential", ["none", "garbage", "viewer", "admin"])
async def test_nothing_that_fits_the_description_breaks_us_or_leaks(world: World, credential: str) -> None:
    token = {
        "none": "",
        "garbage": "bo_api_" + "0" * 49,
        "viewer": await world.token({"production": [Role.VIEWER]}),
        "admin": await world.token({"production": [Role.ADMIN]}),
    }[credential]
    async with world.client() as plain:
        described = (await plain.get("/api/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(described)
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    answers: Counter[int] = Counter()

    environments = itertools.cycle(["production", "production", "secret-env"])

    def hammer() -> None:
        client = world.client(token)
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path.endswith("/events"):
                continue

            @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def probe(case: schemathesis.Case) -> None:
                if "environment" in case.path_parameters:
                    case.path_parameters["environment"] = next(environments)
                answer = asyncio.run_coroutine_threadsafe(send(client, case), loop).result()
                if answer is None:
                    return
                answers[answer.status_code] += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    failures.append(f"{case.method} {case.path}: {answer.status_code}")
                if MARK in answer.text:
                    failures.append(f"{case.method} {case.path} leaks")

            probe()

    await asyncio.to_thread(hammer)
    assert failures == []
    assert answers.total() > 200
    if credential in {"none", "garbage"}:
        assert set(answers) <= {200, 401, 403, 404, 422, 429, 400}
        assert answers[401] + answers[429] > answers[200]
