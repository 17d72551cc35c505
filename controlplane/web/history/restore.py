"""Going back: a new commit that makes things what they were. Looked at before it is made."""

from collections.abc import Sequence
from typing import Any, ClassVar

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from brownout.model.resources import ResourceRef
from controlplane.access.actor import Action
from controlplane.configuration.store.errors import ChangedMeanwhileError
from controlplane.contract.kinds import row
from controlplane.errors import ApprovalRequiredError, Fault, InvalidInputError
from controlplane.web.editing.jsondiff import diff_changes
from controlplane.web.history.pages import summary_of
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import DiffLine
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved
from controlplane.web.kit.words import number


class RestorePage(View, frozen=True, kw_only=True):
    """A dialog: what going back would change, before it does. `refs` empty: everything goes back."""

    template: ClassVar[str] = "history/restore.html"

    frame: Frame
    title: str
    note: str
    action: str
    back: str
    target: int
    seen: int
    refs: tuple[str, ...]
    effective: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    faults: tuple[Fault, ...]
    message: str
    message_error: str


class RestoreController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @get("/undo/{revision:int}", opt={"action": Action.EDIT})
    async def review_undo(
        self, visit: NamedDependency[Visit], environment: FromPath[str], revision: FromPath[int]
    ) -> Response[Any]:
        """Only what that commit touched goes back to what it was before."""
        commit = await visit.services.reads.commit(visit.actor, environment, revision)
        refs = tuple(change.ref for change in commit.changes if row(change.kind).restored)
        return await _page(
            visit, environment, revision - 1, refs,
            title=f"Undo r{revision}",
            note=f"{summary_of(commit.effective, commit.message)}. By {commit.author}: “{commit.message}”",
            message=f"Undo r{revision}: ",
        )  # fmt: skip

    @get("/restore/{revision:int}", opt={"action": Action.EDIT})
    async def review_restore(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        revision: FromPath[int],
        only: FromQuery[str] = "",
    ) -> Response[Any]:
        """Everything goes back, or `only` one resource (`flag/refund-model`); safe mode stays as it is."""
        if refs := _refs("only", [only] if only else []):
            return await _page(
                visit, environment, revision, refs,
                title=f"Restore {refs[0].key} to r{revision}",
                note="It becomes what it was then. Nothing else changes.",
                message=f"Restore {refs[0].key} to r{revision}: ",
            )  # fmt: skip
        return await _page(
            visit, environment, revision, (),
            title=f"Restore everything to r{revision}",
            note="Flags, cohorts, request classes, profiles and templates become what they were. Safe mode stays as it is now.",
            message=f"Restore r{revision}: ",
        )  # fmt: skip

    @post("/restore", status_code=200, opt={"action": Action.EDIT})
    async def restore(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        fields = await visit.form()
        form = dict(fields)
        target = number(form.get("target", ""))
        refs = _refs("ref", [value for name, value in fields if name == "ref"])
        message = form.get("message", "").strip()
        error = ""
        faults: tuple[Fault, ...] = ()
        if not message or message.endswith(":"):
            error = "Say why: it becomes the commit message."
        else:
            try:
                commit = await visit.services.restores.restore(
                    visit.actor,
                    environment,
                    target,
                    refs=refs,
                    message=message,
                    seen=number(form["seen"]) if form.get("seen") else None,
                )
            except ApprovalRequiredError:
                ops, head = await visit.services.restores.operations(visit.actor, environment, target, refs)
                made = await visit.services.proposals.propose(
                    visit.actor, environment, ops, message, expected_revision=head
                )
                return Redirect(url(environment, "access", "approvals", str(made.id)), status_code=303)
            except InvalidInputError as refused:
                faults = refused.faults
            except ChangedMeanwhileError as refused:
                error = f"{refused.message}. Look at the change below, then commit it."
            else:
                return saved(environment, commit.revision, "history", str(commit.revision))
        return await _page(
            visit, environment, target, refs, title=form.get("title", "Restore"), note="", message=message, error=error,
            faults=faults,
        )  # fmt: skip


def _refs(field: str, named: Sequence[str]) -> tuple[ResourceRef, ...]:
    """Raises InvalidInputError: what names no resource must not restore everything."""
    refs = [ResourceRef(*name.split("/", 1)) for name in named if "/" in name.strip("/")]
    if len(refs) != len(named):
        why = f"`{field}` names a resource as kind/key, such as flag/refund-model"
        raise InvalidInputError(why, (Fault("invalid_parameter", why, f"/{field}"),))
    return tuple(refs)


async def _page(
    visit: Visit,
    environment: str,
    target: int,
    refs: tuple[ResourceRef, ...],
    *,
    title: str,
    note: str,
    message: str,
    error: str = "",
    faults: tuple[Fault, ...] = (),
) -> Response[Any]:
    preview = await visit.services.restores.preview(visit.actor, environment, target, refs)
    wrong = faults or preview.faults
    view = RestorePage(
        frame=await visit.frame(environment, "history"),
        title=title,
        note=note,
        action=url(environment, "restore"),
        back=url(environment, "history"),
        target=target,
        seen=preview.head.revision,
        refs=tuple(f"{ref.kind}/{ref.key}" for ref in refs),
        effective=preview.effective,
        diff=diff_changes(preview.changes),
        faults=wrong,
        message=message,
        message_error=error,
    )
    return visit.page(view, 422 if wrong or error else 200)
