"""Before something is saved: what it changes for whom, in the document, and whether somebody else was faster."""

from typing import Any, ClassVar

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import Action, authorize
from controlplane.configuration.store.errors import AlreadyExistsError
from controlplane.configuration.store.values import Preview, Resource
from controlplane.contract.kinds import row
from controlplane.errors import ApprovalRequiredError, ConflictError, Fault, InvalidInputError
from controlplane.http.warnings import warnings_of
from controlplane.kit.strict_json import check_json
from controlplane.web.editing.conflict import Change, Conflict, encoded, picks_of, settle
from controlplane.web.editing.jsondiff import diff_bytes, diff_changes
from controlplane.web.editing.sent import document_of, sent
from controlplane.web.flags.flag import resource_url
from controlplane.web.flags.rules import normalise
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import DiffLine
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved
from controlplane.web.kit.words import number, words


class ReviewPage(View, frozen=True, kw_only=True):
    """A dialog. `action` is where the commit is made from `spec`, on top of `base`."""

    template: ClassVar[str] = "editing/review.html"

    frame: Frame
    title: str
    key: str
    action: str
    back: str
    base: int
    onto: int | None
    head: int
    spec: str
    effective: tuple[str, ...]
    warnings: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    faults: tuple[Fault, ...]
    conflict: Conflict | None
    message: str
    message_error: str
    verb: str


class ReviewController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @post("/review/{kind:str}", status_code=200, opt={"action": Action.EDIT})
    async def review(
        self, visit: NamedDependency[Visit], environment: FromPath[str], kind: FromPath[str]
    ) -> Response[Any]:
        """What an editor's form would change."""
        authorize(visit.actor, Action.EDIT, environment)
        draft = await sent(visit)
        found = await visit.services.reads.find(visit.actor, environment, kind, draft.key)
        document = draft.document
        if kind == "flag":
            normalise(document, document_of(found.spec) if found else {})
            if not document.get("safe_variant"):
                document.pop("safe_variant", None)
        return await _page(
            visit, Change(environment, kind, draft.key, encoded(kind, draft.key, document), draft.base), found
        )

    @get("/delete/{kind:str}/{key:str}", opt={"action": Action.EDIT})
    async def review_deletion(
        self, visit: NamedDependency[Visit], environment: FromPath[str], kind: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.reads.resource(visit.actor, environment, kind, key)
        return await _page(visit, Change(environment, kind, key, None, found.revision), found)

    @post("/save/{kind:str}", status_code=200, opt={"action": Action.EDIT})
    async def save(
        self, visit: NamedDependency[Visit], environment: FromPath[str], kind: FromPath[str]
    ) -> Response[Any]:
        """Commits, unless somebody saved the same resource since: then both changes are shown."""
        authorize(visit.actor, Action.EDIT, environment)
        form = dict(await visit.form())
        spec = _object(form["spec"]) if form.get("spec") else None
        onto = number(form["onto"]) if form.get("onto") else None
        change = Change(
            environment, kind, form.get("key", ""), spec, number(form.get("base", "")), onto, picks_of(form)
        )
        message = form.get("message", "").strip()
        found = await visit.services.reads.find(visit.actor, environment, kind, change.key)
        if not message:
            return await _page(visit, change, found, message_error="Say why: it becomes the commit message.")
        settled = await settle(visit, change, found)
        if settled.conflict and (settled.conflict.undecided or settled.conflict.revision != change.onto):
            return await _page(visit, change, found, message=message)
        return await _commit(visit, change, settled.spec, found, message)


async def _commit(
    visit: Visit, change: Change, spec: bytes | None, found: Resource | None, message: str
) -> Response[Any]:
    """Saves `spec` if the resource is still what the change was made from, or what it was merged with."""
    environment, ops, services = change.environment, change.ops(spec), visit.services
    try:
        commit = await services.changes.commit(visit.actor, environment, ops, message, bases=change.bases)
    except ApprovalRequiredError:
        made = await services.proposals.propose(visit.actor, environment, ops, message, bases=change.bases)
        return Redirect(url(environment, "access", "approvals", str(made.id)), status_code=303)
    except ConflictError:
        found = await services.reads.find(visit.actor, environment, change.kind, change.key)
        return await _page(visit, change, found, message=message)
    except InvalidInputError as error:
        return await _page(visit, change, found, message=message, faults=error.faults)
    return _done(environment, change, commit.revision)


def _object(text: str) -> bytes:
    """A spec as our own form sends it back. Raises InvalidInputError when somebody else made it up."""
    faults = check_json(text.encode())
    if faults or not text.lstrip().startswith("{"):
        raise InvalidInputError("the spec is not a JSON object", faults)
    return text.encode()


def _done(environment: str, change: Change, revision: int) -> Redirect:
    kind = row(change.kind)
    if change.spec is None or kind.home:
        return saved(environment, revision, kind.listed_at)
    return saved(environment, revision, kind.path, change.key)


async def _page(
    visit: Visit,
    change: Change,
    found: Resource | None,
    *,
    message: str = "",
    message_error: str = "",
    faults: tuple[Fault, ...] = (),
) -> Response[Any]:
    environment = change.environment
    settled = await settle(visit, change, found)
    conflict = settled.conflict
    ops = change.ops(settled.spec)
    preview = await visit.services.changes.preview(visit.actor, environment, ops)
    if change.base == 0 and change.onto is None and found is not None:
        faults = AlreadyExistsError(change.ref).faults
    wrong = faults or preview.faults
    view = ReviewPage(
        frame=await visit.frame(environment, row(change.kind).marked),
        title=f"{_verb(change)} {words(change.kind)} ",
        key=change.key,
        action=url(environment, "save", change.kind),
        back=_back(change, found),
        base=change.base,
        onto=conflict.revision if conflict else None,
        head=preview.head.revision,
        spec=change.spec.decode() if change.spec is not None else "",
        effective=preview.effective,
        warnings=await warnings_of(visit.services, visit.actor, environment, ops),
        diff=_diff(preview, settled.spec, found),
        faults=wrong,
        conflict=conflict,
        message=message,
        message_error=message_error,
        verb="Delete" if change.spec is None else "Save",
    )
    overtaken = conflict is not None and message != ""  # a review asks to save nothing, so nothing is refused
    return visit.page(view, 422 if wrong or message_error else 409 if overtaken else 200)


def _verb(change: Change) -> str:
    if change.spec is None:
        return "Delete"
    return "Review change to" if change.base else "Review new"


def _back(change: Change, found: Resource | None) -> str:
    if found is None or change.base == 0:
        return url(change.environment, row(change.kind).path, "new")
    return resource_url(change.environment, change.kind, change.key)


def _diff(preview: Preview, spec: bytes | None, found: Resource | None) -> tuple[DiffLine, ...]:
    if preview.changes:
        return diff_changes(preview.changes)
    return diff_bytes(found.spec if found else None, spec)
