"""Values that no page of ours sends: the console refuses them or shows them, and never breaks.

Every page of the route table, with every name that its module reads.
"""

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from litestar import Litestar
from litestar.params import QueryParameter
from litestar.routes import HTTPRoute

from brownout.wire import Operation
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.rollout_world import RESOURCES, ROLLOUT, raw

pytestmark = pytest.mark.anyio

E = "production"
DEEP = "[" * 200 + "]" * 200
QUERIES = ("", "abc", "1" * 30, "-1", "1e400", "²", "[]", "a" * 5_000)
BODIES = ("abc", "1" * 30, "-1")
SHAPES = ("[]", "1", "null", DEEP, '{"stages":1}')
NOT_TEXT = "%00"
SENT = re.compile(r"""(?:get\(|form\[|plain\[|fields\[|params\[|asked\()["']([A-Za-z_@]+)["']""")
PATHS = {"environment": E, "kind": "flag", "step": "start", "file": "console.css", "revision": "1"}
PLAIN = {
    "reason": "why not",
    "message": "why not",
    "profile": "calm",
    "key": "support-model",
    "base": "1",
    "do": "json",
}
SKIPPED = (
    "/api",
    "/healthz",
    "/livez",
    "/readyz",
    "/metrics",
    "/assets",
    "/auth",
    "/ofrep",
    "/sign-out",
    f"/e/{E}/live",
)
EDITORS = ("/draft", "/new", "/rollouts/save", "/review/flag", "/save/flag")
JSON_NAMES = ("document", "json:/stages", "json:/variants", "json:/rules")


class Page(NamedTuple):
    method: str
    path: str
    queries: tuple[str, ...]
    """What its signature takes."""
    names: tuple[str, ...]
    """What its module reads of queries and forms."""


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as world:
        ops = [Operation("put", kind, key, raw(spec)) for (kind, key), spec in RESOURCES.items()]
        ops.append(Operation("put", "rollout", "support-model", raw(ROLLOUT)))
        await world.services.changes.commit(ROOT, E, ops, "the world")
        yield world


def pages(app: Litestar) -> Iterator[Page]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        path = re.sub(r"{(\w+)}", lambda found: PATHS.get(found[1], "support-model"), route.path_format)
        if path.startswith(SKIPPED):
            continue
        for handler in route.route_handlers:
            parameters = handler.parsed_fn_signature.parameters
            queries = tuple(
                parameter.kwarg_definition.name or name
                for name, parameter in parameters.items()
                if isinstance(parameter.kwarg_definition, QueryParameter) and f"{{{name}}}" not in route.path_format
            )
            module = inspect.getmodule(inspect.unwrap(handler.fn))
            names = sorted({*queries, "for_s", *SENT.findall(inspect.getsource(module))}) if module else queries
            for method in {"GET", "POST"} & {str(method) for method in handler.http_methods}:
                yield Page(method, path, queries, tuple(names))


async def admin(world: World) -> httpx.AsyncClient:
    client = world.client(await world.token({"*": ["admin"]}))
    client.headers["accept-encoding"] = "identity"
    return client


async def broken(client: httpx.AsyncClient, page: Page, fields: list[tuple[str, str]]) -> str:
    """What is wrong with the answer; empty when nothing is. A refusal for one value names it."""
    encoded = "&".join(f"{quote(name)}={_quoted(value)}" for name, value in fields)
    if page.method == "GET":
        response = await client.get(f"{page.path}?{encoded}")
    else:
        form = {"content-type": "application/x-www-form-urlencoded"}
        response = await client.post(page.path, content=encoded, headers=form)
    if response.status_code >= 500:
        return f"{page.method} {page.path}: {response.status_code} with {encoded[:100]}"
    refused = response.status_code in {400, 422} and page.method == "GET" and len(fields) == 1
    if refused and fields[0][1] and fields[0][0] in page.queries and fields[0][0] not in response.text:
        return f"{page.path} refuses {encoded[:100]} and does not say what"
    return ""


def _quoted(value: str) -> str:
    return NOT_TEXT if value == NOT_TEXT else quote(value.encode(errors="surrogateescape"), safe="")


async def test_no_page_breaks_at_a_query(world: World) -> None:
    wrong = []
    async with await admin(world) as client:
        asked = [page for page in pages(world.app) if page.method == "GET"]
        for page in asked:
            for value in (*QUERIES, NOT_TEXT):
                wrong += [await broken(client, page, [(name, value)]) for name in page.queries]
                wrong.append(await broken(client, page, [(name, value) for name in page.names] or [("x", value)]))
            wrong.append(
                await broken(client, page, [(name, value) for name in page.names for value in ("1", "abc", "")])
            )
    assert [each for each in wrong if each] == []
    assert len(asked) > 40


async def test_no_page_breaks_at_a_form(world: World) -> None:
    wrong = []
    async with await admin(world) as client:
        asked = [page for page in pages(world.app) if page.method == "POST"]
        for page in asked:
            for name in page.names:
                rest = [(other, value) for other, value in PLAIN.items() if other != name]
                wrong += [await broken(client, page, [(name, value), *rest]) for value in BODIES]
            twice = [(name, value) for name in page.names for value in (NOT_TEXT, "[]")]
            wrong.append(await broken(client, page, [*twice, *PLAIN.items()]))
    assert [each for each in wrong if each] == []
    assert len(asked) > 20


async def test_no_editor_breaks_at_a_document_of_another_shape(world: World) -> None:
    wrong = []
    async with await admin(world) as client:
        editors = [page for page in pages(world.app) if page.method == "POST" and page.path.endswith(EDITORS)]
        for page in editors:
            for name in JSON_NAMES:
                wrong += [await broken(client, page, [(name, value), *PLAIN.items()]) for value in SHAPES]
    assert [each for each in wrong if each] == []
    assert len(editors) >= 12


@pytest.mark.parametrize("value", ["%00", "%ff", "1" * 400, "-1", "..", "%2F", "a" * 3_000])
async def test_no_page_breaks_at_an_address(world: World, value: str) -> None:
    wrong: list[Any] = []
    async with await admin(world) as client:
        for route in world.app.routes:
            if (
                isinstance(route, HTTPRoute)
                and "{" in route.path_format
                and not route.path_format.startswith("/assets")
            ):
                for name in re.findall(r"{(\w+)}", route.path_format):
                    filled = route.path_format.replace(f"{{{name}}}", value)
                    path = re.sub(r"{(\w+)}", lambda found: PATHS.get(found[1], "support-model"), filled)
                    if not path.endswith(("/live", "/events")):
                        response = await client.get(path)
                        wrong += [(path, response.status_code)] if response.status_code >= 500 else []
    assert wrong == []
