"""Cohorts, profiles, templates and request classes: their lists, and one typed editor for all of them."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import inspect

from brownout.model.resources import KINDS
from controlplane.access.actor import Action
from controlplane.configuration.store.values import Resource
from controlplane.contract.kinds import PATHS
from controlplane.errors import NotFoundError
from controlplane.web.editing.draft import Document, change
from controlplane.web.editing.sent import Sent, checked, difference, document_of, pretty, sent
from controlplane.web.editing.typed_form import Leaf, Node, Place, fields, find, new_item
from controlplane.web.flags.editor import Tests
from controlplane.web.flags.flag import resource_url
from controlplane.web.flags.rules import ClauseRow, Known, alternative_rows, normalise_alternatives, sentence
from controlplane.web.kit.frame import Frame, Link
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import plural, words
from controlplane.web.resources.belongs import Belongs, belongs
from controlplane.web.safe_mode.words import profile_words

PAGE = 50
KIND_OF = {path: kind for kind, path in PATHS.items() if kind != "flag"}
ABOUT = {
    "cohort": ("Cohorts", "Named groups that rules, scopes and rollouts refer to.",
               "A cohort names units one by one, or describes them by what their context says."),
    "request_class": ("Request classes", "Kinds of LLM calls, and the flags that govern each.",
                      "A request class names a kind of LLM call, how critical it is, and the flags that govern it."),
    "safe_mode_profile": ("Safe-mode profiles", "What safe mode does, by name.",
                          "A profile says what safe mode does: which tools it leaves out, how far it limits tokens."),
    "response_template": ("Response templates", "Deterministic texts, for the last rung of a ladder.",
                          "A template is what users read when no model can answer."),
}  # fmt: skip
REFERS = {"model": "model_route", "ladder": "fallback_ladder", "budget": "token_budget", "tools": "tool_policy",
          "retry": "retry_policy"}  # fmt: skip
"""A request class's fields, and the type of flag each names."""


NEW_CLAUSE = {"attribute": "plan", "op": "in", "values": ["pro"]}
HINTS = {
    "cohort": {
        "by": "The attribute that names a unit.",
        "include": "Units that always belong.",
        "exclude": "Units that never do, whatever else holds.",
    },
    "safe_mode_profile": {
        "sensitive": "What happens to requests of classes that are marked sensitive.",
        "serve_safe_variant": "Flag keys, or * for every flag that has a safe variant.",
        "exclude_tools": "* for all of them.",
        "max_context_tokens": "Of what goes into a request.",
    },
    "request_class": {"sensitive": "Safe mode can send its requests to people, or stop them."},
}


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


class ResourcesController(Controller):
    """One set of routes for the four kinds; the segment of the path says which."""

    path = "/e/{environment:str}"
    include_in_schema = False

    @get(["/cohorts", "/safe-mode-profiles", "/response-templates"], opt={"action": Action.READ})
    async def list_resources(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        q: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        kind = _kind(visit)
        page = await visit.services.reads.resources(visit.actor, environment, kind, search=q, after=after, limit=PAGE)
        title, text, empty_text = ABOUT[kind]
        path = PATHS[kind]
        return visit.page(
            ResourcesPage(
                frame=await visit.frame(environment, _section(kind)),
                title=title,
                text=text,
                empty_text=empty_text,
                rows=tuple(_row(environment, kind, item) for item in page.items),
                search=q,
                one=words(kind),
                next_href=url(environment, path, q=q, after=page.next) if page.next else "",
                new_href=url(environment, path, "new") if visit.may(Action.EDIT, environment) else "",
                all_href=url(environment, path),
            )
        )

    @get(["/cohorts/new", "/safe-mode-profiles/new", "/response-templates/new", "/request-classes/new"],
         opt={"action": Action.EDIT})  # fmt: skip
    async def new(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        kind = _kind(visit)
        return await _show(visit, environment, kind, Sent(_blank(kind), 0, "", ""), None)

    @post(["/cohorts/new", "/safe-mode-profiles/new", "/response-templates/new", "/request-classes/new"],
          opt={"action": Action.EDIT}, status_code=200)  # fmt: skip
    async def change_new(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        kind = _kind(visit)
        draft = await sent(visit)
        _change(kind, draft)
        return await _show(visit, environment, kind, draft, None)

    @get(["/cohorts/{key:str}", "/safe-mode-profiles/{key:str}", "/response-templates/{key:str}",
          "/request-classes/{key:str}"], opt={"action": Action.READ})  # fmt: skip
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

    @post(["/cohorts/{key:str}/draft", "/safe-mode-profiles/{key:str}/draft", "/response-templates/{key:str}/draft",
           "/request-classes/{key:str}/draft"], opt={"action": Action.READ}, status_code=200)  # fmt: skip
    async def change(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        kind = _kind(visit)
        found = await visit.services.reads.resource(visit.actor, environment, kind, key)
        draft = await sent(visit)
        _change(kind, draft)
        return await _show(visit, environment, kind, draft, found)


def _kind(visit: Visit) -> str:
    """The kind that the address names: /e/<environment>/<path>/…"""
    segment = visit.request.url.path.split("/")[3]
    if segment not in KIND_OF:
        raise NotFoundError(f"there are no {segment}")
    return KIND_OF[segment]


def _section(kind: str) -> str:
    return {"safe_mode_profile": "safe-mode", "response_template": "request-classes"}.get(kind, PATHS[kind])


def _blank(kind: str) -> Document:
    return {"request_class": {"criticality": "critical", "model": ""}, "response_template": {"text": ""}}.get(kind, {})


def _change(kind: str, draft: Sent) -> None:
    normalise_alternatives(draft.document)
    if draft.command in {"", "json"}:
        return
    if draft.command == "add:/any_of":
        draft.document.setdefault("any_of", []).append([dict(NEW_CLAUSE)])
        return
    struct = inspect.type_info(KINDS[kind])
    change(draft.document, draft.command, lambda path: _new(struct, path))


def _new(struct: inspect.Type, path: str) -> Any:
    if path.startswith("/any_of/"):
        return dict(NEW_CLAUSE)
    return new_item(find(struct, path.split("/")[1:]))


async def _show(
    visit: Visit, environment: str, kind: str, draft: Sent, found: Resource | None, *, asked: str = ""
) -> Response[Any]:
    path = PATHS[kind]
    document = draft.document
    json_error = document.pop("@json", "")
    document, errors = checked(kind, draft.key, document)
    here = url(environment, path, draft.key, "draft") if found else url(environment, path, "new")
    may = visit.may(Action.EDIT, environment)
    form = ResourceForm(
        frame=await visit.frame(environment, _section(kind)),
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
            title=ABOUT[kind][0],
            says=_says(kind, found) if found else ABOUT[kind][2],
            kind=words(kind),
            used_by=tuple(Link(user.key, resource_url(environment, *user)) for user in users),
            delete_href=url(environment, "delete", kind, draft.key) if found and may else "",
            list_href=url(environment, _section(kind))
            if kind in {"request_class", "safe_mode_profile"}
            else url(environment, path),
            history_href=url(environment, "history", kind=kind, key=draft.key) if found else "",
            belongs=await belongs(visit, environment, draft.key, asked) if found and kind == "cohort" else None,
        )
    )


async def _nodes(visit: Visit, environment: str, kind: str, document: Document, errors: Any) -> tuple[Node, ...]:
    """The fields; those of a request class that name a flag become choices of what there is."""
    nodes = fields(KINDS[kind], document, Place("", "", "", errors, HINTS.get(kind, {})), frozenset({"any_of"}))
    if kind != "request_class":
        return nodes
    made: list[Node] = []
    for node in nodes:
        name = node.name.rpartition("/")[2] if isinstance(node, Leaf) else ""
        if isinstance(node, Leaf) and name in REFERS:
            page = await visit.services.reads.resources(visit.actor, environment, "flag", type=REFERS[name], limit=500)
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
        item.key, url(environment, PATHS[kind], item.key), _says(kind, item), str(spec.get("owner", "")), item.revision,
        item.changed_at, item.changed_by,
    )  # fmt: skip


def _says(kind: str, item: Resource) -> str:
    """One sentence about a resource."""
    spec = document_of(item.spec)
    if kind == "cohort":
        parts = [
            plural(len(spec["include"]), "unit") + " by name" if spec.get("include") else "",
            *(" and ".join(sentence(clause) for clause in clauses) for clause_list in [spec.get("any_of", [])] for clauses in clause_list),
            f"without {plural(len(spec['exclude']), 'unit')}" if spec.get("exclude") else "",
        ]  # fmt: skip
        said = "; or ".join(part for part in parts if part) or "nobody yet"
    elif kind == "safe_mode_profile":
        said = profile_words(msgspec.convert(spec, KINDS[kind]))  # type: ignore[arg-type]
    else:
        said = str(spec.get("text", ""))[:200]
    description = str(spec.get("description", "")).strip()
    if not description or not said:
        return description or said
    return f"{description} {said}" if description.endswith((".", "!", "?")) else f"{description}: {said}"
