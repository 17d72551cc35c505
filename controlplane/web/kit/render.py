"""Views → HTML. A page is one frozen struct whose fields are exactly what its template uses (tested)."""

from pathlib import Path
from typing import Any, ClassVar

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Response

from controlplane.http.root import at
from controlplane.web.kit.assets import Assets
from controlplane.web.kit.words import FILTERS

_PACKAGE = Path(__file__).resolve().parents[2]
UI = _PACKAGE / "_ui" if (_PACKAGE / "_ui").is_dir() else _PACKAGE.parent / "ui"
"""Inside the wheel `controlplane/_ui`, in a checkout `ui/`."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What one template shows, a page's or a partial's."""

    template: ClassVar[str]


class Templates:
    """The templates, their filters, and the addresses of what the browser loads."""

    def __init__(self, assets: Assets, folder: Path = UI / "templates") -> None:
        self.environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
        )
        self.environment.filters.update(FILTERS)
        self.environment.globals.update(asset=assets.url, at=at)

    def render(self, view: View) -> str:
        values = {name: getattr(view, name) for name in view.__struct_fields__}
        return self.environment.get_template(view.template).render(values)

    def response(self, view: View, status_code: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
        """The page as an answer that no cache keeps."""
        return Response(
            self.render(view),
            status_code=status_code,
            media_type=MediaType.HTML,
            headers={"Cache-Control": "no-store", **(headers or {})},
        )
