"""The documentation under /docs: for anyone, from memory, with the console's headers."""

from pathlib import Path

import pytest

from controlplane.web.docs import pages
from docs import site
from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio


async def test_it_is_served_to_anyone_and_a_copy_is_revalidated(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "DOCS", site.build(tmp_path_factory.mktemp("docs") / "site"))
    async with open_world(database_url) as world, world.client() as anybody:
        home = await anybody.get("/docs", follow_redirects=True)
        assert (home.status_code, home.url.path) == (200, "/docs/index.html")
        page = await anybody.get("/docs/sdk/reference.html")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "style-src 'self'" in page.headers["content-security-policy"]
        assert '<a href="../safe-mode.html">' in page.text
        again = await anybody.get("/docs/sdk/reference.html", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for image, type_ in (("img/rollout.png", "image/png"), ("img/concepts.svg", "image/svg+xml")):
            assert (await anybody.get(f"/docs/{image}")).headers["content-type"] == type_
        for nowhere in ("/docs/nothing.html", "/docs/../pyproject.toml", "/docs/%2e%2e/pyproject.toml", "/docs/sdk"):
            assert (await anybody.get(nowhere)).status_code == 404


async def test_what_is_not_built_holds_nothing(tmp_path: Path) -> None:
    assert pages.load(tmp_path / "none") == {}
