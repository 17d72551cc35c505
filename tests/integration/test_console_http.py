"""The console over HTTP: who is let in, what is asked of a browser, what is cached."""

import httpx
import pytest

from controlplane.demo.document import load_demo
from controlplane.web.kit.assets import Assets
from controlplane.web.kit.render import UI
from tests.integration.accessing import PASSWORD, ROOT, URL, open_world

pytestmark = pytest.mark.anyio

ENVIRONMENT = "production"


async def test_whoever_is_nobody_signs_in_first_and_goes_on(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        answer = await browser.get("/e/production/flags?q=x")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in?next=/e/production/flags%3Fq%3Dx"
        assert (await browser.get("/sign-in")).status_code == 200


async def test_a_provider_outage_is_a_choice_and_shows_its_blast_radius(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        await load_demo(world.services.documents, ROOT, ENVIRONMENT)
        await world.person("mara@example.com", {ENVIRONMENT: ["admin"]})
        await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
        page = await browser.get("/e/production/safe-mode/activate", params={"profile": "outage:anthropic"})
        assert 'value="outage:anthropic"' in page.text
        assert "Activate anthropic outage for 1 h" in page.text
        asked = {"profile": "outage:anthropic", "scoped": "yes", "providers": "antropic"}
        radius = await browser.get("/e/production/safe-mode/radius", params=asked)
        assert (radius.status_code, "Did you mean “anthropic”?" in radius.text) == (200, True)


async def test_a_form_without_its_token_changes_nothing(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        await world.person("mara@example.com", {ENVIRONMENT: ["admin"]})
        entered = await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
        assert entered.status_code == 303, entered.text
        page = await browser.get("/e/production/safe-mode/activate")
        assert page.status_code == 200
        refused = await browser.post("/e/production/safe-mode/activate", data={"reason": "x", "confirm": "production"})
        assert refused.status_code == 403
        assert "Nothing was saved" in refused.text
        assert "safe_mode_activation" not in await world.services.store.count_resources(ENVIRONMENT)


async def test_the_audit_log_is_filtered_by_event(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        await world.person("mara@example.com", {ENVIRONMENT: ["admin"]})
        await browser.post("/sign-in", data={"email": "mara@example.com", "password": PASSWORD})
        await world.access.keys.create(ROOT, ENVIRONMENT, "support-copilot")
        await world.access.rule.set(ROOT, ENVIRONMENT, 1, "four eyes")
        shown = {
            event: {what for what in ("support-copilot", "four eyes") if what in found.text}
            for event in ("", "key_created", "rule_changed", "denied", "no such event")
            if (found := await browser.get("/e/production/access/audit", params={"event": event})).status_code == 200
        }
    both = {"support-copilot", "four eyes"}
    assert shown == {
        "": both, "key_created": {"support-copilot"}, "rule_changed": {"four eyes"}, "denied": set(), "no such event": both,
    }  # fmt: skip


async def test_pages_forbid_inline_scripts_and_caches(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        answer = await browser.get("/sign-in")
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"


async def test_what_no_route_answers_goes_out_with_the_security_headers_too(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        for method, address, status in (("GET", "/nothing", 404), ("GET", "/api/v1/no", 404), ("PUT", "/sign-in", 405)):
            answer = await browser.request(method, address)
            assert answer.status_code == status
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "max-age" in answer.headers["strict-transport-security"]


async def test_a_browser_gets_a_page_where_there_is_none(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        for address, accept, kind in (
            ("/e/production/typo", "text/html,*/*", "text/html"),
            ("/e/production/typo", "*/*", "application/problem+json"),
            ("/api/v1/typo", "text/html,*/*", "application/problem+json"),
        ):
            answer = await browser.get(address, headers={"Accept": accept})
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (404, kind)
        page = await browser.get("/e/<b>/x", headers={"Accept": "text/html"})
        assert "There is nothing at /e/&lt;b&gt;/x." in page.text


async def test_refusals_are_in_the_words_of_people(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as nobody:
        refused = await nobody.post("/e/production/access/tokens", data={"name": "laptop"})
        assert refused.status_code == 401
        assert "Your session has ended" in refused.text
        assert "Nothing was saved. Sign in, then try again." in refused.text
        assert "Bearer" not in refused.text
        nobody.headers["Authorization"] = f"Bearer {await world.token({'production': ['viewer']})}"
        wrong = await nobody.get("/e/production/compare", params={"start": "abc"})
        assert wrong.status_code == 400
        assert "The address holds a value that does not belong there." in wrong.text
        assert "/start" in wrong.text


async def test_the_banner_is_shown_before_activation_even_where_no_policy_changes(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        browser.headers["Authorization"] = f"Bearer {await world.token({'production': ['editor', 'operator']})}"
        profile = {"exclude_tools": ["*"], "banner": {"text": "Some actions are paused"}}
        profiles = "/api/v1/environments/production/safe-mode-profiles"
        assert (await browser.put(f"{profiles}/loud", json=profile)).status_code == 200
        assert (await browser.put(f"{profiles}/quiet", json={"exclude_tools": ["*"]})).status_code == 200
        for name, shown in (("loud", "Some actions are paused"), ("quiet", "This profile has no banner")):
            page = await browser.get("/e/production/safe-mode/radius", params={"profile": name, "for_s": "900"})
            assert shown in page.text


@pytest.mark.skipif(not (UI / "dist" / "manifest.json").is_file(), reason="assets are not built: run `make assets`")
async def test_assets_are_kept_for_ever_and_travel_compressed(database_url: str) -> None:
    async with open_world(database_url) as world, _browser(world.app) as browser:
        address = Assets.load(UI / "dist").url("console.css")
        answer = await browser.get(address, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.text.startswith("/* Every value")
        assert (await browser.get("/assets/console.000000000000.css")).status_code == 404


def _browser(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL)  # type: ignore[arg-type]
