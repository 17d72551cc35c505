"""Builds the documentation as a site of static files: `python -m docs.site` writes docs/dist.

The control plane serves it under /docs, from the wheel too. It needs no network and no script.
"""

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from os.path import relpath
from pathlib import Path, PurePosixPath
from posixpath import normpath

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "docs" / "dist"
CSS = ROOT / "ui" / "static" / "css"
STYLES = ("tokens", "base", "docs")

COPIED = {"LICENSE": "license.txt", "ui/static/icon.svg": "icon.svg"}
"""Files beside the pages, by their path in the repository. All of docs/img/ is copied, too."""

SECTIONS: Mapping[str, Sequence[str]] = {
    "Start": ("README.md", "docs/tutorial.md", "docs/concepts.md", "docs/glossary.md"),
    "Use": (
        "docs/safe-mode.md", "docs/emergency.md", "docs/console.md", "docs/evaluation.md", "docs/rollouts.md", "docs/signals.md",
        "docs/budgets.md", "docs/fleet.md", "docs/notifications.md", "docs/history.md", "docs/failure-modes.md", "docs/coverage.md", "docs/tiers.md",
    ),
    "SDK": (
        "sdk/README.md", "docs/sdk/runner.md", "docs/sdk/prompts.md", "docs/sdk/judges.md", "docs/sdk/providers.md",
        "docs/sdk/runner-outbox.md", "docs/sdk/http.md", "docs/sdk/sidecar.md",
        "docs/openfeature.md", "docs/sdk/django.md", "docs/sdk/fastapi.md", "docs/sdk/celery.md",
        "docs/sdk/gunicorn-uwsgi.md", "docs/sdk/reference.md",
    ),
    "Run": ("docs/operations.md", "docs/upgrading.md", "docs/access.md", "docs/security.md"),
    "Reference": ("docs/cli.md", "docs/api.md", "docs/settings.md", "docs/resources.md", "docs/wire.md"),
    "Project": (
        "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/benchmarks.md", "docs/adr/README.md",
    ),
}  # fmt: skip
"""The navigation: every page but the decisions, which docs/adr/README.md lists."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Brownout</title>
<link rel="icon" href="{root}icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}docs.css">
</head>
<body class="docs">
<a class="skip" href="#main">Skip to content</a>
<details class="docs-nav" open>
<summary>Documentation</summary>
<nav aria-label="Documentation">
{nav}</nav>
</details>
<main class="docs-main" id="main" tabindex="-1">
{body}</main>
</body>
</html>
"""


def build(out: Path = DIST) -> Path:
    """Builds into `out`, replacing what was there, and returns it."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "img", fresh / "img")
    for source, name in COPIED.items():
        shutil.copy(ROOT / source, fresh / name)
    (fresh / "docs.css").write_text("\n".join((CSS / f"{name}.css").read_text("utf-8") for name in STYLES), "utf-8")
    site = Site(sources())
    for source in site.pages:
        file = fresh / site.pages[source]
        file.parent.mkdir(exist_ok=True)
        file.write_text(site.page(source), "utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return out


def sources() -> tuple[str, ...]:
    """Every page, by its path in the repository."""
    decisions = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs" / "adr").glob("0*.md"))
    return (*(page for pages in SECTIONS.values() for page in pages), *decisions)


class Site:
    """Pages that know one another's addresses."""

    def __init__(self, found: Sequence[str]) -> None:
        self.pages = {source: _address(source) for source in found}
        self._titles = {source: _title(_text(source)) for source in found}
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        rules = self._markdown.renderer.rules  # type: ignore[attr-defined]
        rules["table_open"] = lambda *_: '<div class="scroll" tabindex="0" role="group">\n<table>\n'
        rules["table_close"] = lambda *_: "</table>\n</div>\n"

    def page(self, source: str) -> str:
        """The HTML of a page."""
        tokens = self._markdown.parse(_text(source))
        _name_headings(tokens)
        for token in _each(tokens):
            token.attrs.pop("style", None)  # of an aligned column; the content security policy allows none
            for name in ("href", "src"):
                if name in token.attrs:
                    token.attrs[name] = self._link(source, str(token.attrs[name]))
        body = self._markdown.renderer.render(tokens, self._markdown.options, {})
        body = body.replace("<pre>", '<pre tabindex="0">')
        root = relpath(".", PurePosixPath(self.pages[source]).parent) + "/"
        title = escape(self._titles[source])
        return _PAGE.format(title=title, root=root, nav=self._nav(source), body=body)

    def _nav(self, source: str) -> str:
        text = ""
        for section, pages in SECTIONS.items():
            items = "".join(
                f'<li><a href="{self._link(source, "/" + page)}"{_current(page == source)}>'
                f"{escape(self._titles[page].split(':')[0])}</a></li>\n"
                for page in pages
            )
            text += f"<h2>{section}</h2>\n<ul>\n{items}</ul>\n"
        return text

    def _link(self, source: str, target: str) -> str:
        """Returns a link of the repository as one of the site.

        Raises:
            LookupError: the site has no such page or file.
        """
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return target
        found = path.removeprefix("/") if path.startswith("/") else normpath(f"{PurePosixPath(source).parent}/{path}")
        if found.startswith("docs/img/"):
            to = found.removeprefix("docs/")
        elif found in COPIED:
            to = COPIED[found]
        elif found in self.pages:
            to = self.pages[found]
        else:
            raise LookupError(f"{source} links to {target}, which the site does not have")
        return relpath(to, PurePosixPath(self.pages[source]).parent) + hash_ + anchor


def _address(source: str) -> str:
    name = source.removeprefix("docs/").removesuffix(".md")
    return ("index" if name == "README" else name.replace("README", "index").lower()) + ".html"


def _text(source: str) -> str:
    """The page without its comments."""
    return re.sub(r"^<!--.*?-->\n", "", (ROOT / source).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def _title(text: str) -> str:
    return text.splitlines()[0].removeprefix("# ").replace("`", "")


def _current(is_current: bool) -> str:
    return ' aria-current="page"' if is_current else ""


def _each(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()


def _name_headings(tokens: Sequence[Token]) -> None:
    """Gives each heading the anchor that GitHub gives it, so that links work on both."""
    seen: dict[str, int] = {}
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            plain = "".join(child.content for child in text.children or ())
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            times = seen[slug] = seen.get(slug, -1) + 1
            heading.attrs["id"] = f"{slug}-{times}" if times else slug


if __name__ == "__main__":
    sys.stdout.write(f"built {build()}\n")
