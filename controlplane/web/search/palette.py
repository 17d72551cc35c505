"""The command palette: every page, flag, cohort and action by a few letters. Searched in the database."""

from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from controlplane.access.actor import Action
from controlplane.contract.kinds import KINDS
from controlplane.web.kit.framing import SECTIONS, url
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words

EACH = 6


class Item(msgspec.Struct, frozen=True):
    label: str
    kind: str
    href: str
    action: bool = False
    code: bool = False


class PaletteItems(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "search/palette_items.html"

    items: tuple[Item, ...]


class PaletteController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @get("/palette", opt={"action": Action.READ})
    async def find(
        self, visit: NamedDependency[Visit], environment: FromPath[str], q: FromQuery[str] = ""
    ) -> Response[Any]:
        wanted = q.strip().lower()[:100]
        fixed = [item for item in _fixed(visit, environment) if wanted in f"{item.label} {item.kind}".lower()]
        found: list[Item] = []
        if wanted:
            for kind, row in ((kind, row) for kind, row in KINDS.items() if row.found):
                page = await visit.services.reads.resources(visit.actor, environment, kind, search=wanted, limit=EACH)
                found += [
                    Item(item.key, words(kind), url(environment, row.path, item.key), code=True) for item in page.items
                ]
        if wanted.removeprefix("r").isdigit():
            number = wanted.removeprefix("r")
            found.insert(0, Item(f"r{number}", "commit", url(environment, "history", number), code=True))
        return visit.page(PaletteItems(items=(*fixed[:EACH], *found)))


def _fixed(visit: Visit, environment: str) -> list[Item]:
    actions = []
    if visit.may(Action.SAFE_MODE, environment):
        actions.append(Item("Activate safe mode…", "action", url(environment, "safe-mode", "activate"), action=True))
    if visit.may(Action.EDIT, environment):
        actions += [
            Item("New flag", "action", url(environment, "flags", "new"), action=True),
            Item("New cohort", "action", url(environment, "cohorts", "new"), action=True),
            Item("New request class", "action", url(environment, "request-classes", "new"), action=True),
        ]
    pages = [
        Item(label, "page", url(environment) if path == "overview" else url(environment, path))
        for group in SECTIONS
        for path, label, _ in group
    ]
    return [*actions, *pages, Item("Compare two revisions", "page", url(environment, "compare"))]
