"""Before something is saved: what it changes for whom, in the document, and whether somebody else was faster."""

from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from controlplane.access.actor import Action, authorize
from controlplane.configuration.store.values import Preview, Resource
from controlplane.contract.kinds import row
from controlplane.errors import ApprovalRequiredError, ConflictError, Fault, InvalidInputError
from controlplane.kit.strict_json import check_json
from controlplane.web.editing.draft import Document
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


class Conflict(msgspec.Struct, frozen=True):
    """Somebody saved this resource after the edit began."""

    author: str
    revision: int
    theirs: tuple[DiffLine, ...]
    yours: tuple[DiffLine, ...]


class ReviewPage(View, frozen=True, kw_only=True):
    """A dialog. `action` is where the commit is made from `spec`, on top of `base`."""

    template: ClassVar[str] = "editing/review.html"

    frame: Frame
    title: str
    key: str
    action: str
    back: str
    base: int
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


class Change(msgspec.Struct, frozen=True):
    """One edit, as far as the review is concerned. `spec` None: it is deleted."""

    environment: str
    kind: str
    key: str
    spec: bytes | None
    base: int

    @property
    def ops(self) -> tuple[Operation, ...]:
        if self.spec is None:
            return (Operation("del", self.kind, self.key),)
        return (Operation("put", self.kind, self.key, msgspec.Raw(self.spec)),)


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
            visit, Change(environment, kind, draft.key, _encoded(kind, draft.key, document), draft.base), found
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
        change = Change(environment, kind, form.get("key", ""), spec, number(form.get("base", "")))
        message = form.get("message", "").strip()
        found = await visit.services.reads.find(visit.actor, environment, kind, change.key)
        if not message:
            return await _page(visit, change, found, message_error="Say why: it becomes the commit message.")
        if _overtaken(change, found):
            return await _page(visit, change, found, message=message)
        head = await visit.services.reads.head(visit.actor, environment)
        try:
            commit = await visit.services.changes.commit(
                visit.actor, environment, change.ops, message, expected_revision=head.revision
            )
        except ApprovalRequiredError:
            made = await visit.services.proposals.propose(visit.actor, environment, change.ops, message)
            return Redirect(url(environment, "access", "approvals", str(made.id)), status_code=303)
        except ConflictError:
            return await _page(visit, change, await visit.services.reads.find(visit.actor, environment, kind, change.key),
                               message=message)  # fmt: skip
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


def _overtaken(change: Change, found: Resource | None) -> bool:
    """Whether the resource is no longer what the edit started from."""
    return (found.revision if found else 0) != change.base


def _encoded(kind: str, key: str, document: Document) -> bytes:
    """Canonical when it parses, else as it is: the preview then names what is wrong."""
    try:
        return encode(parse(kind, key, document))
    except InvalidResource:
        return msgspec.json.encode(document)


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
    preview = await visit.services.changes.preview(visit.actor, environment, change.ops)
    conflict = await _conflict(visit, change, found) if _overtaken(change, found) else None
    wrong = faults or preview.faults
    view = ReviewPage(
        frame=await visit.frame(environment, row(change.kind).marked),
        title=f"{_verb(change, found)} {words(change.kind)} ",
        key=change.key,
        action=url(environment, "save", change.kind),
        back=_back(change, found),
        base=found.revision if conflict and found else change.base,
        head=preview.head.revision,
        spec=change.spec.decode() if change.spec is not None else "",
        effective=preview.effective,
        warnings=await visit.services.safe_mode_warnings.of_operations(visit.actor, environment, change.ops),
        diff=_diff(preview, change, found),
        faults=wrong,
        conflict=conflict,
        message=message,
        message_error=message_error,
        verb="Delete" if change.spec is None else "Save",
    )
    overtaken = conflict is not None and message != ""  # a review asks to save nothing, so nothing is refused
    return visit.page(view, 422 if wrong or message_error else 409 if overtaken else 200)


def _verb(change: Change, found: Resource | None) -> str:
    if change.spec is None:
        return "Delete"
    return "Review change to" if found else "Review new"


def _back(change: Change, found: Resource | None) -> str:
    if found is None:
        return url(change.environment, row(change.kind).path, "new")
    return resource_url(change.environment, change.kind, change.key)


def _diff(preview: Preview, change: Change, found: Resource | None) -> tuple[DiffLine, ...]:
    if preview.changes:
        return diff_changes(preview.changes)
    return diff_bytes(found.spec if found else None, change.spec)


async def _conflict(visit: Visit, change: Change, found: Resource | None) -> Conflict | None:
    """Both sides against what the edit started from."""
    start = await visit.services.reads.state(visit.actor, change.environment, change.base)
    before = start.resources.get(ResourceRef(change.kind, change.key))
    return Conflict(
        author=found.changed_by if found else "Another person",
        revision=found.revision if found else 0,
        theirs=diff_bytes(before, found.spec if found else None),
        yours=diff_bytes(before, change.spec),
    )
