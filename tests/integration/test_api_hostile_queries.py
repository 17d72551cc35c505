"""Query strings that no honest client sends: every GET route refuses them by name, and never breaks or guesses."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

HOSTILE: Mapping[str, tuple[str, ...]] = {
    "integer": ("1" + "0" * 30, str(2**63), "-1", f"-1{'0' * 30}", "1.5", "x", "", "0x10", "\u0661", "1 ", "NaN"),
    "number": ("-1", "1" + "0" * 400, "x", "", "NaN", "Infinity", "-Infinity"),
    "boolean": ("maybe", "", "2", "-1"),
    "date-time": (
        "2026-01-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
        "yesterday",
        "",
        "2026-02-30T00:00:00Z",
        "1" + "0" * 30,
    ),
}
"""By type: what no parameter of ours takes."""


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with open_world(database_url) as world, world.client(await world.token({"*": ["admin"]})) as client:
        yield client


async def routes(api: httpx.AsyncClient) -> list[tuple[str, list[Json]]]:
    """Every GET route with a path that can be asked, and its query parameters."""
    schema = (await api.get("/api/openapi.json")).json()
    found = []
    for path, methods in schema["paths"].items():
        if "get" not in methods or path.endswith("/events"):
            continue
        parameters = methods["get"].get("parameters", [])
        numbers = {p["name"] for p in parameters if p["in"] == "path" and "integer" in types(p["schema"])}
        for name in {p["name"] for p in parameters if p["in"] == "path"}:
            path = path.replace(f"{{{name}}}", {"environment": "production"}.get(name, "1" if name in numbers else "a"))
        found.append((path, [p for p in parameters if p["in"] == "query"]))
    return found


def types(schema: Json) -> Iterator[str]:
    for option in (schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield option.get("format", option.get("type", ""))


async def refused(api: httpx.AsyncClient, path: str, query: str, pointer: str) -> str:
    """What is wrong with the refusal; empty when it is one."""
    response = await api.get(f"{path}?{query}")
    if response.status_code != 422 or response.json()["code"] != "invalid":
        return f"{path}?{query}: {response.status_code} {response.text[:200]}"
    pointers = [fault.get("pointer") for fault in response.json().get("faults", ())]
    return "" if pointer in pointers else f"{path}?{query}: {pointers}"


@pytest.mark.parametrize("type_", HOSTILE)
async def test_a_value_that_cannot_be_is_refused_by_name(api: httpx.AsyncClient, type_: str) -> None:
    asked, wrong = 0, []
    for path, parameters in await routes(api):
        required = {p["name"]: "1" for p in parameters if p.get("required")}
        for parameter in parameters:
            if type_ not in types(parameter["schema"]):
                continue
            name = parameter["name"]
            for value in HOSTILE[type_]:
                query = str(httpx.QueryParams({**required, name: value}))
                wrong.append(await refused(api, path, query, f"/{name}"))
                asked += 1
    assert [each for each in wrong if each] == []
    assert asked >= len(HOSTILE[type_])


@pytest.mark.parametrize("value", ["%ff", "%ed%a0%80", "%c3", "a%00b"])
async def test_text_that_is_not_text_is_refused(api: httpx.AsyncClient, value: str) -> None:
    asked = [(path, parameters[0]["name"]) for path, parameters in await routes(api) if parameters]
    wrong = [await refused(api, path, f"{name}={value}", f"/{name}") for path, name in asked]
    assert len(wrong) > 10
    assert [each for each in wrong if each] == []


async def test_a_parameter_that_is_sent_twice_breaks_nothing(api: httpx.AsyncClient) -> None:
    wrong = []
    for path, parameters in await routes(api):
        for name in {parameter["name"] for parameter in parameters}:
            response = await api.get(f"{path}?{name}=1&{name}=abc&{name}[]=2&{name}=")
            wrong += [(path, name, response.status_code)] if response.status_code >= 500 else []
    assert wrong == []


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'""', b"{}", b"[" * 200 + b"]" * 200, b"\xff", b'{"a":1}'])
async def test_a_body_of_another_shape_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    schema = (await api.get("/api/openapi.json")).json()
    wrong = []
    for path, methods in schema["paths"].items():
        for method in methods.keys() & {"post", "put", "patch"}:
            filled = path.replace("{environment}", "production").replace("{revision}", "1")
            filled = re.sub(r"{\w+}", "1", filled)
            response = await api.request(method, filled, content=body, headers={"content-type": "application/json"})
            known_down = response.status_code == 503 and response.json()["code"] == "unavailable"
            wrong += [(method, path, response.status_code)] if response.status_code >= 500 and not known_down else []
    assert wrong == []


@pytest.mark.parametrize("value", ["%ff", "%00", "%ed%a0%80"])
async def test_an_address_that_is_not_text_is_refused(api: httpx.AsyncClient, value: str) -> None:
    response = await api.get(f"/api/v1/environments/production/flags/{value}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("chart", ["signals", "signals/custom"])
@pytest.mark.parametrize(
    "span", ["since=0078-02-10T13:54:08Z", "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"]
)
async def test_a_chart_of_two_thousand_years_or_of_none_is_refused_before_anybody_draws_it(
    api: httpx.AsyncClient, chart: str, span: str
) -> None:
    response = await api.get(f"/api/v1/environments/production/{chart}?{span}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert "31 days" in response.json()["detail"]


PAGES = ("history?before=", "compare?start=", "compare?end=", "safe-mode?before=", "access/audit?before=",
         "signals?start=0&end=", "signals?end=9&start=")  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
async def test_the_console_refuses_them_too(database_url: str, page: str) -> None:
    async with open_world(database_url) as world, world.client(await world.token({"*": ["admin"]})) as client:
        for value in (*HOSTILE["integer"][:4], "%ff"):
            response = await client.get(f"/e/production/{page}{value}")
            assert response.status_code in {200, 400, 422}, (value, response.text[:500])
