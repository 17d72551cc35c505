"""What the browser loads: files named by their content, served for ever and compressed (built by ui/build.py)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from controlplane.http.root import at

CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PREFIX = "/assets"


class Asset(NamedTuple):
    content: bytes
    compressed: bytes
    content_type: str


class AssetsNotBuiltError(RuntimeError):
    """ui/dist is missing: `make assets` builds it; a wheel carries it."""


class Assets:
    """The built files, held in memory: a few hundred kilobytes."""

    def __init__(self, names: Mapping[str, str], files: Mapping[str, Asset]) -> None:
        self._names = names
        self._files = files

    @classmethod
    def load(cls, folder: Path) -> "Assets":
        """Reads the folder that ui/build.py wrote. A missing one is only an error once a page asks for a file."""
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            return cls({}, {})
        names = msgspec.json.decode(manifest.read_bytes(), type=dict[str, str])
        files = {}
        for name in names.values():
            path = folder / name
            compressed = path.with_name(f"{name}.gz").read_bytes()
            files[name] = Asset(path.read_bytes(), compressed, CONTENT_TYPES[path.suffix.removeprefix(".")])
        return cls(names, files)

    def url(self, name: str) -> str:
        """The address of `console.css` and its like; it changes when the content does.

        Raises:
            AssetsNotBuiltError: nothing was built, or the name is not one of the outputs of ui/build.py.
        """
        try:
            return at(f"{PREFIX}/{self._names[name]}")
        except KeyError:
            raise AssetsNotBuiltError(f"the console's {name} is not built: run `make assets`") from None

    def find(self, file: str) -> Asset | None:
        return self._files.get(file)


@get(
    PREFIX + "/{file:str}",
    cache_control=CacheControlHeader(max_age=31_536_000, public=True, immutable=True),
    opt={"public": True, "anywhere": True},
    include_in_schema=False,
)
async def serve_asset(
    request: Request[Any, Any, Any], assets: NamedDependency[Assets], file: FromPath[str]
) -> Response[bytes]:
    asset = assets.find(file)
    if asset is None:
        raise NotFoundException(f"no such file: {file}")
    headers = {"Content-Type": asset.content_type, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return Response(asset.content, headers=headers)
