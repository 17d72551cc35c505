"""Sessions by the name of their browser."""

import pytest

from controlplane.web.kit.agents import MAX_CHARS, browser

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/142.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessC", "Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", "Edge on Windows"),
        (f"{MAC} {WEBKIT} Chrome/142.0.0.0 Safari/537.36 OPR/126.0.0.0", "Opera on macOS"),
        (f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Windows"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/142.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 CriOS/142.0 Mobile Safari/604.1", "Chrome on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) AppleWebKit/605.1.15 Version/26.0 Mobile Safari/604.1", "Safari on iPad"),
        ("Mozilla/5.0 (PlayStation 5) Firefox/1.0", "Firefox"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("python-httpx/0.28.1 (whoever)", "python-httpx/0.28.1"),
        ("", "unknown browser"),
        (" \t\n", "unknown browser"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("x" * 100_000, "x" * MAX_CHARS),
    ],
)  # fmt: skip
def test_a_browser_by_its_name(agent: str, said: str) -> None:
    assert browser(agent) == said
