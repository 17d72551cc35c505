"""The documentation as `docs/site.py` built it: static files, public, and from this process alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.http.root import at

_PACKAGE = Path(__file__).resolve().parents[2]
DOCS = _PACKAGE / "_docs" if (_PACKAGE / "_docs").is_dir() else _PACKAGE.parent / "docs" / "dist"
"""Inside the wheel `controlplane/_docs`, in a checkout what `make docs` built."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
OPEN = {"public": True, "anywhere": True}


class File(NamedTuple):
    content: bytes
    content_type: str
    tag: str


Files = Mapping[str, File]


def load(folder: Path) -> Files:
    """The site's files by their path, held in memory; none when it is not built."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in CONTENT_TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.relative_to(folder).as_posix()] = File(content, CONTENT_TYPES[path.suffix], tag)
    return found


@get("/docs", opt=OPEN, include_in_schema=False)
async def docs_home() -> Redirect:
    return Redirect(at("/docs/index.html"))


@get("/docs/{page:path}", opt=OPEN, include_in_schema=False)
async def docs_page(
    request: Request[Any, Any, Any], files: NamedDependency[Files], page: FromPath[Path]
) -> Response[bytes]:
    file = files.get(page.as_posix().removeprefix("/"))
    if file is None:
        raise NotFoundException("no such page" if files else "the documentation is not built: run `make docs`")
    headers = {"Content-Type": file.content_type, "ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status_code=304, headers=headers)
    return Response(file.content, headers=headers)


def docs() -> Router:
    files = load(DOCS)
    return Router(
        "/",
        route_handlers=[docs_home, docs_page],
        dependencies={"files": Provide(lambda: files, sync_to_thread=False)},
    )
