"""The console behind a proxy, under a path of a host that serves more, in a real Chromium."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from controlplane.embedded.processes import free_port
from tests.e2e.brownout_up import BrownoutUp
from tests.e2e.browser import EMAIL, PASSWORD, WIDE, Watched, first_run, setup_url
from tests.e2e.proxy import PathProxy

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

ROOT = "/brownout"


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "passed on"])
def test_signing_in_a_flag_a_live_page_and_signing_out(browser: Browser, strips: bool) -> None:
    public, port = free_port(), free_port()
    url = f"http://127.0.0.1:{public}{ROOT}"
    with (
        tempfile.TemporaryDirectory() as folder,
        PathProxy(ROOT, public, port, strips=strips) as proxy,
        BrownoutUp(Path(folder) / "data", "--port", str(port), "--public-url", url) as up,
    ):
        up.load_demo_configuration()
        context = browser.new_context(viewport=WIDE)
        watched = Watched(context)
        page = watched.page
        link = setup_url(up.log.read_text())
        assert link.startswith(f"{url}/welcome#")
        first_run(page, link)
        assert {cookie["path"] for cookie in context.cookies()} == {f"{ROOT}/"}
        expect(page.locator("h1")).to_be_visible()

        for name in ("Safe mode", "Flags", "Cohorts", "Request classes", "Rollouts", "Signals", "Fleet", "History",
                     "Playground", "Access"):  # fmt: skip
            page.get_by_role("navigation").get_by_role("link", name=re.compile(f"^{name}")).first.click()
            expect(page).to_have_url(re.compile(rf"^{url}/e/production/"))
            expect(page.locator("h1")).to_be_visible()

        expect(page.get_by_role("link", name="Documentation")).to_have_attribute("href", f"{ROOT}/docs")
        page.goto(f"{url}/docs")
        expect(page).to_have_url(f"{url}/docs/index.html")

        page.goto(f"{url}/e/production")
        split = {"split": [{"variant": "on", "weight_bp": 500}, {"variant": "off", "weight_bp": 9_500}]}
        flag = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": split}
        up.json("flag", "put", "new-flag", "-", stdin=json.dumps(flag).encode())
        expect(page.get_by_text("new-flag").first).to_be_visible()
        assert any(path.startswith(f"{ROOT}/e/production/live") for path in proxy.passed), "live by the event stream"

        page.goto(f"{url}/e/production/flags/new-flag")
        share = page.get_by_label("on, per cent")
        share.fill("25")
        share.press("Tab")
        page.get_by_role("button", name="Review change…").click()
        page.get_by_label("Why").fill("Behind a proxy, too")
        page.get_by_role("button", name="Save as r").click()
        expect(page).to_have_url(re.compile(rf"^{url}/e/production/flags/new-flag\?saved="))
        expect(page.get_by_role("status").first).to_contain_text("Saved as r")

        context.clear_cookies()
        page.goto(f"{url}/e/production/fleet")
        expect(page).to_have_url(re.compile(rf"^{url}/sign-in\?next="))
        page.get_by_label("Email").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page).to_have_url(f"{url}/e/production/fleet")
        watched.check()
        assert [path for path in proxy.missed if path != "/favicon.ico"] == []
        context.close()
