"""One browser for the journeys of a worker."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import chromium, why_no_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips, saying why, where there is none and we may not install it."""
    if why := why_no_browser():
        pytest.skip(why)
    with chromium() as opened:
        yield opened
