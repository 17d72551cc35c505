"""The documentation as a site: complete, its links lead somewhere, and the browser needs nothing that the policy forbids."""

import re
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath

import pytest

from docs import site

ROOT = site.ROOT
EXTERNAL = ("https://", "http://", "mailto:")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.anchors += [given["id"]] if "id" in given else []
        loaded = given.get("src", "") or (given.get("href", "") if tag == "link" else "")
        inline = any(name == "style" or name.startswith("on") for name in given)
        if tag in {"script", "style", "iframe"} or inline or loaded.startswith(EXTERNAL):
            self.forbidden.append(self.get_starttag_text() or tag)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.build(tmp_path_factory.mktemp("docs") / "site")


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, Page]:
    return {file.relative_to(built).as_posix(): Page(file.read_text("utf-8")) for file in built.rglob("*.html")}


def test_every_page_of_the_repository_is_in_the_navigation_or_is_a_decision() -> None:
    there = {file.relative_to(ROOT).as_posix() for folder in ("docs", "docs/sdk", "docs/adr") for file in (ROOT / folder).glob("*.md")}  # fmt: skip
    assert sorted(there - set(site.sources())) == []


def test_every_page_is_reached_from_the_readme_by_links_alone() -> None:
    reached, waiting = {"README.md"}, ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in re.findall(r"\]\(([^)#\s]+\.md)", (ROOT / page).read_text("utf-8")):
            target = normpath(f"{PurePosixPath(page).parent}/{link}")
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    assert sorted(set(site.sources()) - reached) == []


def test_every_link_leads_to_a_file_and_an_anchor_that_are_there(built: Path, pages: dict[str, Page]) -> None:
    broken = []
    for name, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            target = normpath(f"{PurePosixPath(name).parent}/{path}") if path else name
            found = link.startswith(EXTERNAL) or (built / target).is_file()
            if not found or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_a_link_to_what_the_site_does_not_have_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "_text", lambda source: f"# {source}\n\n[code](../sdk/src/brownout/client.py)\n")
    with pytest.raises(LookupError, match=r"docs/cli\.md links to \.\./sdk/src/brownout/client\.py"):
        site.Site(site.sources()).page("docs/cli.md")


def test_nothing_needs_more_than_the_content_security_policy_allows(pages: dict[str, Page]) -> None:
    assert {name: page.forbidden for name, page in pages.items() if page.forbidden} == {}


def test_pictures_need_no_style_of_their_own(built: Path) -> None:
    """The policy forbids it where a picture is opened by itself."""
    pictures = list(built.rglob("*.svg"))
    assert len(pictures) > 1
    assert [each.name for each in pictures if re.search(r"<style|style=|<script|href=", each.read_text("utf-8"))] == []


def test_no_anchor_is_there_twice(pages: dict[str, Page]) -> None:
    assert {name for name, page in pages.items() if len(page.anchors) != len(set(page.anchors))} == set()


def test_building_again_replaces_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "site"
    site.build(out)
    (out / "old.html").write_text("")
    assert not (site.build(out) / "old.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
