"""A service without the SDK: POST /policy says what to do, POST /record tells how it went."""

import inspect
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from brownout.telemetry.posted import RecordInput
from brownout.telemetry.recording import Recording
from brownout.wire import Operation
from brownout.wire.telemetry import RequestTotals
from controlplane.access.traffic import KeyUse
from controlplane.telemetry import readings, series, tables
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

BASE = "/api/v1/environments/production"
ROUTE = {
    "type": "model_route",
    "variants": {
        name: {"targets": {"main": {"provider": "p", "model": f"{name}-model"}}, "primary": "main"}
        for name in ("old", "new")
    },
    "off_variant": "old",
    "default": "old",
    "rules": [{"id": "beta", "if": [{"attribute": "plan", "op": "in", "values": ["beta"]}], "serve": "new"}],
}
CLASS = {"criticality": "critical", "model": "route"}


def put(kind: str, key: str, spec: dict[str, Any]) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(spec)))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        operations = [put("flag", "route", ROUTE), put("request_class", "support-reply", CLASS)]
        await opened.services.changes.commit(ROOT, "production", operations, "a request class")
        yield opened


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    key = await world.access.keys.create(ROOT, "production", "java")
    async with world.client(key.key) as client:
        yield client


async def policy_of(http: httpx.AsyncClient, **context: Any) -> dict[str, Any]:
    answer = await http.post(f"{BASE}/policy", json={"request_class": "support-reply", "context": context})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def totals(world: World) -> dict[str, RequestTotals]:
    """By model."""
    await world.services.telemetry.ingest.flush()
    now = world.clock.now()
    async with world.services.database.reading() as connection:
        rows = await tables.rollups_between(
            connection, "production", "request", step_s=series.COARSE_S,
            since=now - timedelta(days=1), until=now + timedelta(days=1),
        )  # fmt: skip
    found: dict[str, RequestTotals] = {}
    for row in rows:
        model = row.series.split(series.SEPARATOR)[1]
        found[model] = found.get(model, RequestTotals()).plus(series.decode_request(row.totals))
    return found


async def test_what_was_reported_is_counted_under_the_model_and_variant_of_the_policy(
    world: World, http: httpx.AsyncClient
) -> None:
    policy = await policy_of(http, targeting_key="u-1", plan="beta")
    assert policy["model"]["model"] == "new-model"
    for _ in range(2):
        answer = await http.post(
            f"{BASE}/record",
            json={"policy": policy, "input_tokens": 100, "duration_ms": 250.0, "error_class": "timeout"},
        )
        assert (answer.status_code, answer.content) == (204, b"")
    found = await totals(world)
    assert found.keys() == {"new-model"}
    assert found["new-model"].requests == 2
    assert found["new-model"].errors == {"timeout": 2}
    assert found["new-model"].input_tokens == 200


async def test_it_counts_once_however_often_it_is_folded(world: World, http: httpx.AsyncClient) -> None:
    policy = await policy_of(http, targeting_key="u-1")
    await http.post(f"{BASE}/record", json={"policy": policy})
    assert (await totals(world))["old-model"].requests == 1
    await http.post(f"{BASE}/record", json={"policy": policy})
    assert (await totals(world))["old-model"].requests == 2
    assert (await totals(world))["old-model"].requests == 2


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"policy": None}, "/policy"),
        ({"policy": {"request_class": 7}}, "/policy/request_class"),
        ({"error_class": "tired"}, "/error_class"),
        ({"input_tokens": -1}, "/input_tokens"),
        ({"input_tokens": "7"}, "/input_tokens"),
        ({"duration_ms": 1e300}, "/duration_ms"),
        ({"mood": "good"}, ""),
    ],
)
async def test_a_bad_report_names_the_field(http: httpx.AsyncClient, change: dict[str, Any], pointer: str) -> None:
    answer = await http.post(f"{BASE}/record", json={"policy": {"request_class": "support-reply"}} | change)
    assert answer.status_code == 422, answer.text
    assert pointer in answer.text


async def test_a_key_reports_only_what_it_may_and_only_in_its_environment(
    world: World, http: httpx.AsyncClient
) -> None:
    body = {"policy": {"request_class": "support-reply"}}
    assert (await http.post("/api/v1/environments/staging/record", json=body)).status_code == 403
    reads = await world.access.keys.create(ROOT, "production", "reads", uses=(KeyUse.EVALUATE,))
    async with world.client(reads.key) as client:
        assert (await client.post(f"{BASE}/record", json=body)).status_code == 403
    async with world.client() as nobody:
        assert (await nobody.post(f"{BASE}/record", json=body)).status_code == 401


async def test_a_rollout_counts_a_reported_request_for_the_unit_that_its_split_hashed(
    world: World, http: httpx.AsyncClient
) -> None:
    spec = {
        "flag": "route", "control": "old", "treatment": "new", "unit": "account",
        "stages": [{"weight_bp": 10_000, "min_duration_s": 120, "min_units": 50}],
        "guardrails": [{"measure": "error"}],
    }  # fmt: skip
    rollouts = world.services.rollouts
    await rollouts.create(ROOT, "production", "new-model", msgspec.json.encode(spec), "a new model")
    await rollouts.move(ROOT, "production", "new-model", "start", "let us see")
    policy = await policy_of(http, account="a-7", targeting_key="u-1")
    assert (policy["unit"], policy["exposures"]) == ("a-7", [["rollout:new-model:1.0", "new"]])
    for _ in range(3):
        await http.post(f"{BASE}/record", json={"policy": policy, "error_class": "timeout"})
    await totals(world)
    async with world.services.database.reading() as connection:
        (witness,) = await readings.witnesses(connection, "production", "rollout:new-model:1.0")
    assert witness.arms["new"].units == 1
    assert witness.arms["new"].bad["error"] == 1


async def test_a_worse_prompt_shows_beside_a_better_one_of_the_same_model(
    world: World, http: httpx.AsyncClient
) -> None:
    say = {name: {"messages": [{"role": "system", "text": f"Be {name}."}]} for name in ("kind", "brief")}
    by_plan = [{"id": "beta", "if": [{"attribute": "plan", "op": "in", "values": ["new"]}], "serve": "brief"}]
    words = {"type": "prompt", "variants": say, "off_variant": "kind", "default": "kind", "rules": by_plan}
    operations = [put("flag", "words", words), put("request_class", "support-reply", {**CLASS, "prompt": "words"})]
    await world.services.changes.commit(ROOT, "production", operations, "a prompt")
    for plan, refused in (("old", False), ("new", True), ("new", True)):
        policy = await policy_of(http, plan=plan)
        assert policy["prompt"]["messages"] == say["brief" if plan == "new" else "kind"]["messages"]
        await http.post(f"{BASE}/record", json={"policy": policy, "refused": refused})
    await world.services.telemetry.ingest.flush()
    async with world.client(await world.token({"*": ["viewer"]})) as viewer:
        chart = (await viewer.get(f"{BASE}/signals", params={"by": "model,prompt"})).json()
    told = {
        (line["labels"]["model"], line["labels"]["prompt"].partition("@")[0]): line["totals"]["refusal_share"]
        for line in chart["series"]
    }
    assert told == {("old-model", "kind"): 0.0, ("old-model", "brief"): 1.0}


def test_a_record_takes_all_that_the_client_takes() -> None:
    taken = [name for name in inspect.signature(Recording.record).parameters if name != "self"]
    assert sorted(RecordInput.__struct_fields__) == sorted(taken)


async def test_both_are_described_with_body_and_answer(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/api/openapi.json")).json()
    policy = schema["paths"]["/api/v1/environments/{environment}/policy"]["post"]
    record = schema["paths"]["/api/v1/environments/{environment}/record"]["post"]
    assert policy["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Policy")
    assert record["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/RecordInput")
    assert (policy["x-permission"], record["x-permission"]) == ("evaluate", "report")
    fields = schema["components"]["schemas"]["RecordInput"]["properties"]
    assert {"policy", "error_class", "input_tokens", "quality"} <= set(fields)
