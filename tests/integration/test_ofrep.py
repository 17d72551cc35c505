"""OFREP as the protocol has it, with the SDK key of one environment."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from brownout.wire import Operation
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio

BULK = "/ofrep/v1/evaluate/flags"
BETA = [{"attribute": "plan", "op": "in", "values": ["beta"]}]
FLAGS: dict[str, dict[str, Any]] = {
    "chat": {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"},
    "ratio": {
        "type": "float",
        "variants": {"whole": 3.0, "half": 0.5},
        "off_variant": "half",
        "default": "half",
        "rules": [{"id": "beta", "if": BETA, "serve": "whole"}],
    },
    "route": {
        "type": "model_route",
        "variants": {"small": {"targets": {"main": {"provider": "p", "model": "m"}}, "primary": "main"}},
        "off_variant": "small",
        "default": "small",
    },
}


def put(key: str, spec: dict[str, Any]) -> Operation:
    return Operation("put", "flag", key, msgspec.Raw(msgspec.json.encode(spec)))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        operations = [put(key, spec) for key, spec in FLAGS.items()]
        await opened.services.changes.commit(ROOT, "production", operations, "the flags")
        yield opened


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    key = await world.access.keys.create(ROOT, "production", "web")
    async with world.client(key.key) as client:
        yield client


def asking(**context: Any) -> dict[str, Any]:
    return {"context": {"targetingKey": "u-1", **context}}


async def test_one_flag_is_answered_with_value_reason_variant_and_metadata(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{BULK}/ratio", json=asking(plan="beta"))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["key"], body["reason"], body["variant"]) == ("ratio", "TARGETING_MATCH", "whole")
    assert body["metadata"]["rule"] == "beta"
    assert body["metadata"]["revision"] >= 1
    assert '"value":3.0' in answer.text.replace(" ", "")


async def test_an_llm_flag_is_an_object(http: httpx.AsyncClient) -> None:
    body = (await http.post(f"{BULK}/route", json=asking())).json()
    assert body["value"]["targets"]["main"]["model"] == "m"


async def test_an_unknown_flag_is_a_404_in_the_protocols_words(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{BULK}/nothing", json=asking())
    assert answer.status_code == 404
    assert answer.json() == {
        "key": "nothing",
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "flag nothing was not found",
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b'{"context":{"a":1,"a":2}}', "PARSE_ERROR"),
        (b'{"context":{"a":NaN}}', "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b"{}", "INVALID_CONTEXT"),
        (b'{"context":[]}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":7}}', "INVALID_CONTEXT"),
        (b'{"context":{"big":"' + b"x" * 300_000 + b'"}}', "INVALID_CONTEXT"),
    ],
    ids=["broken", "twice", "nan", "list", "no-context", "list-context", "number-key", "huge"],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_bad_request_says_what_is_wrong(
    http: httpx.AsyncClient, body: bytes, code: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    one = await http.post(f"{BULK}/chat", content=body, headers=headers)
    assert (one.status_code, one.json()["key"], one.json()["errorCode"]) == (400, "chat", code)
    bulk = await http.post(BULK, content=body, headers=headers)
    assert (bulk.status_code, bulk.json()["errorCode"]) == (400, code)
    assert set(bulk.json()) == {"errorCode", "errorDetails"}


async def test_all_flags_come_with_an_etag_of_what_they_resolve_to(world: World, http: httpx.AsyncClient) -> None:
    first = await http.post(BULK, json=asking())
    assert [flag["key"] for flag in first.json()["flags"]] == ["chat", "ratio", "route"]
    assert first.json()["metadata"]["environment"] == "production"
    known = {"If-None-Match": first.headers["etag"]}
    again = await http.post(BULK, json=asking(), headers=known)
    assert (again.status_code, again.content) == (304, b"")
    beta = await http.post(BULK, json=asking(plan="beta"), headers=known)
    assert beta.status_code == 200

    await world.services.changes.commit(ROOT, "production", [put("chat", FLAGS["chat"] | {"owner": "web"})], "owner")
    assert (await http.post(BULK, json=asking(), headers=known)).status_code == 304
    await world.services.changes.commit(ROOT, "production", [put("chat", FLAGS["chat"] | {"default": "off"})], "off")
    changed = await http.post(BULK, json=asking(), headers=known)
    assert changed.json()["flags"][0]["value"] is False


async def test_who_shows_no_key_is_refused_before_anything_is_read(world: World) -> None:
    async with world.client() as nobody:
        assert (await nobody.post(f"{BULK}/chat", content=b"{")).status_code == 401
        assert (await nobody.post(BULK, content=b"{")).status_code == 401


async def test_a_key_may_be_shown_as_x_api_key(world: World) -> None:
    key = await world.access.keys.create(ROOT, "staging", "web")
    async with world.client() as client:
        answer = await client.post(BULK, json=asking(), headers={"X-API-Key": key.key})
    assert answer.json() == {
        "flags": [],
        "metadata": {"environment": "staging", "revision": answer.json()["metadata"]["revision"]},
    }


async def test_a_token_of_several_environments_is_told_to_bring_an_sdk_key(world: World) -> None:
    token = await world.token({"production": ["viewer"], "staging": ["viewer"]})
    async with world.client(token) as client:
        answer = await client.post(f"{BULK}/chat", json=asking())
    assert answer.status_code == 403
