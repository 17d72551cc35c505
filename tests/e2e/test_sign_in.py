"""Signing in with more than a password, in a real Chromium with a virtual authenticator."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from controlplane.access import totp
from controlplane.access.memory import REMEMBERED_S
from controlplane.kit.clock import SystemClock
from tests.attack.signing_in import totp_key
from tests.e2e.brownout_up import BrownoutUp
from tests.e2e.browser import PASSWORD, WIDE, Watched, axe, first_run, setup_url

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]


class Passkeys:
    """Chromium's own authenticator, which the DevTools protocol gives to a page."""

    def __init__(self, page: Page) -> None:
        self._devtools: CDPSession = page.context.new_cdp_session(page)
        self._devtools.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                   "isUserVerified": True, "automaticPresenceSimulation": True}  # fmt: skip
        made = self._devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._id = made["authenticatorId"]

    def refuse(self) -> None:
        """The person's finger is not theirs."""
        self._devtools.send("WebAuthn.setUserVerified", {"authenticatorId": self._id, "isUserVerified": False})


@pytest.fixture(scope="module")
def up(browser: Browser) -> Iterator[BrownoutUp]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with BrownoutUp(Path(folder) / "data", "--host", "localhost") as opened:
            page = browser.new_page(base_url=opened.target["url"])
            first_run(page, setup_url(opened.log.read_text()))
            page.context.close()
            yield opened


def someone(up: BrownoutUp, browser: Browser, email: str, **options: Any) -> Watched:
    """The browser of somebody new who has just followed their invitation."""
    link = up.json("person", "invite", email, "--role", "admin@*")["link"]
    watched = Watched(browser.new_context(base_url=up.target["url"], viewport=WIDE, **options))
    watched.page.goto(link)
    watched.page.get_by_label("Password").fill(PASSWORD)
    watched.page.get_by_role("button", name="Set password and sign in").click()
    watched.page.wait_for_url(re.compile(r"/e/production"))
    return watched


def sign_in(page: Page, email: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.goto("/")
    page.get_by_label("your account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/sign-in"))


def code(key: str, shift: int = 0) -> str:
    step = int(SystemClock().now().timestamp()) // totp.STEP_S + shift
    return totp.code_at(totp_key(key), step)


def long_ago(up: BrownoutUp) -> None:
    """Everybody's last proof is an hour old; this process's event loop is Playwright's."""

    async def move() -> None:
        ports = json.loads((up.data_dir / "ports.json").read_text())
        password = (up.data_dir / "postgres" / "password").read_text().strip()
        dsn = f"postgresql://postgres:{password}@127.0.0.1:{ports['postgres']}/brownout"
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE session SET proven_at = proven_at - interval '1 hour'")
        await connection.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, move()).result()
    time.sleep(REMEMBERED_S)  # until a replica reads the row again


def test_a_passkey_is_enrolled_signs_in_alone_and_proves_what_is_sensitive(up: BrownoutUp, browser: Browser) -> None:
    watched = someone(up, browser, "ann@example.com")
    page = watched.page
    authenticator = Passkeys(page)
    page.goto("/account")
    page.get_by_label("Name").fill("Ann's laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_text("Your recovery codes")).to_be_visible()
    assert len(page.locator("#recovery-codes").inner_text().split()) == 10
    expect(page.locator("bdi", has_text="Ann's laptop")).to_be_visible()
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(re.compile(r"/e/production"))

    long_ago(up)
    page.goto("/e/production/access/keys")
    page.get_by_label("Name").fill("billing service")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("SDK key billing service")).to_be_visible()

    sign_out(page)
    sign_in(page, "ann@example.com")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    page.goto("/e/production")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    authenticator.refuse()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("No passkey was used")
    watched.problems[:] = [each for each in watched.problems if "403" not in each]  # the page that asks for the proof
    watched.check()


def test_a_code_of_an_authenticator_app_is_asked_for_after_the_password(up: BrownoutUp, browser: Browser) -> None:
    watched = someone(up, browser, "tom@example.com")
    page = watched.page
    page.goto("/account")
    page.get_by_role("button", name="Set up an app").click()
    assert page.get_by_alt_text("QR code of the key below").evaluate("image => image.naturalWidth") > 100
    key = page.locator(".secret code").inner_text()
    page.get_by_label("Code that the app shows").fill(code(key))
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Your recovery codes")).to_be_visible()
    recovery = page.locator("#recovery-codes").inner_text().split()
    assert len(recovery) == 10
    sign_out(page)
    sign_in(page, "tom@example.com")
    page.get_by_label("Code of your authenticator app").fill("000000")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("the code is wrong")
    page.get_by_label("Code of your authenticator app").fill(code(key, 1))
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(re.compile(r"/e/production"))

    long_ago(up)
    page.goto("/e/production/access/approvals")
    page.get_by_label("Approvals needed").fill("1")
    page.get_by_role("button", name="Set the rule").click()
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("Code of your authenticator app").fill(recovery[0])
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(re.compile(r"/access/approvals$"))
    expect(page.get_by_label("Approvals needed")).to_have_value("1")
    watched.problems[:] = [each for each in watched.problems if "403" not in each and "422" not in each]
    watched.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_pages_of_signing_in(up: BrownoutUp, browser: Browser, theme: str) -> None:
    watched = someone(up, browser, f"{theme}@example.com", color_scheme=theme)
    page = watched.page
    page.goto("/account")
    found = axe(page.get_by_role("button", name="Set up an app"))
    page.get_by_role("button", name="Set up an app").click()
    found += axe(page.locator(".secret code"))
    key = page.locator(".secret code").inner_text()
    page.get_by_label("Code that the app shows").fill(code(key))
    page.get_by_role("button", name="Confirm").click()
    found += axe(page.get_by_text("Your recovery codes"))
    long_ago(up)
    page.get_by_role("button", name="Make new codes").click()
    found += axe(page.get_by_role("heading", name="Confirm that it is you"))
    sign_out(page)
    found += axe(page.get_by_role("button", name="Sign in", exact=True))
    sign_in(page, f"{theme}@example.com")
    found += axe(page.get_by_role("heading", name="Second factor"))
    assert found == []
