"""One flag: its editor, its history, who uses it."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action
from controlplane.configuration.store.values import Resource
from controlplane.contract.kinds import row
from controlplane.web.editing.draft import mapping
from controlplane.web.editing.sent import Sent, document_of, sent
from controlplane.web.flags.editor import FlagForm, change_flag, flag_form
from controlplane.web.flags.state import evaluated_words, stale_words
from controlplane.web.history.pages import commit_lines
from controlplane.web.kit.frame import Frame, Link
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import CommitLine
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import short, words

MAX_COHORTS = 200
NEW_FLAG: dict[str, Any] = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "off",
    "rules": [],
}


class FlagHead(msgspec.Struct, frozen=True):
    """What stands above every tab of a flag."""

    key: str
    description: str
    state: str
    type: str
    owner: str
    tags: tuple[str, ...]
    revision: int
    changed_at: datetime
    changed_by: str
    safe_variant: str
    used: str
    """How often it was evaluated of late, and when last."""
    tabs: tuple[tuple[str, str, bool], ...]
    """(label, address, whether it is this one)"""
    delete_href: str
    used_by: tuple[Link, ...]


class FlagPage(FlagForm, frozen=True, kw_only=True):
    template: ClassVar[str] = "flags/flag.html"

    head: FlagHead | None


class FlagHistoryPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "flags/flag_history.html"

    frame: Frame
    head: FlagHead
    commits: tuple[CommitLine, ...]


class FlagController(Controller):
    path = "/e/{environment:str}/flags"
    include_in_schema = False

    @get("/new", opt={"action": Action.EDIT})
    async def new_flag(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        draft = Sent(dict(NEW_FLAG), 0, "", "")
        return await _show(visit, environment, draft, None, url(environment, "flags", "new"))

    @post("/new", status_code=200, opt={"action": Action.EDIT})
    async def change_new_flag(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        draft = await sent(visit)
        _retype(draft)
        change_flag(draft, None, await cohort_keys(visit, environment))
        return await _show(visit, environment, draft, None, url(environment, "flags", "new"))

    @get("/{key:str}", opt={"action": Action.READ})
    async def show_flag(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.reads.resource(visit.actor, environment, "flag", key)
        draft = Sent(document_of(found.spec), found.revision, "", key)
        return await _show(visit, environment, draft, found, url(environment, "flags", key, "draft"))

    @post("/{key:str}/draft", status_code=200, opt={"action": Action.READ})
    async def change_flag(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.reads.resource(visit.actor, environment, "flag", key)
        draft = await sent(visit)
        change_flag(draft, found.spec, await cohort_keys(visit, environment))
        return await _show(visit, environment, draft, found, url(environment, "flags", key, "draft"))

    @get("/{key:str}/history", opt={"action": Action.READ})
    async def show_history(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.reads.resource(visit.actor, environment, "flag", key)
        commits = await visit.services.reads.commits(visit.actor, environment, kind="flag", key=key, limit=50)
        return visit.page(
            FlagHistoryPage(
                frame=await visit.frame(environment, "flags"),
                head=await _head(visit, environment, found, "history"),
                commits=_restorable(environment, key, commit_lines(visit, environment, commits)),
            )
        )


def _restorable(environment: str, key: str, lines: tuple[CommitLine, ...]) -> tuple[CommitLine, ...]:
    """In a flag's own history one goes back to what the flag was, not to before a whole commit."""
    return tuple(
        msgspec.structs.replace(
            line,
            undo_href=url(environment, "restore", str(line.revision), only=f"flag/{key}")
            if line.undo_href and at
            else "",
            act="Restore…",
        )
        for at, line in enumerate(lines)
    )


async def _show(visit: Visit, environment: str, draft: Sent, found: Resource | None, here: str) -> Response[Any]:
    """The page, or only its form when htmx asks for that."""
    form = flag_form(
        await visit.frame(environment, "flags"),
        draft,
        found.spec if found else None,
        post=here,
        review=url(environment, "review", "flag"),
        cohorts=await cohort_keys(visit, environment),
        may_edit=visit.may(Action.EDIT, environment),
    )
    if visit.partial:
        return visit.page(form)
    head = await _head(visit, environment, found, "edit") if found else None
    values = {name: getattr(form, name) for name in form.__struct_fields__}
    return visit.page(FlagPage(**values, head=head))


def _retype(draft: Sent) -> None:
    """Another type chosen for a new flag: its variants start again, for values of one type are none of another."""
    document = draft.document
    first = next(iter(mapping(document.get("variants")).values()), None)
    kind = document.get("type")
    fits = {"boolean": bool, "string": str, "integer": int, "float": float | int}.get(str(kind), dict)
    if kind == "boolean" and not isinstance(first, bool):
        document.update(msgspec.json.decode(msgspec.json.encode(NEW_FLAG)))
    elif not isinstance(first, fits) or (isinstance(first, bool) and kind != "boolean"):
        document["variants"] = {}
        draft_blank = Sent(document, 0, "add:/variants", draft.key)
        change_flag(draft_blank, None, ())
        name = next(iter(document["variants"]))
        document.update(off_variant=name, default=name, rules=[])
        document.pop("safe_variant", None)


async def cohort_keys(visit: Visit, environment: str) -> tuple[str, ...]:
    page = await visit.services.reads.resources(visit.actor, environment, "cohort", limit=MAX_COHORTS)
    return tuple(item.key for item in page.items)


async def _head(visit: Visit, environment: str, found: Resource, tab: str) -> FlagHead:
    spec = document_of(found.spec)
    users = await visit.services.reads.dependants(visit.actor, environment, "flag", found.key)
    here = url(environment, "flags", found.key)
    tabs = (
        ("Targeting and variants", here, tab == "edit"),
        ("History", f"{here}/history", tab == "history"),
        ("Playground", url(environment, "playground", flag=found.key), False),
    )
    may = visit.may(Action.EDIT, environment)
    return FlagHead(
        key=found.key,
        description=str(spec.get("description", "")),
        state="on" if spec.get("enabled", True) else "off",
        type=words(spec["type"]),
        owner=str(spec.get("owner", "")),
        tags=tuple(spec.get("tags", ())),
        revision=found.revision,
        changed_at=found.changed_at,
        changed_by=found.changed_by,
        safe_variant=str(spec.get("safe_variant") or ""),
        used=await _used(visit, environment, found, len(spec.get("variants", ()))),
        tabs=tabs,
        delete_href=url(environment, "delete", "flag", found.key) if may else "",
        used_by=tuple(Link(user.key, resource_url(environment, *user)) for user in users),
    )


async def _used(visit: Visit, environment: str, found: Resource, variants: int) -> str:
    """1.3 k in 24 h; a flag that nobody asks about may go."""
    use = await visit.services.telemetry.signals.flag_use(visit.actor, environment, found.key)
    served = await visit.services.telemetry.flag_uses.served(visit.actor, environment, [found.key])
    total = sum(each.evaluations for each in use.variants)
    last_at = served.last_at(found.key)
    parts = (
        f"{short(total)} in 24 h" if total else "not in the last 24 h",
        f"{short(use.without_unit)} served without a unit" if use.without_unit else "",
        f"last {evaluated_words(last_at, visit.now)}" if last_at and not total else "",
        stale_words(served.stale(found.key, variants, found.changed_at, visit.now)),
    )
    return ", ".join(part for part in parts if part)


def resource_url(environment: str, kind: str, key: str) -> str:
    """Where a resource of any kind has its page."""
    found = row(kind)
    return url(environment, found.path, key) if found.edited or not found.home else url(environment, found.home)
