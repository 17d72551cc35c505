"""Cohorts, profiles, templates and request classes: their lists, and one typed editor for all of them."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import inspect

from brownout.model.kinds import KINDS
from brownout.model.references import GOVERNORS
from controlplane.access.actor import Action
from controlplane.configuration.store.values import Resource
from controlplane.contract.kinds import edited, row
from controlplane.errors import NotFoundError
from controlplane.web.editing.draft import Document, change
from controlplane.web.editing.sent import Sent, checked, difference, document_of, pretty, sent
from controlplane.web.editing.typed_form import Leaf, Node, Place, fields, find, new_item
from controlplane.web.flags.editor import Tests
from controlplane.web.flags.flag import resource_url
from controlplane.web.flags.rules import ClauseRow, Known, alternative_rows, normalise_alternatives
from controlplane.web.kit.frame import Frame, Link
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words
from controlplane.web.resources.belongs import Belongs, belongs
from controlplane.web.resources.looks import look_of, says

PAGE = 50
_OWN_EDITOR = frozenset({"flag"})
_OWN_LIST = frozenset({"flag", "request_class"})

NEW_CLAUSE = {"attribute": "plan", "op": "in", "values": ["pro"]}


class ResourceRow(msgspec.Struct, frozen=True):
    key: str
    href: str
    text: str
    owner: str
    revision: int
    changed_at: datetime
    changed_by: str


class ResourcesPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "resources/resources.html"

    frame: Frame
    title: str
    text: str
    empty_text: str
    rows: tuple[ResourceRow, ...]
    search: str
    one: str
    next_href: str
    new_href: str
    all_href: str


class ResourceForm(View, frozen=True, kw_only=True):
    """The typed form; see FlagForm for what `post` and `review` are."""

    template: ClassVar[str] = "resources/resource_form.html"

    frame: Frame
    post: str
    review: str
    key: str
    new: bool
    base: int
    nodes: tuple[Node, ...]
    alternatives: tuple[tuple[ClauseRow, ...], ...] | None
    """Of a cohort: who belongs by description; other kinds have none."""
    tests: Tests
    document: str
    changes: int
    errors: tuple[str, ...]
    may_edit: bool


class ResourcePageView(ResourceForm, frozen=True, kw_only=True):
    template: ClassVar[str] = "resources/resource.html"

    title: str
    says: str
    kind: str
    used_by: tuple[Link, ...]
    delete_href: str
    list_href: str
    history_href: str
    belongs: Belongs | None
    """Of a cohort: whether a context is in it. Other kinds have no such question."""


def resource_pages() -> type[Controller]:
    """The pages of every kind that people edit, but for those that have pages of their own."""
    paths = {kind: row.path for kind, row in edited().items() if kind not in _OWN_EDITOR}
    lists = [f"/{path}" for kind, path in paths.items() if kind not in _OWN_LIST]
    new_ones = [f"/{path}/new" for path in paths.values()]
    ones = [f"/{path}/{{key:str}}" for path in paths.values()]
    drafts = [f"{one}/draft" for one in ones]

    class ResourcesController(Controller):
        """One set of routes for the four kinds; the segment of the path says which."""

        path = "/e/{environment:str}"
        include_in_schema = False

        @get(lists, opt={"action": Action.READ})
        async def list_resources(
            self,
            visit: NamedDependency[Visit],
            environment: FromPath[str],
            *,
            q: FromQuery[str] = "",
            after: FromQuery[str] = "",
        ) -> Response[Any]:
            kind = _kind(visit)
            page = await visit.services.reads.resources(
                visit.actor, environment, kind, search=q, after=after, limit=PAGE
            )
            look = look_of(kind)
            path = row(kind).path
            return visit.page(
                ResourcesPage(
                    frame=await visit.frame(environment, row(kind).marked),
                    title=look.title,
                    text=look.text,
                    empty_text=look.empty,
                    rows=tuple(_row(environment, kind, item) for item in page.items),
                    search=q,
                    one=words(kind),
                    next_href=url(environment, path, q=q, after=page.next) if page.next else "",
                    new_href=url(environment, path, "new") if visit.may(Action.EDIT, environment) else "",
                    all_href=url(environment, path),
                )
            )

        @get(new_ones, opt={"action": Action.EDIT})  # fmt: skip
        async def new(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
            kind = _kind(visit)
            return await _show(visit, environment, kind, Sent(dict(look_of(kind).blank), 0, "", ""), None)

        @post(new_ones, opt={"action": Action.EDIT}, status_code=200)  # fmt: skip
        async def change_new(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
            kind = _kind(visit)
            draft = await sent(visit)
            _change(kind, draft)
            return await _show(visit, environment, kind, draft, None)

        @get(ones, opt={"action": Action.READ})  # fmt: skip
        async def show(
            self,
            visit: NamedDependency[Visit],
            environment: FromPath[str],
            key: FromPath[str],
            context: FromQuery[str] = "",
        ) -> Response[Any]:
            """`context` (JSON) asks whether it belongs to a cohort."""
            kind = _kind(visit)
            found = await visit.services.reads.resource(visit.actor, environment, kind, key)
            draft = Sent(document_of(found.spec), found.revision, "", key)
            return await _show(visit, environment, kind, draft, found, asked=context)

        @post(drafts, opt={"action": Action.READ}, status_code=200)  # fmt: skip
        async def change(
            self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
        ) -> Response[Any]:
            kind = _kind(visit)
            found = await visit.services.reads.resource(visit.actor, environment, kind, key)
            draft = await sent(visit)
            _change(kind, draft)
            return await _show(visit, environment, kind, draft, found)

    return ResourcesController


def _kind(visit: Visit) -> str:
    """The kind that the address names: /e/<environment>/<path>/…"""
    segment = visit.request.url.path.split("/")[3]
    for kind, known in edited().items():
        if known.path == segment and kind not in _OWN_EDITOR:
            return kind
    raise NotFoundError(f"there are no {segment}")


def _change(kind: str, draft: Sent) -> None:
    normalise_alternatives(draft.document)
    if draft.command in {"", "json"}:
        return
    if draft.command == "add:/any_of":
        draft.document.setdefault("any_of", []).append([dict(NEW_CLAUSE)])
        return
    struct = inspect.type_info(KINDS[kind].struct)
    change(draft.document, draft.command, lambda path: _new(struct, path))


def _new(struct: inspect.Type, path: str) -> Any:
    if path.startswith("/any_of/"):
        return dict(NEW_CLAUSE)
    return new_item(find(struct, path.split("/")[1:]))


async def _show(
    visit: Visit, environment: str, kind: str, draft: Sent, found: Resource | None, *, asked: str = ""
) -> Response[Any]:
    path = row(kind).path
    document = draft.document
    json_error = document.pop("@json", "")
    document, errors = checked(kind, draft.key, document)
    here = url(environment, path, draft.key, "draft") if found else url(environment, path, "new")
    may = visit.may(Action.EDIT, environment)
    form = ResourceForm(
        frame=await visit.frame(environment, row(kind).marked),
        post=here,
        review=url(environment, "review", kind),
        key=draft.key,
        new=found is None,
        base=draft.base,
        nodes=await _nodes(visit, environment, kind, document, errors),
        alternatives=alternative_rows(document, Known((), (), errors)) if kind == "cohort" else None,
        tests=Tests(),
        document=pretty(document),
        changes=difference(found.spec if found else None, document),
        errors=(*((f"The JSON is not JSON: {json_error}",) if json_error else ()),
                *(f"{pointer or 'document'}: {message}" for pointer, message in errors.items())),
        may_edit=may,
    )  # fmt: skip
    if visit.partial and visit.request.method == "POST":
        return visit.page(form)
    users = await visit.services.reads.dependants(visit.actor, environment, kind, draft.key) if found else ()
    values = {name: getattr(form, name) for name in form.__struct_fields__}
    return visit.page(
        ResourcePageView(
            **values,
            title=look_of(kind).title,
            says=says(kind, found) if found else look_of(kind).empty,
            kind=words(kind),
            used_by=tuple(Link(user.key, resource_url(environment, *user)) for user in users),
            delete_href=url(environment, "delete", kind, draft.key) if found and may else "",
            list_href=url(environment, row(kind).listed_at),
            history_href=url(environment, "history", kind=kind, key=draft.key) if found else "",
            belongs=await belongs(visit, environment, draft.key, asked) if found and kind == "cohort" else None,
        )
    )


async def _nodes(visit: Visit, environment: str, kind: str, document: Document, errors: Any) -> tuple[Node, ...]:
    """The fields; those of a request class that name a flag become choices of what there is."""
    nodes = fields(KINDS[kind].struct, document, Place("", "", "", errors, look_of(kind).hints), frozenset({"any_of"}))
    if kind != "request_class":
        return nodes
    made: list[Node] = []
    for node in nodes:
        name = node.name.rpartition("/")[2] if isinstance(node, Leaf) else ""
        if isinstance(node, Leaf) and name in GOVERNORS:
            page = await visit.services.reads.resources(
                visit.actor, environment, "flag", type=GOVERNORS[name], limit=500
            )
            keys = sorted({item.key for item in page.items} | ({node.value} if node.value else set()))
            none = () if name == "model" and node.value else (Option("", "none"),)
            options = (*none, *(Option(key, key) for key in keys))
            made.append(msgspec.structs.replace(node, control="choice", options=options))
        else:
            made.append(node)
    return tuple(made)


def _row(environment: str, kind: str, item: Resource) -> ResourceRow:
    spec = document_of(item.spec)
    return ResourceRow(
        item.key, url(environment, row(kind).path, item.key), says(kind, item), str(spec.get("owner", "")), item.revision,
        item.changed_at, item.changed_by,
    )  # fmt: skip
