"""Under a path of a shared host: what arrives loses the path, what is sent has it."""

from typing import Any

import pytest

from controlplane.http.cookies import Cookies
from controlplane.http.root import UnderRoot, at, root_of
from controlplane.settings import SettingsError, load_settings
from tests.unit.test_settings import REQUIRED

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arrives", "seen"),
    [
        ("/brownout/e/production", "/e/production"),
        ("/e/production", "/e/production"),
        ("/brownout", "/"),
        ("/brownout/", "/"),
        ("/brownouts/x", "/brownouts/x"),
        ("/brownout/brownout/x", "/brownout/x"),
    ],
)
async def test_a_proxy_may_pass_the_path_on_or_strip_it(arrives: str, seen: str) -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["path"], scope["raw_path"], at("/sign-in")))

    scope: Any = {"type": "http", "path": arrives, "raw_path": arrives.encode()}
    await UnderRoot(app, "/brownout")(scope, None, None)  # type: ignore[arg-type]
    assert found == [(seen, seen.encode(), "/brownout/sign-in")]
    assert at("/sign-in") == "/sign-in"


@pytest.mark.parametrize(
    ("url", "root", "name", "path"),
    [
        ("https://ops.example", "", "__Host-brownout-session", "/"),
        ("https://ops.example/brownout/", "/brownout", "__Secure-brownout-session", "/brownout/"),
        ("http://localhost:8321/a/b", "/a/b", "brownout-session", "/a/b/"),
    ],
)
def test_cookies_stay_under_the_path(url: str, root: str, name: str, path: str) -> None:
    cookie, operator_pass = Cookies(url).signed_out()
    assert (root_of(url), cookie.key, cookie.path) == (root, name, path)
    assert (operator_pass.key, operator_pass.path) == (name.replace("-session", "-pass"), path)


@pytest.mark.parametrize(
    "url", ["ops.example", "ftp://x", "https://", "https://x/?a", "https://x/#a", "https://x/api", "https://x/a b",
            "https://x/../y", "https://x/e/production"],
)  # fmt: skip
def test_what_is_no_public_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="BROWNOUT_PUBLIC_URL"):
        load_settings({**REQUIRED, "BROWNOUT_PUBLIC_URL": url})


def test_a_public_address_is_stripped_and_needs_no_slash() -> None:
    settings = load_settings(
        {**REQUIRED, "BROWNOUT_PUBLIC_URL": " https://ops.example/brownout/ ", "BROWNOUT_PORT": ""}
    )
    assert (settings.url, settings.port) == ("https://ops.example/brownout", 8321)
