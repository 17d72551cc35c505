"""What the API says of itself, and what it says to whoever runs it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from controlplane.access.actor import Action
from tests.integration.accessing import World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def anybody(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            if isinstance(operation, dict) and "responses" in operation:
                yield path, operation


async def test_every_operation_is_named_tagged_and_says_how_it_refuses(anybody: httpx.AsyncClient) -> None:
    response = await anybody.get("/api/openapi.json")
    assert response.status_code == 200
    schema = response.json()
    found = [(path, operation) for path, operation in operations(schema) if path.startswith("/api/v1")]
    assert len(found) > 40
    ids = [operation["operationId"] for _, operation in found]
    assert len(ids) == len(set(ids))
    for path, operation in found:
        assert operation.get("tags"), path
        assert operation.get("description"), path
        if operation.get("security") != []:
            assert "401" in operation["responses"], path


async def test_what_needs_no_token_says_how_it_refuses_too(anybody: httpx.AsyncClient) -> None:
    paths = (await anybody.get("/api/openapi.json")).json()["paths"]
    assert {"422", "429", "503"} <= set(paths["/readyz"]["get"]["responses"])
    assert {"401", "403", "404", "413", "422", "429"} <= set(paths["/api/v1/session"]["post"]["responses"])


async def test_every_reference_leads_somewhere(anybody: httpx.AsyncClient) -> None:
    schema = (await anybody.get("/api/openapi.json")).json()
    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}

    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    assert set(references(schema)) <= known
    assert {"Flag", "Cohort", "RequestClass", "Document", "CommitInput", "Problem"} <= set(
        schema["components"]["schemas"]
    )


async def test_writing_a_flag_is_described_with_its_body_and_permission(anybody: httpx.AsyncClient) -> None:
    schema = (await anybody.get("/api/openapi.json")).json()
    put = schema["paths"]["/api/v1/environments/{environment}/flags/{key}"]["put"]
    assert put["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Flag"}
    assert put["x-permission"] == Action.EDIT
    assert "stale_revision" in put["responses"]["409"]["description"]
    assert "already_exists" in put["responses"]["412"]["description"]
    assert {p["name"] for p in put["parameters"]} >= {"environment", "key", "If-Match", "Idempotency-Key"}


async def test_health_needs_no_token(anybody: httpx.AsyncClient) -> None:
    assert (await anybody.get("/livez")).text == "ok"
    assert (await anybody.get("/readyz")).status_code == 200


async def test_metrics_are_by_route(world: World, anybody: httpx.AsyncClient) -> None:
    async with world.client(await world.token({"*": ["viewer"]})) as viewer:
        await viewer.get("/api/v1/environments/production/flags/secret-name")
    answer = await anybody.get("/metrics")
    assert answer.headers["Content-Type"].count("charset") == 1
    text = answer.text
    assert 'route="/api/v1/environments/{environment}/flags/{key}",status="404"' in text
    assert "secret-name" not in text
    assert "brownout_nats_connected 0.0" in text
