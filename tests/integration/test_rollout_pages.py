"""A rollout's pages over HTTP: what a person reads in each state, and that the editors round-trip what a rollout owns."""

import re
from html import unescape
from typing import Any

import httpx
import msgspec
import pytest

from brownout.telemetry.counters import Telemetry
from brownout.wire import Operation
from brownout.wire.telemetry import decode
from controlplane.telemetry.ingest import Ingest
from controlplane.web.editing.draft import read
from controlplane.web.flags.rules import normalise
from tests.integration.accessing import PASSWORD, ROOT, URL, World, open_world
from tests.support import take

pytestmark = pytest.mark.anyio

E = "production"
FLAG = {"type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a", "default": "a"}
PLAN: dict[str, Any] = {
    "flag": "m", "control": "a", "treatment": "b",
    "stages": [{"weight_bp": 500}, {"weight_bp": 2_500}, {"weight_bp": 10_000}],
}  # fmt: skip


async def test_each_state_is_said_as_it_is(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world) as browser:
        await _begin(world, browser)
        listed = await _text(browser, "")
        assert "Drafts" in listed
        assert "3 stages, not started" in listed
        assert "Running" not in listed
        assert "serves no one until it is started" in await _text(browser, "/one")

        await _move(world, "start", "it looks good")
        assert _states(await _html(browser, "/one")) == ["running", "next", "later"]
        await _move(world, "roll-back", "refusals doubled since noon")
        page = await _html(browser, "/one")
        assert "Refusals doubled since noon" in _plain(page)
        assert _states(page) == ["rolled back here", "not reached", "not reached"]

        await _move(world, "start", "again")
        for _ in range(3):
            await _move(world, "advance", "by hand")
        assert "Completed: still served by the rollout's own rule" in await _text(browser, "")
        assert "Finish…" in await _text(browser, "/one")
        assert "becomes the flag's default" in await _text(browser, "/one/move/finish")
        await _move(world, "finish", "all good")
        assert "Finish…" not in await _text(browser, "/one")


async def test_a_draft_is_edited_and_nothing_is_overwritten(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world) as browser:
        await _begin(world, browser)
        page = await _html(browser, "/one/edit")
        assert "Edit one" in _plain(page)
        fields = _fields(page)
        assert fields["base"] != "0"
        form = {**fields, "key": "one", "reason": "smaller", "percent:/stages/[0]/weight_bp": "1"}
        changed = await browser.post(f"/e/{E}/rollouts/save", data=form)
        assert changed.status_code in {200, 303}, changed.text
        found = await world.services.rollouts.get(ROOT, E, "one")
        assert found.summary.state == "draft"
        late = await browser.post(f"/e/{E}/rollouts/save", data={**form, "reason": "stale"})
        assert late.status_code == 422

        created = await browser.post(f"/e/{E}/rollouts/save", data={**form, "base": "0"})
        assert created.status_code == 422
        assert "there is a rollout one already" in _plain(created.text)


async def test_the_form_offers_the_measures_of_requests_and_what_services_track(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world) as browser:
        await _begin(world, browser)
        counted = Telemetry("i-1", "support")
        counted.track("thumbs-down")
        message = counted.message(final=True)
        assert message is not None
        ingest = Ingest(world.services.database, world.clock)
        take(ingest, E, decode(message))
        await ingest.flush()
        page = await _html(browser, "/new")
    offered = set(re.findall(r'<option value="([^"]+)">', page))
    assert {"error", "tokens", "cost", "event:thumbs-down", "value:thumbs-down", "amount:thumbs-down"} <= offered


async def test_the_flags_editor_shows_whose_rule_it_is_and_sends_it_back_unchanged(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world) as browser:
        await _begin(world, browser)
        await _move(world, "start", "it looks good")
        before = msgspec.json.decode((await world.services.store.get_resource(E, "flag", "m")).spec)
        late = {"id": "late", "serve": "b"}
        spec = {**before, "rules": [*before["rules"], late]}
        await world.services.changes.commit(ROOT, E, [Operation("put", "flag", "m", _raw(spec))], "behind it")

        page = (await browser.get(f"/e/{E}/flags/m")).text
        assert "Only the rollout changes this rule" in _plain(page)
        assert f"Never serves: rule {before['rules'][0]['id']} before it catches everyone" in _plain(page)
        document = normalise(read(_fields(page).items()), before)
        assert document["rules"][0] == {**before["rules"][0], "if": []}


async def _begin(world: World, browser: httpx.AsyncClient) -> None:
    await world.person("mara@example.com", {E: ["admin"]})
    await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
    await world.services.changes.commit(ROOT, E, [Operation("put", "flag", "m", _raw(FLAG))], "the world")
    await world.services.rollouts.create(ROOT, E, "one", msgspec.json.encode(PLAN), "new")


async def _move(world: World, step: str, reason: str) -> None:
    await world.services.rollouts.move(ROOT, E, "one", step, reason)


async def _html(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(f"/e/{E}/rollouts{path}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def _text(browser: httpx.AsyncClient, path: str) -> str:
    return _plain(await _html(browser, path))


def _plain(page: str) -> str:
    main = page[page.index("<main") :] if "<main" in page else page
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def _states(page: str) -> list[str]:
    track = page[page.index('<ol class="stages">') :]
    return re.findall(r'<span class="soft">([^<]*)</span>', track[: track.index("</ol>")])


def _fields(page: str) -> dict[str, str]:
    """What the page's editor would send."""
    form = page[page.index('id="editor"') :]
    form = form[: form.index("</form>")]
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form, re.DOTALL):
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        if "name" in attributes and (attributes.get("type") != "checkbox" or "checked" in tag):
            found[attributes["name"]] = attributes.get("value", "")
    for name, options in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)"[^>]*selected', options) or re.search(r'value="([^"]*)"', options)
        found[name] = unescape(chosen[1]) if chosen else ""
    return found


def _browser(world: World) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(world.app)
    return httpx.AsyncClient(transport=transport, base_url=URL, headers={"Origin": URL})


def _raw(spec: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(spec))
