"""The served description of the API, taken at its word by schemathesis: no 5xx, and nothing of another environment."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from controlplane.access.actor import Role
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

EXAMPLES = {"none": 2, "garbage": 2, "sdk": 2, "viewer": 5, "admin": 5}
"""Per operation and way of making cases, as many as a suite has time for; `--fuzz 200` for as many as one likes."""

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


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("credential", list(EXAMPLES))
async def test_nothing_that_fits_the_description_or_just_does_not_breaks_us_or_leaks(
    world: World, credential: str, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    examples = request.config.getoption("--fuzz") or EXAMPLES[credential]
    token = {
        "none": "",
        "garbage": "bo_api_" + "0" * 49,
        "sdk": (await world.access.keys.create(ROOT, "production", "sdk")).key,
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

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=examples, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def probe(case: schemathesis.Case) -> None:
                if "timeout_s" in (case.query or {}):
                    case.query["timeout_s"] = "0.01"  # it would wait for that long
                if "environment" in (case.path_parameters or {}):
                    case.path_parameters["environment"] = next(environments)
                answer = asyncio.run_coroutine_threadsafe(send(client, case), loop).result()
                if answer is None:
                    return
                answers[answer.status_code] += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    failures.append(f"{answer.status_code}: {case.as_curl_command()}")
                if MARK in answer.text:
                    failures.append(f"leaks: {case.as_curl_command()}")

            with contextlib.suppress(Unsatisfiable):  # nothing in this operation can be wrong
                probe()

    await asyncio.to_thread(hammer)
    assert not failures, "\n".join(failures)
    assert answers.total() > 100
    if credential in {"none", "garbage"}:
        assert set(answers) <= {200, 401, 403, 404, 422, 429, 400}
        assert answers[401] + answers[429] > answers[200]
