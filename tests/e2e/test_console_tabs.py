"""Many tabs of one browser: over HTTP/1.1 it has six connections, and needs some of them to go on working."""

import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import NO_SHARED_WORKER, sign_in
from tests.e2e.console import Console, open_console, until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def console(browser: Browser) -> Iterator[Console]:
    with open_console(browser) as opened:
        yield opened


@pytest.fixture(params=["", NO_SHARED_WORKER], ids=["shared worker", "leader"])
def tabs_of(console: Console, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A browser of its own session, so that signing out ends nothing of the others."""
    with closing(console.context(storage_state=None)) as context:
        if request.param:
            context.add_init_script(request.param)
        page = context.new_page()
        sign_in(page, console.url)
        page.close()
        until(lambda: streams(console) == 0)
        yield context
    until(lambda: streams(console) == 0)


def streams(console: Console) -> int:
    """How many event streams the server holds, for all who watch."""
    with urllib.request.urlopen(f"{console.url}/metrics", timeout=10) as answer:
        found = re.search(r"^brownout_event_streams (\d+)", answer.read().decode(), re.MULTILINE)
    assert found
    return int(found[1])


def open_tabs(context: BrowserContext, count: int, path: str = "/e/production") -> list[Page]:
    pages = [context.new_page() for _ in range(count)]
    for page in pages:
        page.goto(path)
    for page in pages:
        expect_live(page)
    return pages


def expect_live(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-stream", "live")
    expect(page.locator("#not-live")).to_be_hidden()


def expect_safe_mode(pages: list[Page], *, on: bool) -> None:
    for page in pages:
        expect(page.locator("#safe-banner")).to_contain_text("Safe mode is on" if on else "")
        if not on:
            expect(page.locator("#safe-banner")).not_to_contain_text("Safe mode is on")


def activate(console: Console, reason: str) -> None:
    body = {"profile": "contain", "reason": reason, "for_s": 600}
    console.api("POST", "environments/production/safe-mode/activations", body)


@pytest.mark.parametrize("count", [6, 8])
def test_many_tabs_are_live_by_one_stream_and_pages_still_load(
    console: Console, tabs_of: BrowserContext, count: int
) -> None:
    pages = open_tabs(tabs_of, count)
    assert streams(console) == 1
    pages[-1].get_by_role("link", name="Flags", exact=False).first.click()
    expect(pages[-1]).to_have_url(re.compile("/e/production/flags"))
    pages[-1].goto("/e/production")
    expect_live(pages[-1])
    activate(console, f"seen by {count}")
    expect_safe_mode(pages, on=True)
    for page in pages:
        expect(page.locator("#last-commits")).to_contain_text(f"seen by {count}")
    console.lift_all()
    expect_safe_mode(pages, on=False)
    assert streams(console) == 1


def test_the_head_of_every_page_is_live(console: Console, tabs_of: BrowserContext) -> None:
    """Also where the page itself is not: charts, editors, forms."""
    pages = [tabs_of.new_page() for _ in range(4)]
    for page, path in zip(pages, ("signals", "flags/new", "history", "playground"), strict=True):
        page.goto(f"/e/production/{path}")
        expect_live(page)
        expect(page.locator("#count-safe-mode")).to_have_text("off")
    activate(console, "seen everywhere")
    expect_safe_mode(pages, on=True)
    for page in pages:
        expect(page.locator("#count-safe-mode")).to_have_text("1 active")
        expect(page.locator("a[aria-current=page]")).to_have_count(1)
    console.lift_all()
    expect_safe_mode(pages, on=False)
    assert streams(console) == 1


def test_the_tabs_go_on_when_the_first_is_closed(console: Console, tabs_of: BrowserContext) -> None:
    pages = open_tabs(tabs_of, 3)
    for _ in range(2):
        pages.pop(0).close()
        activate(console, "after the first was closed")
        expect_safe_mode(pages, on=True)
        console.lift_all()
        expect_safe_mode(pages, on=False)
        for page in pages:
            expect_live(page)
        assert streams(console) == 1


def test_each_environment_has_a_stream_while_a_tab_shows_it(console: Console, tabs_of: BrowserContext) -> None:
    production = open_tabs(tabs_of, 2)
    staging = open_tabs(tabs_of, 2, "/e/staging")
    assert streams(console) == 2
    activate(console, "in production alone")
    expect_safe_mode(production, on=True)
    expect_safe_mode(staging, on=False)
    console.lift_all()
    for page in staging:
        page.close()
    until(lambda: streams(console) == 1)
    for page in production:
        expect_live(page)


def test_a_tab_that_commits_leaves_no_other_behind(console: Console, tabs_of: BrowserContext) -> None:
    """The page after the commit asks for its revision: the stream that all share starts anew, and the others hear of it."""
    acting, watching = open_tabs(tabs_of, 2)
    acting.goto("/e/production/safe-mode/activate?profile=contain")
    acting.get_by_label("Reason").fill("By one of the tabs")
    acting.get_by_label("Type production to confirm").fill("production")
    acting.keyboard.press("Enter")
    acting.wait_for_url(re.compile("saved="))
    expect(watching.locator("#last-commits")).to_contain_text("By one of the tabs")
    expect_safe_mode([watching], on=True)
    console.lift_all()
    expect_safe_mode([acting, watching], on=False)
    assert streams(console) == 1


def test_signing_out_in_one_tab_ends_the_stream_of_all(console: Console, tabs_of: BrowserContext) -> None:
    pages = open_tabs(tabs_of, 6)
    pages[0].locator("button", has_text="Sign out").dispatch_event("click")
    expect(pages[0]).to_have_url(re.compile("/sign-in"))
    for page in pages[1:]:
        expect(page.locator("#not-live")).to_be_visible()
    until(lambda: streams(console) == 0)
