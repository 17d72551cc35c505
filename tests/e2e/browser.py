"""Debian's Chromium, driven by Playwright; and the steps that people take in the console."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
EMAIL, PASSWORD = "mara@example.com", "a lantern by the harbour"
NO_SHARED_WORKER = "delete globalThis.SharedWorker"
"""For browsers without; and what a page's own network and clock are to reach, which a worker's are not, for Playwright."""
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


def why_no_browser() -> str:
    """Why there is no Chromium, empty when there is one: installed now, when we may."""
    if Path(CHROMIUM).exists():
        return ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"{CHROMIUM} is not installed, and only root of a Debian machine can install it"
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu"]):
        subprocess.run(["apt-get", *command], capture_output=True, check=False, timeout=540)
    return "" if Path(CHROMIUM).exists() else "apt-get could not install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page whose console stays silent and whose requests all succeed; `check` says so."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # what a page no longer waits for when it is left
            self.problems.append(f"failed: {request.url} {request.failure}")

    def check(self) -> None:
        assert not self.problems, self.problems


def axe(shown: Locator) -> list[str]:
    """What axe finds on the page of `shown`, once that is visible: a click returns before the page that it leads to is there."""
    expect(shown).to_be_visible()
    page = shown.page
    page.wait_for_load_state("load")
    found = Axe().run(page, options=AXE)
    return [f"{page.url}: {each['id']} {each['nodes'][0]['html']}" for each in found.response["violations"]]


def first_run(page: Page, setup_url: str) -> None:
    """Follows the setup link, and is the first administrator then."""
    page.goto(setup_url)
    page.get_by_label("Email").fill(EMAIL)
    page.get_by_label("Your name").fill("Mara Lindqvist")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the first account").click()
    page.wait_for_url(re.compile(r"/e/production"))


def sign_in(page: Page, url: str, email: str = EMAIL, password: str = PASSWORD) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(r"/e/"))


def setup_url(log: str) -> str:
    found = re.search(r"https?://\S+/welcome#\S+", log)
    if found is None:
        pytest.fail(f"no setup link in: {log}")
    return found.group(0)
