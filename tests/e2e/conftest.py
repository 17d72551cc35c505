"""One browser a module: while Playwright runs in a thread, no test of its own can start an event loop there."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import chromium, why_no_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips, saying why, where there is none and we may not install it."""
    if why := why_no_browser():
        pytest.skip(why)
    expect.set_options(timeout=20_000)  # what a page shows is asserted, not how soon a busy machine shows it
    with chromium() as opened:
        yield opened


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A plain traceback for a browser's test: it runs in a greenlet, where CPython 3.11 cannot parse source to show it."""
    style = item.config.option.tbstyle
    if item.get_closest_marker("browser"):
        item.config.option.tbstyle = "native"
    try:
        return (yield)
    finally:
        item.config.option.tbstyle = style


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Reachable by any user, as a home directory is by its owner's processes."""
    made = Path("/tmp") / f"brownout-e2e-{os.getpid()}-{tmp_path_factory.getbasetemp().name}"
    made.mkdir(mode=0o777)
    made.chmod(0o777)
    yield made
    shutil.rmtree(made, ignore_errors=True)
