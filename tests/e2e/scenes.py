"""What has no address of its own, or needs somebody to have done something first: brought about, for a picture."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.e2e.brownout_up import BrownoutUp
from tests.e2e.browser import PASSWORD

VIEWER = "vera@example.com"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'& \u202eevil\u202c \U0001f525 " + "x" * 400
HOSTILE_FLAG = {
    "type": "string", "variants": {HOSTILE[:150]: HOSTILE, "plain": "x"}, "off_variant": "plain", "default": "plain",
    "description": HOSTILE, "owner": HOSTILE, "tags": [HOSTILE[:150]],
    "rules": [{"id": "r", "if": [{"attribute": HOSTILE[:150], "op": "in", "values": [HOSTILE]}], "serve": "plain"}],
}  # fmt: skip
EDITED = "/e/production/flags/refund-model"


def prepare(up: BrownoutUp, page: Page) -> None:
    """Staging asks for two approvals, a proposal waits there, and a viewer of production exists."""
    up.json("approval", "rule", "2", "-e", "staging")
    spec = up.json("cohort", "get", "beta", "-e", "staging")["spec"]
    spec["include"] += ["u-77"]
    ops = up.data_dir.with_name("ops.json")
    ops.write_text(json.dumps([{"op": "put", "kind": "cohort", "key": "beta", "spec": spec}]))
    up.json("approval", "propose", str(ops), "-m", "u-77 wants to try it too", "-e", "staging")
    made = up.json("person", "invite", VIEWER, "--name", "Vera Holm", "--role", "viewer@production")
    page.goto(made["link"])
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    page.locator("#safe").wait_for()


def make_hostile(up: BrownoutUp) -> None:
    up.json("flag", "put", "hostile", "-", stdin=json.dumps(HOSTILE_FLAG).encode())


def _palette(page: Page) -> None:
    page.goto("/e/production")
    page.keyboard.press("Control+k")
    page.locator("dialog.palette[open] li").first.wait_for()


def _edit(page: Page) -> None:
    """Gives the beta a quarter, unsaved."""
    page.goto(EDITED)
    share = page.get_by_label("sonnet-5, per cent")
    share.fill("25")
    share.press("Tab")
    page.locator(".savebar").get_by_text("not saved").wait_for()


def _review(page: Page) -> None:
    page.get_by_role("button", name="Review change…").click()
    page.get_by_role("dialog").wait_for()


def _conflict(page: Page) -> None:
    _edit(page)
    other = page.context.new_page()
    other.goto(EDITED)
    owner = other.get_by_label("Owner")
    owner.fill("refunds" if owner.input_value() == "refunds-team" else "refunds-team")
    owner.press("Tab")
    other.locator(".savebar").get_by_text("not saved").wait_for()
    _review(other)
    other.get_by_label("Why").fill("The team has a new name")
    other.get_by_role("button", name="Save as r").click()
    other.wait_for_url(re.compile("saved="))
    other.close()
    _review(page)


def _activation(move: str) -> Callable[[Page], None]:
    def scene(page: Page) -> None:
        page.goto("/e/production/safe-mode")
        page.get_by_role("link", name=move).first.click()
        page.get_by_role("dialog").wait_for()

    return scene


def _at(path: str) -> Callable[[Page], Any]:
    return lambda page: page.goto(path)


CALM: dict[str, Callable[[Page], Any]] = {
    "palette": _palette,
    "review": lambda page: (_edit(page), _review(page)),
    "conflict": _conflict,
    "approvals-asked": _at("/e/staging/access/approvals"),
    "proposal": _at("/e/staging/access/approvals/1"),
    "gallery": _at("/gallery"),
    "not-found": _at("/e/production/flags/nothing-here"),
}
"""Of an administrator, while safe mode is off."""

ACTIVE: dict[str, Callable[[Page], Any]] = {
    "active-overview": _at("/e/production"),
    "active-safe-mode": _at("/e/production/safe-mode"),
    "active-rollouts": _at("/e/production/rollouts"),
    "extend": _activation("Extend…"),
    "lift": _activation("Lift safe mode…"),
}
"""While it is on."""

HOSTILE_CONTENT: dict[str, Callable[[Page], Any]] = {
    "hostile-flags": _at("/e/production/flags"),
    "hostile-flag": _at("/e/production/flags/hostile"),
}
"""Once somebody wrote what nobody should."""

REFUSED: dict[str, Callable[[Page], Any]] = {"forbidden": _at("/e/production/safe-mode/activate")}
"""Of a viewer."""
