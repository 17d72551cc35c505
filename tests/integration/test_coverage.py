"""Coverage, patterns, ranks and prices through the whole control plane, beside what its own parts say."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from brownout.telemetry.attempted import Attempted
from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire.telemetry import RequestKey, decode
from controlplane.access.actor import Role
from controlplane.demo.document import load_demo
from tests.integration.accessing import PASSWORD, ROOT, World, open_world
from tests.support import take

pytestmark = pytest.mark.anyio

API = "/api/v1/environments/production"
PRICES = '{"claude-haiku-5": {"input_per_million": 1.0, "output_per_million": 5.0}, "gpt-6-mini": {"input_per_million": 0.37, "output_per_million": 1.91}}'  # fmt: skip


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url, prices=PRICES) as opened:
        await load_demo(opened.services.documents, ROOT, "production")
        yield opened


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"production": [Role.ADMIN]})) as client:
        yield client


async def found(api: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await api.get(f"{API}/coverage{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def without_rung(ladder: dict[str, Any], *types: str) -> dict[str, Any]:
    rungs = [rung for rung in ladder["variants"]["standard"]["rungs"] if rung["type"] not in types]
    return {**ladder, "variants": {"standard": {**ladder["variants"]["standard"], "rungs": rungs}}}


async def test_the_matrix_is_on_its_page_and_served_as_json_and_csv_now_and_then(
    world: World, api: httpx.AsyncClient
) -> None:
    await check_the_page(world)
    report = await found(api, "", profile="")
    cells = {(cell["request_class"], cell["mode"]): cell for cell in report["cells"]}
    assert len(cells) == 24
    assert (cells["support-reply", "provider-outage"]["rung"], report["unread"]) == ("model", [])
    assert cells["support-reply", "retrieval-miss"]["state"] == "raw"
    assert cells["support-summary", "refusal-surge"]["accepted"].startswith("An agent")
    assert report["summary"]["possible"] == sum(cell["state"] != "not_possible" for cell in cells.values())
    everything = (await found(api, ""))["cells"]
    assert {cell["profile"] for cell in everything} == {"", "contain", "humans-only", "shed-load", "small-models"}
    one = (await found(api, "", request_class="refund-decision", profile="humans-only"))["cells"]
    assert {cell["answer"] for cell in one} <= {"refunds", ""}
    text = await api.get(f"{API}/coverage/csv")
    assert text.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(text.text)))
    assert [(line["request_class"], line["mode"], line["profile"], line["state"]) for line in lines] == [
        (cell["request_class"], cell["mode"], cell["profile"], cell["state"]) for cell in everything
    ]
    revision = report["revision"]
    await api.put(f"{API}/flags/refund-ladder", json=await spec(api, "flags/refund-ladder", "template", "human_review"))
    assert (await found(api, "", profile=""))["cells"] != report["cells"]
    assert (await found(api, "", profile="", revision=revision))["cells"] == report["cells"]
    for params in ({"profile": "nowhere"}, {"request_class": "nowhere"}, {"revision": 10_000}):
        assert (await api.get(f"{API}/coverage", params=params)).status_code == 404


async def check_the_page(world: World) -> None:
    await world.person("mara@example.com", {"production": ["admin"]})
    async with world.client() as browser:
        await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
        page = (await browser.get("/e/production/coverage")).text
        for words in (
            "support-reply",
            "Provider outage",
            "shown raw",
            "An agent reads the summary",
            "gold",
            "Cached responses",
        ):
            assert words in page, words
        safe = (await browser.get("/e/production/coverage", params={"profile": "humans-only"})).text
        assert "refunds" in safe
        assert (await browser.get("/e/production/coverage", params={"profile": "nowhere"})).status_code == 404
        assert "Respond" in (await browser.get("/e/production/failure-modes/provider-outage")).text


async def spec(api: httpx.AsyncClient, path: str, *types: str) -> dict[str, Any]:
    """The spec of a ladder, without its rungs of these types and the terminal actions that need them."""
    ladder: dict[str, Any] = without_rung((await api.get(f"{API}/{path}")).json()["spec"], *types)
    if "human_review" in types:
        ladder["variants"]["standard"]["terminal"] = {}
    return ladder


async def check_what_commits_say(api: httpx.AsyncClient) -> None:
    before = (await api.get(f"{API}/flags/summary-ladder")).json()["spec"]
    after = without_rung(before, "model", "cache")
    put = {"op": "put", "kind": "flag", "key": "summary-ladder", "spec": after}
    preview = (await api.post(f"{API}/commits/preview", json={"ops": [put], "message": "m"})).json()
    done = (await api.put(f"{API}/flags/summary-ladder", json=after)).json()
    assert preview["effective"] == done["effective"]
    lost = [line for line in done["effective"] if line.startswith("warning: coverage lost: support-summary on ")]
    assert "warning: coverage lost: support-summary on latency-spike: model haiku-5 → nothing" in lost
    back = (await api.put(f"{API}/flags/summary-ladder", json=before)).json()
    gained = [line for line in back["effective"] if line.startswith("coverage gained: support-summary on ")]
    assert len(gained) == len(lost)


async def test_commits_say_what_they_lose_gold_refuses_it_and_nothing_holds_up_safe_mode(
    world: World, api: httpx.AsyncClient
) -> None:
    await check_what_commits_say(api)
    ladder = await spec(api, "flags/support-ladder", "cache")
    refused = await api.put(f"{API}/flags/support-ladder", json=ladder)
    assert refused.status_code == 422
    faults = {(fault["code"], fault["pointer"]) for fault in refused.json()["faults"]}
    assert ("tier_unmet", "/request_class/support-reply/ladder") in faults
    one = await api.put(f"{API}/flags/support-model", json=await single_provider(api))
    assert one.status_code == 422
    silver = (
        await api.put(f"{API}/flags/refund-ladder", json=await spec(api, "flags/refund-ladder", "human_review"))
    ).json()
    assert "warning: tier silver: refund-decision lacks a human review rung and an owner" in silver["effective"]
    on = await api.post(f"{API}/safe-mode/activations", json={"profile": "humans-only", "reason": "r", "for_s": 600})
    assert on.status_code == 201, on.text
    excluded = {"exclude_providers": ["anthropic"], "reason": "outage", "for_s": 600}
    assert (await api.post(f"{API}/safe-mode/activations", json=excluded)).status_code == 201


async def single_provider(api: httpx.AsyncClient) -> dict[str, Any]:
    route: dict[str, Any] = (await api.get(f"{API}/flags/support-model")).json()["spec"]
    for value in route["variants"].values():
        for target in value["targets"].values():
            target["provider"] = "anthropic"
    return route


async def test_a_pattern_is_proposed_and_its_proposal_makes_the_check_pass(
    world: World, api: httpx.AsyncClient
) -> None:
    await check_the_defaults(api)
    names = ("cached_responses", "secondary_model", "human_review", "degraded_ui", "safe_mode")
    states = {one["request_class"]: one for one in (await found(api, "/patterns"))["classes"]}
    assert [each["pattern"] for each in states["refund-decision"]["patterns"]] == list(names)
    assert [each["pattern"] for each in states["support-reply"]["patterns"]] == [*names, "other_provider"]
    missing = [each["pattern"] for each in states["support-summary"]["patterns"] if each["state"] == "missing"]
    assert missing == ["human_review", "degraded_ui"]
    for pattern in missing:
        made = await api.post(f"{API}/coverage/patterns", json={"request_class": "support-summary", "pattern": pattern})
        assert made.status_code == 201, made.text
        proposal = (await api.get(f"{API}/proposals/{made.json()['proposal']}")).json()
        assert (
            await api.post(f"{API}/commits", json={"ops": proposal["proposal"]["ops"], "message": "m"})
        ).status_code == 201
    (after,) = (await found(api, "/patterns", request_class="support-summary"))["classes"]
    assert [each["state"] for each in after["patterns"]] == ["configured"] * 5
    again = await api.post(
        f"{API}/coverage/patterns", json={"request_class": "support-summary", "pattern": "degraded_ui"}
    )
    assert again.status_code == 409
    lacking = await api.post(
        f"{API}/coverage/patterns", json={"request_class": "refund-decision", "pattern": "secondary_model"}
    )
    assert (lacking.status_code, lacking.json()["faults"][0]["pointer"]) == (422, "/flag/refund-model/variants")
    unknown = await api.post(f"{API}/coverage/patterns", json={"request_class": "refund-decision", "pattern": "prayer"})
    assert unknown.status_code in {400, 422}


async def check_the_defaults(api: httpx.AsyncClient) -> None:
    for key in ("latency-spike", "cost-overrun"):
        assert (await api.delete(f"{API}/failure-modes/{key}")).status_code == 200
    done = (await api.post(f"{API}/coverage/defaults")).json()
    assert sorted(change["key"] for change in done["changes"]) == ["cost-overrun", "latency-spike"]
    assert (await api.post(f"{API}/coverage/defaults")).status_code == 409


def requests(telemetry: Telemetry, n: int, **report: Any) -> None:
    for _ in range(n):
        telemetry.record(RequestKey("support-reply", "claude-haiku-5", "haiku-5", ""), Report(**report))


async def tell(world: World, telemetry: Telemetry) -> None:
    data = telemetry.message(final=True)
    assert data is not None
    take(world.services.telemetry.ingest, "production", decode(data))
    await world.services.telemetry.ingest.flush()


async def test_ranks_prices_and_exercise_equal_what_was_counted(world: World, api: httpx.AsyncClient) -> None:
    world.clock.move(timedelta(hours=1))
    telemetry = Telemetry("i-1", "support-copilot")
    normal = Attempted("haiku-5", "anthropic", "claude-haiku-5", usage=(1_000, 333))
    failed = Attempted("haiku-5", "anthropic", "claude-haiku-5", error="server_error", usage=(700, 0))
    spare = Attempted("gpt-6-mini", "openai", "gpt-6-mini", usage=(777, 111))
    requests(telemetry, 60, answered_by="haiku-5", attempts=(normal,), completed=True)
    for completed in (True, False):
        requests(
            telemetry, 20, error_class="server_error", rung="model", answered_by="gpt-6-mini", attempts=(failed, spare),
            completed=completed,
        )  # fmt: skip
    requests(telemetry, 5, error_class="timeout", rung="cache", completed=None)
    await tell(world, telemetry)
    world.clock.move(timedelta(minutes=1))
    modes = {mode["mode"]: mode for mode in (await found(api, "/ranks"))["modes"]}
    outage = modes["provider-outage"]
    assert (outage["hit"], outage["classes"][0]["impact"], outage["classes"][0]["completion"]) == (40, 70, 0.5)
    assert outage["score"] == 70 * 40 * 0.5
    assert modes["latency-spike"]["score"] == 60 * 5 * 0.5
    assert next(iter(modes)) == "provider-outage"
    prices = {tier["tier"]: tier for tier in (await found(api, "/prices"))["tiers"]}
    haiku, mini = (60 * 1_000 + 40 * 700 + 60 * 333 * 5) / 1e6, (40 * 777 * 0.37 + 40 * 111 * 1.91) / 1e6
    gold = prices["gold"]
    assert (gold["requests"], gold["saved"]) == (105, 45)
    assert (gold["cost"], gold["fallback_cost"]) == (round(haiku + mini, 2), round(mini, 2))
    assert prices["silver"]["cost"] is None
    chart = (await api.get(f"{API}/signals", params={"since": since(world)})).json()
    assert round(sum(each["cost"] for each in chart["attempts"]), 2) == gold["cost"]
    assert await state(api, "secondary_model") == ("exercised", 40)
    assert await state(api, "cached_responses") == ("configured", 5)
    world.clock.move(timedelta(hours=1))
    ladder = (await api.get(f"{API}/flags/support-ladder")).json()["spec"]
    assert (await api.put(f"{API}/flags/support-ladder", json={**ladder, "description": "new"})).status_code == 200
    assert await state(api, "secondary_model") == ("stale", 0)


def since(world: World) -> str:
    return (world.clock.now() - timedelta(hours=2)).isoformat()


async def state(api: httpx.AsyncClient, pattern: str) -> tuple[str, int]:
    (one,) = (await found(api, "/patterns", request_class="support-reply"))["classes"]
    (each,) = [each for each in one["patterns"] if each["pattern"] == pattern]
    return each["state"], each["served"]
