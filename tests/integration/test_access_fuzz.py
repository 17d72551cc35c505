"""The served description of the API, taken at its word by schemathesis: every answer is one that it tells of, soon, no
5xx, and nothing of another environment."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from controlplane.access.actor import Role
from tests.integration.accessing import ROOT, URL, World, open_world

pytestmark = pytest.mark.anyio

EXAMPLES = 5
"""Per operation and way of making cases, as many as a suite has time for; `--fuzz 200` for as many as one likes, and
`--hypothesis-seed` for other ones. Making them takes longest, so each is sent by everybody: none, garbage, an SDK key,
a viewer and an admin of production, and `owner`, an admin of everything."""

ANSWER_S = 60.0
WORK_S = 5.0
"""An answer may take so much of the event loop's own processor time, which is the same on a busy machine."""

PROBES = {"/healthz", "/readyz"}
"""They may answer 503: this world has no NATS, and Postgres on a busy machine may take longer than they wait."""

MARK = "only-staging-knows-this"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await opened.services.environments.create(ROOT, "secret-env", MARK)
        yield opened


def kwargs_of(case: schemathesis.Case) -> dict[str, Any]:
    """For httpx; the credential is the client's, whatever the case says."""
    wanted = case.as_transport_kwargs(base_url=URL)
    wanted = {name: wanted[name] for name in ("method", "url", "headers", "params", "json", "data") if wanted.get(name)}
    if isinstance(wanted.get("data"), bytes | str):
        wanted["content"] = wanted.pop("data")
    wanted["headers"] = {
        name: str(value) for name, value in dict(wanted.get("headers") or {}).items() if name.lower() != "authorization"
    }
    return wanted


def prepared(client: httpx.AsyncClient, case: schemathesis.Case) -> httpx.Request | None:
    """None for what HTTP cannot carry."""
    try:
        return client.build_request(**kwargs_of(case))
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return None


class Prober:
    """Sends cases with one credential and keeps what was wrong with the answers."""

    def __init__(self, name: str, world: World, client: httpx.AsyncClient, described: dict[str, Any]) -> None:
        self.name = name
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self._world = world
        self._client = client
        self._described = described

    async def ask(self, case: schemathesis.Case) -> None:
        if (sent := prepared(self._client, case)) is None:
            return
        self._world.clock.move(timedelta(seconds=1))  # past the limits of those who guess
        worked = time.thread_time()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._client.send(sent)
        except TimeoutError:
            self._failed("hangs", case)
            return
        worked = time.thread_time() - worked
        ill = answer.status_code == 503 and case.operation.path in PROBES
        if not ill:
            self.answers[answer.status_code] += 1
        if worked > WORK_S:
            self._failed(f"{worked:.1f} s of work", case)
        if (answer.status_code >= 500 and not ill) or not self._is_described(case, answer.status_code):
            self._failed(f"{answer.status_code} {answer.text[:500]}", case)
        if self.name != "owner" and MARK in answer.text:
            self._failed("leaks", case)

    def _is_described(self, case: schemathesis.Case, status: int) -> bool:
        operation = case.operation
        return str(status) in self._described["paths"][operation.path][operation.method]["responses"]

    def _failed(self, what: str, case: schemathesis.Case) -> None:
        self.failures.append(f"{self.name}: {what}\n{case.as_curl_command()}")
        print(self.failures[-1], flush=True)  # a long run may be cut short


async def tokens(world: World) -> dict[str, str]:
    return {
        "none": "",
        "garbage": "bo_api_" + "0" * 49,
        "sdk": (await world.access.keys.create(ROOT, "production", "sdk")).key,
        "viewer": await world.token({"production": [Role.VIEWER]}),
        "admin": await world.token({"production": [Role.ADMIN]}),
        "owner": await world.token({"*": [Role.ADMIN]}),
    }


@pytest.mark.timeout(900)  # with --fuzz as long as it takes
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_nothing_that_fits_the_description_or_just_does_not_breaks_us_or_leaks(
    world: World, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    loop = asyncio.get_running_loop()
    environments = itertools.cycle(["production", "production", "secret-env", "nowhere"])

    async def ask_as_everybody(case: schemathesis.Case) -> None:
        if "timeout_s" in (case.query or {}):
            case.query["timeout_s"] = "0.01"  # it would wait for that long
        if "environment" in (case.path_parameters or {}):
            case.path_parameters["environment"] = next(environments)
        for prober in probers:
            await prober.ask(case)

    def hammer(described: dict[str, Any]) -> None:
        for found in schemathesis.openapi.from_dict(described).get_all_operations():
            operation = found.ok()
            if operation.path.endswith("/events"):  # a stream that goes on
                continue

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=request.config.getoption("--fuzz") or EXAMPLES,
                deadline=None, database=None, phases=[Phase.generate],
                derandomize=request.config.getoption("--hypothesis-seed") is None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def probe(case: schemathesis.Case) -> None:
                asyncio.run_coroutine_threadsafe(ask_as_everybody(case), loop).result()

            started, before = time.monotonic(), probers[0].answers.total()
            with contextlib.suppress(Unsatisfiable):  # nothing in this operation can be wrong
                probe()
            cases, took = probers[0].answers.total() - before, time.monotonic() - started
            print(f"{cases:4} cases {took:6.1f} s {operation.method} {operation.path}", flush=True)

    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(world.client(token)) for name, token in (await tokens(world)).items()
        }
        described = (await clients["none"].get("/api/openapi.json")).json()
        probers = [Prober(name, world, client, described) for name, client in clients.items()]
        await asyncio.to_thread(hammer, described)
    for prober in probers:
        print(f"{prober.name}: {prober.answers.total()} answers, {dict(sorted(prober.answers.items()))}")
    assert [failure for prober in probers for failure in prober.failures] == []
    for prober in probers:
        assert prober.answers.total() > 100
        if prober.name in {"none", "garbage"}:
            assert set(prober.answers) <= {200, 400, 401, 403, 404, 422, 429}
            assert prober.answers[401] > prober.answers[200]
