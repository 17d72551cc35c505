"""A new kind is a row in two tables. This one lives as long as its test, and goes the whole way."""

from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import pytest

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model import kinds
from brownout.model.kinds import Kind
from brownout.model.resources import ResourceRef, Spec
from controlplane.contract import kinds as edges
from controlplane.contract.kinds import KindRow
from tests.integration.accessing import PASSWORD, World, open_world

pytestmark = pytest.mark.anyio

API = "/api/v1/environments/production"


class Greeting(Spec, frozen=True):
    """Names a template, so that deleting that template is refused."""

    text: str
    template: str | None = None
    description: str = ""


@pytest.fixture
def greeting() -> Iterator[None]:
    def names(spec: Greeting) -> Iterator[tuple[str, ResourceRef]]:
        if spec.template:
            yield "/template", ResourceRef("response_template", spec.template)

    kinds.KINDS["greeting"] = Kind(Greeting, references=names)
    edges.KINDS["greeting"] = KindRow(path="greetings", noun="greeting", found=True)
    yield
    del kinds.KINDS["greeting"], edges.KINDS["greeting"]


@pytest.fixture
async def world(greeting: None, database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"*": ["admin"]})) as client:
        yield client


async def test_it_is_committed_previewed_listed_found_and_restored(api: httpx.AsyncClient) -> None:
    put = {"op": "put", "kind": "greeting", "key": "hi", "spec": {"text": "Hi"}}
    preview = (await api.post(f"{API}/commits/preview", json={"ops": [put], "message": "m"})).json()
    assert preview["effective"] == ["greeting hi: new"]
    first = (await api.put(f"{API}/greetings/hi", json={"text": "Hi"})).json()
    second = (await api.put(f"{API}/greetings/hi", json={"text": "Hello"})).json()
    assert second["effective"] == ["greeting hi: text Hi → Hello"]
    assert (await api.get(f"{API}/greetings/hi")).json()["spec"] == {"text": "Hello", "description": ""}
    assert [item["key"] for item in (await api.get(f"{API}/greetings", params={"search": "hi"})).json()["items"]] == [
        "hi"
    ]
    history = (await api.get(f"{API}/history", params={"kind": "greeting"})).json()["items"]
    assert [commit["revision"] for commit in history] == [second["revision"], first["revision"]]
    restored = await api.post(f"{API}/history/{first['revision']}/restore", json={})
    assert restored.status_code < 300, restored.text
    assert (await api.get(f"{API}/greetings/hi")).json()["spec"]["text"] == "Hi"
    assert (await api.put(f"{API}/greetings/hi", json={"text": 1})).json()["faults"][0]["pointer"] == "/text"


async def test_what_it_names_must_be_there_and_stay(api: httpx.AsyncClient) -> None:
    refused = await api.put(f"{API}/greetings/hi", json={"text": "Hi", "template": "sorry"})
    assert (refused.status_code, refused.json()["faults"][0]["pointer"]) == (422, "/template")
    await api.put(f"{API}/response-templates/sorry", json={"text": "Sorry."})
    assert (await api.put(f"{API}/greetings/hi", json={"text": "Hi", "template": "sorry"})).status_code == 200
    dependants = (await api.get(f"{API}/response-templates/sorry/dependants")).json()["items"]
    assert dependants == [{"kind": "greeting", "key": "hi"}]
    assert (await api.delete(f"{API}/response-templates/sorry")).status_code == 422


async def test_it_is_exported_and_imported(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/greetings/hi", json={"text": "Hi"})
    document = (await api.get(f"{API}/export")).json()
    assert document["resources"]["greeting"] == {"hi": {"text": "Hi"}}
    await api.delete(f"{API}/greetings/hi")
    assert (await api.post(f"{API}/import", json=document)).status_code == 200
    assert (await api.get(f"{API}/greetings/hi")).json()["spec"]["text"] == "Hi"


async def test_the_console_lists_and_edits_it(world: World, api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/greetings/hi", json={"text": "Hi there"})
    await world.person("mara@example.com", {"production": ["admin"]})
    async with world.client() as browser:
        await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
        assert "Hi there" in (await browser.get("/e/production/greetings")).text
        assert "Hi there" in (await browser.get("/e/production/greetings/hi")).text
        assert (await browser.get("/e/production/greetings/new")).status_code == 200
        assert "greetings/hi" in (await browser.get("/e/production/palette", params={"q": "hi"})).text


async def test_a_reader_that_does_not_know_it_goes_on_deciding(api: httpx.AsyncClient) -> None:
    flag = msgspec.json.encode({"type": "boolean", "variants": {"on": True}, "off_variant": "on", "default": "on"})
    del kinds.KINDS["greeting"]
    try:
        held = {ResourceRef("flag", "f"): flag, ResourceRef("greeting", "hi"): b'{"text":"Hi"}'}
        compiled = Compiled.load("production", 1, held)
        assert evaluate(compiled, "f", {}, default=False).value is True
    finally:
        kinds.KINDS["greeting"] = Kind(Greeting)
