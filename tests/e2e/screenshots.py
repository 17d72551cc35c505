"""`make screenshots`: every page of the console over a living demo, wide and narrow, light and dark, for somebody to look at.

`make screenshots ARGS="overview flag"` takes those alone.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from tests.e2e.brownout_up import ROOT, BrownoutUp
from tests.e2e.browser import NARROW, WIDE, chromium, first_run, setup_url, sign_in, why_no_browser

FOLDER = ROOT / "screenshots"
SETTLE_S = 75
"""So long the demo runs before it is looked at: signals come by the minute."""

PAGES = {
    "overview": "",
    "safe-mode": "/safe-mode",
    "activate": "/safe-mode/activate",
    "flags": "/flags",
    "flag": "/flags/{flag}",
    "flag-history": "/flags/{flag}/history",
    "flag-new": "/flags/new",
    "cohorts": "/cohorts",
    "cohort": "/cohorts/{cohort}",
    "request-classes": "/request-classes?profile=contain",
    "request-class": "/request-classes/{request_class}",
    "profile": "/safe-mode-profiles/contain",
    "templates": "/response-templates",
    "rollouts": "/rollouts",
    "rollout": "/rollouts/{rollout}",
    "rollout-move": "/rollouts/{rollout}/move/pause",
    "rollout-new": "/rollouts/new",
    "signals": "/signals?hours=1",
    "fleet": "/fleet",
    "history": "/history",
    "commit": "/history/2",
    "undo": "/undo/2",
    "compare": "/compare?start=1&end=3",
    "playground": "/playground?subject=request_class/{request_class}&context=%7B%22plan%22%3A%22pro%22%7D",
    "playground-flag": "/playground?subject=flag/{flag}&context=%7B%22plan%22%3A%22beta%22%7D",
    "people": "/access/people",
    "keys": "/access/keys",
    "tokens": "/access/tokens",
    "sessions": "/access/sessions",
    "approvals": "/access/approvals",
    "audit": "/access/audit",
    "demo": "/demo",
}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def names(up: BrownoutUp) -> dict[str, str]:
    """One resource of each kind to look at."""
    flags = [item["key"] for item in up.json("flag", "list")["items"]]
    first = {
        kind: up.json(verb, "list")["items"][0]["key"]
        for kind, verb in (("cohort", "cohort"), ("request_class", "request-class"))
    }
    rollouts = up.json("rollout", "list")["items"]
    model = next((flag for flag in flags if "model" in flag), flags[0])
    return {"flag": model, **first, "rollout": rollouts[0]["key"] if rollouts else "none"}


def take(browser: Browser, url: str, known: dict[str, str], wanted: list[str]) -> None:
    for size, shape in (("wide", WIDE), ("narrow", NARROW)):
        for theme in THEMES:
            context = browser.new_context(viewport=shape, color_scheme=theme, base_url=url)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(f"{url}/sign-in")
            _shoot(page, f"sign-in-{size}-{theme}")
            sign_in(page, url)
            for name, path in PAGES.items():
                if wanted and name not in wanted:
                    continue
                page.goto(f"/e/production{path.format(**known)}")
                page.wait_for_timeout(250)
                _shoot(page, f"{name}-{size}-{theme}")
            context.close()


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
    sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if sideways > 0:
        sys.stdout.write(f"{name}: scrolls sideways by {sideways} px\n")


def main(wanted: list[str]) -> None:
    if why := why_no_browser():
        raise SystemExit(why)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with BrownoutUp(Path(folder) / "data", "--demo") as up, chromium() as browser:
            started = time.monotonic()
            url = up.target["url"]
            page = browser.new_page()
            first_run(page, setup_url(up.log.read_text()))
            page.close()
            time.sleep(max(0.0, SETTLE_S - (time.monotonic() - started)))
            take(browser, url, names(up), wanted)
            up.json(
                "safe-mode", "on", "contain", "--for", "1h", "--reason", "Duplicate refunds issued through issue_refund"
            )
            time.sleep(2)
            _active(browser, url)
    sys.stdout.write(f"look at {FOLDER}\n")


def _active(browser: Browser, url: str) -> None:
    """The pages that say something else while safe mode is on."""
    for size, shape in (("wide", WIDE), ("narrow", NARROW)):
        for theme in THEMES:
            context = browser.new_context(viewport=shape, color_scheme=theme, base_url=url)  # type: ignore[arg-type]
            page = context.new_page()
            sign_in(page, url)
            for name, path in (("overview", ""), ("safe-mode", "/safe-mode"), ("rollouts", "/rollouts")):
                page.goto(f"/e/production{path}")
                page.wait_for_timeout(400)
                _shoot(page, f"active-{name}-{size}-{theme}")
            context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
