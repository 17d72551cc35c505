"""`make screenshots`: every page of the console over a living demo, wide and narrow, light and dark, for somebody to look at.

`make screenshots ARGS="overview flag"` takes those alone.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page

from tests.e2e.brownout_up import ROOT, BrownoutUp
from tests.e2e.browser import EMAIL, NARROW, WIDE, chromium, first_run, setup_url, sign_in, why_no_browser
from tests.e2e.pages import PAGES, names
from tests.e2e.scenes import ACTIVE, CALM, HOSTILE_CONTENT, REFUSED, VIEWER, make_hostile, prepare

FOLDER = ROOT / "screenshots"
SETTLE_S = 75
"""So long the demo runs before it is looked at: signals come by the minute."""

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
Scene = Callable[[Page], Any]

NEEDED_HEIGHT = """() => Math.max(
  document.documentElement.scrollHeight,
  ...[...document.querySelectorAll("dialog[open]")].map((dialog) =>
    [...dialog.children].reduce((height, part) => height + part.scrollHeight, 64)),
)"""
"""Of the document, or of what an open dialog holds: a screen so tall scrolls nothing."""


class Album:
    """Takes pictures of what is wanted (nothing named: of everything)."""

    def __init__(self, browser: Browser, url: str, wanted: list[str]) -> None:
        self._browser = browser
        self._url = url
        self._wanted = wanted

    def take(self, scenes: Mapping[str, Scene], email: str | None = None) -> None:
        """Each scene in both sizes and themes; `email` signs in first."""
        scenes = {name: scene for name, scene in scenes.items() if not self._wanted or name in self._wanted}
        if not scenes:
            return
        for size, shape in (("wide", WIDE), ("narrow", NARROW)):
            for theme in THEMES:
                with self._page(shape, theme) as page:
                    if email:
                        sign_in(page, self._url, email)
                    for name, scene in scenes.items():
                        scene(page)
                        page.wait_for_timeout(300)
                        shoot(page, f"{name}-{size}-{theme}")

    @contextmanager
    def _page(self, shape: dict[str, int], theme: Literal["light", "dark"]) -> Iterator[Page]:
        context = self._browser.new_context(viewport=shape, color_scheme=theme, base_url=self._url)  # type: ignore[arg-type]
        try:
            yield context.new_page()
        finally:
            context.close()


def shoot(page: Page, name: str) -> None:
    """What a screen shows that is as tall as the page: sticky bars where they end up, dialogs whole."""
    shape = page.viewport_size
    assert shape is not None
    page.set_viewport_size({"width": shape["width"], "height": max(shape["height"], page.evaluate(NEEDED_HEIGHT))})
    page.wait_for_timeout(100)
    page.screenshot(path=FOLDER / f"{name}.png")
    page.set_viewport_size(shape)
    sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if sideways > 0:
        sys.stdout.write(f"{name}: scrolls sideways by {sideways} px\n")


def at(path: str) -> Scene:
    return lambda page: page.goto(path)


def main(wanted: list[str]) -> None:
    if why := why_no_browser():
        raise SystemExit(why)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with BrownoutUp(Path(folder) / "data", "--demo") as up, chromium() as browser:
            started = time.monotonic()
            album = Album(browser, up.target["url"], wanted)
            welcome = setup_url(up.log.read_text())
            album.take({"sign-in": at("/sign-in"), "setup": at(welcome)})
            for step in (lambda page: first_run(page, welcome), lambda page: prepare(up, page)):
                page = browser.new_page()
                step(page)
                page.close()
            time.sleep(max(0.0, SETTLE_S - (time.monotonic() - started)))
            look(up, album)
    sys.stdout.write(f"look at {FOLDER}\n")


def look(up: BrownoutUp, album: Album) -> None:
    """Everything there is to see of a demo that was set up and prepared."""
    known = names(up)
    pages = {name: at(f"/e/production{path.format(**known)}") for name, path in PAGES.items()}
    album.take({**pages, **CALM}, EMAIL)
    album.take(REFUSED, VIEWER)
    up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "Duplicate refunds issued through issue_refund")
    time.sleep(2)
    head = up.json("env", "show", "production")["revision"]
    album.take({**ACTIVE, "commit-delivered": at(f"/e/production/history/{head}")}, EMAIL)
    make_hostile(up)
    album.take(HOSTILE_CONTENT, EMAIL)


if __name__ == "__main__":
    main(sys.argv[1:])
