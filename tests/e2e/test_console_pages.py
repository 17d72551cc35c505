"""Every page of the console over a living demo: accessible in both themes, harmless whatever it shows, quiet in the log."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.brownout_up import BrownoutUp
from tests.e2e.browser import NARROW, WIDE, Watched, axe, first_run, setup_url
from tests.e2e.pages import PAGES, names
from tests.e2e.scenes import HOSTILE, HOSTILE_FLAG

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

LONG = "Reason " + "\U0001f6a8word" * 390


class Demo:
    def __init__(self, up: BrownoutUp, browser: Browser) -> None:
        self.up = up
        self.browser = browser
        self.url = up.target["url"]
        self.known = names(up)
        context = browser.new_context(base_url=self.url)
        first_run(context.new_page(), setup_url(up.log.read_text()))
        self.state: Any = context.storage_state()
        context.close()

    def visit(self, theme: Literal["light", "dark"] = "light", viewport: dict[str, int] = WIDE) -> Watched:
        return Watched(
            self.browser.new_context(
                base_url=self.url,
                storage_state=self.state,
                color_scheme=theme,
                viewport=viewport,  # type: ignore[arg-type]
            )
        )

    def paths(self) -> dict[str, str]:
        return {name: f"/e/production{path.format(**self.known)}" for name, path in PAGES.items()}


@pytest.fixture(scope="module")
def demo(browser: Browser) -> Iterator[Demo]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with BrownoutUp(Path(folder) / "data", "--demo") as up:
            yield Demo(up, browser)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(demo: Demo, theme: Literal["light", "dark"]) -> None:
    seen = demo.visit(theme)
    found = []
    for path in [*demo.paths().values(), "/gallery"]:
        seen.page.goto(path)
        seen.page.wait_for_timeout(200)
        found += axe(seen.page.locator("main"))
    seen.page.context.close()
    assert found == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_before_signing_in(demo: Demo, theme: Literal["light", "dark"]) -> None:
    context = demo.browser.new_context(base_url=demo.url, color_scheme=theme)
    page = context.new_page()
    for path in ("/sign-in", "/welcome#bo_one_nothing", "/e/nowhere"):
        page.goto(path)
        page.wait_for_timeout(200)
        assert axe(page.locator("main")) == []
    context.close()


def test_no_page_says_anything_in_the_log_or_fails_a_request(demo: Demo) -> None:
    seen = demo.visit()
    for name, path in demo.paths().items():
        if name == "undo":  # of the commit that everything else needs: refused, with the reasons
            continue
        answer = seen.page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        if name != "emergency":  # which is made from memory alone, and has no head
            expect(seen.page.locator("body")).to_have_attribute("data-stream", "live")
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
    seen.page.context.close()
    seen.check()


def test_no_page_scrolls_sideways_on_a_phone(demo: Demo) -> None:
    seen = demo.visit(viewport=NARROW)
    for name, path in demo.paths().items():
        seen.page.goto(path)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], name
    seen.page.context.close()


def test_the_first_page_is_light(demo: Demo) -> None:
    """Everything that a browser fetches for the overview, as it travels."""
    context = demo.browser.new_context(base_url=demo.url, storage_state=demo.state)
    page = context.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    page.goto("/e/production", wait_until="load")
    page.wait_for_timeout(300)
    context.close()
    assert 3 <= len(sizes) <= 8
    assert sum(sizes) < 100_000


@pytest.fixture
def lifted(demo: Demo) -> Iterator[None]:
    yield
    demo.up.cli("safe-mode", "off", "--reason", "the test is over")


@pytest.mark.usefixtures("lifted")
def test_hostile_content_is_shown_harmlessly(demo: Demo) -> None:
    _put(demo, "flags/hostile", HOSTILE_FLAG)
    _put(
        demo,
        "safe-mode-profiles/hostile",
        {"description": HOSTILE, "banner": {"text": HOSTILE}, "exclude_tools": ["*"]},
    )
    demo.up.json("safe-mode", "on", "hostile", "--for", "1h", "--reason", LONG[:2000], "--incident", HOSTILE[:150])
    ran: list[str] = []
    for viewport in (WIDE, NARROW):
        seen = demo.visit(viewport=viewport)
        page = seen.page
        page.on("dialog", lambda dialog: ran.append(dialog.message))
        for path in ("", "/safe-mode", "/flags", "/flags/hostile", "/flags/hostile/history", "/history", "/safe-mode-profiles/hostile",
                     "/safe-mode/activate?profile=hostile", "/playground?subject=flag/hostile&context=%7B%7D", "/access/audit"):  # fmt: skip
            page.goto(f"/e/production{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], path
            assert page.locator("img").count() == 0
        page.goto("/e/production/safe-mode")
        assert axe(page.locator("main")) == []
        page.goto("/e/production/flags/hostile")
        expect(page.locator("h1")).to_have_text("hostile")
        assert "<script>alert(1)</script>" in page.get_by_label("Description").input_value()
        page.context.close()
        seen.check()
    assert ran == []


def test_open_pages_follow_a_rollout_until_a_bad_model_rolls_itself_back(demo: Demo) -> None:
    """A page's head too: who looks while safe mode is lifted must not believe it paused, nor be offered to resume it."""
    seen = demo.visit()
    page = seen.page
    rollout = demo.known["rollout"]
    page.goto(f"/e/production/rollouts/{rollout}")
    expect(page.locator("h1")).to_contain_text("running", timeout=60_000)
    lines = [_line_of(page.context.new_page(), f"/e/production{path}", rollout) for path in ("", "/rollouts")]
    demo.up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "to see it pause")
    expect(page.locator("h1")).to_contain_text("paused")
    expect(page.get_by_role("link", name="Resume")).to_be_visible()
    for line in lines:
        expect(line).to_contain_text("Paused: safe mode contain touches its requests, so its evidence would mislead.")
    demo.up.json("safe-mode", "off", "--reason", "to see it resume")
    expect(page.locator("h1")).to_contain_text("running")
    expect(page.get_by_role("link", name="Pause")).to_be_visible()
    for line in lines:
        expect(line).to_contain_text("Resumed")
    page.goto("/e/production/demo")
    page.get_by_role("button", name="Degrade the new model").click()
    expect(page.get_by_role("status").first).to_contain_text("Broken now")
    page.goto(f"/e/production/rollouts/{rollout}")
    expect(page.locator("#rollout-live")).to_contain_text(re.compile("rolled back", re.IGNORECASE), timeout=240_000)
    expect(page.locator("#waits")).to_have_text("Why it was rolled back")
    page.goto("/e/production/history")
    expect(page.locator(".commit .who").filter(has_text=re.compile("rollout:")).first).to_be_visible()
    page.context.close()


def _line_of(page: Page, path: str, rollout: str) -> Locator:
    page.goto(path)
    line = page.locator("#open-rollouts li").filter(has_text=rollout)
    expect(line).to_contain_text("running")
    return line


def _put(demo: Demo, path: str, spec: dict[str, Any]) -> None:
    import json
    import urllib.request

    request = urllib.request.Request(
        f"{demo.url}/api/v1/environments/production/{path}", method="PUT", data=json.dumps(spec).encode(),
        headers={"Authorization": f"Bearer {demo.up.target['token']}", "Content-Type": "application/json"},
    )  # fmt: skip
    urllib.request.urlopen(request, timeout=30).close()
