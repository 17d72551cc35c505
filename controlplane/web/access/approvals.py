"""The two-person rule: what waits for others, broken glass and its reviews; and the audit log."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from controlplane.access.actor import Action
from controlplane.access.proposals import Proposal
from controlplane.access.rebasing import Side
from controlplane.access.values import Event
from controlplane.configuration.store.values import Change
from controlplane.errors import BrownoutError
from controlplane.http.parameters import Before
from controlplane.web.access.frame import Tab, tabs
from controlplane.web.editing.jsondiff import diff_changes
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import DiffLine, Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved
from controlplane.web.kit.words import number, plural, words

AUDIT_PAGE = 100
EVENTS = tuple(Event)


class ProposalRow(msgspec.Struct, frozen=True):
    id: int
    message: str
    author: str
    state: str
    approvals: str
    created_at: datetime
    href: str


class GlassLine(msgspec.Struct, frozen=True):
    id: int
    actor: str
    reason: str
    started_at: datetime
    expires_at: datetime
    ended: bool
    uses: str
    href: str


class ApprovalsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/approvals.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    needed: int
    rows: tuple[ProposalRow, ...]
    glass: tuple[GlassLine, ...]
    may_break: bool
    may_rule: bool
    error: str
    here: str


class ProposalPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/proposal.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    id: int
    message: str
    author: str
    created_at: datetime
    state: str
    edition: int
    approvals: tuple[tuple[str, str, str], ...]
    """(who, their note, why it does not count: empty when it does)"""
    needed: int
    effective: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    theirs: tuple[DiffLine, ...]
    may_approve: bool
    may_commit: bool
    may_withdraw: bool
    error: str
    here: str


class AuditRow(msgspec.Struct, frozen=True):
    sequence: int
    at: datetime
    event: str
    actor: str
    address: str
    environment: str
    target: str
    reason: str
    refused: bool


class AuditPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/audit.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    rows: tuple[AuditRow, ...]
    who: str
    event: str
    events: tuple[Option, ...]
    next_href: str
    here: str


class ApprovalsController(Controller):
    path = "/e/{environment:str}/access"
    include_in_schema = False

    @get("/approvals", opt={"action": Action.READ})
    async def list_approvals(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return await _list(visit, environment, "")

    @post("/approvals", opt={"action": Action.READ}, status_code=200)
    async def act(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """`do` is rule, production, break, end or review."""
        form = dict(await visit.form())
        access, actor = visit.services.access, visit.actor
        glass = number(form.get("id", ""))
        reason = form.get("reason", "")
        try:
            match form.get("do"):
                case "rule":
                    needed = number(form.get("needed", ""))
                    await access.rule.set(actor, environment, needed, reason)
                case "production":
                    counts = form.get("production") == "yes"
                    await visit.services.environments.mark(actor, environment, production=counts)
                case "break":
                    await access.break_glass.break_(actor, environment, reason)
                case "end":
                    await access.break_glass.end(actor, environment, glass)
                case "review":
                    await access.break_glass.review(actor, environment, glass, reason)
        except BrownoutError as error:
            return await _list(visit, environment, await visit.refusal(error))
        return Redirect(url(environment, "access", "approvals"), status_code=303)

    @get("/approvals/{proposal:int}", opt={"action": Action.READ})
    async def show(
        self, visit: NamedDependency[Visit], environment: FromPath[str], proposal: FromQuery[int]
    ) -> Response[Any]:
        return await _show(visit, environment, proposal, "")

    @post("/approvals/{proposal:int}", opt={"action": Action.READ}, status_code=200)
    async def move(
        self, visit: NamedDependency[Visit], environment: FromPath[str], proposal: FromQuery[int]
    ) -> Response[Any]:
        """`do` is approve, commit, rebase or withdraw."""
        form = dict(await visit.form())
        proposals, actor = visit.services.proposals, visit.actor
        note = form.get("note", "")
        try:
            match form.get("do"):
                case "approve":
                    edition = number(form.get("edition", ""))
                    await proposals.approve(actor, environment, proposal, edition, note)
                case "commit":
                    commit = await proposals.commit(actor, environment, proposal)
                    return saved(environment, commit.revision, "history", str(commit.revision))
                case "rebase":
                    await proposals.rebase(actor, environment, proposal, number(form.get("edition", "")), _side(form))
                case "withdraw":
                    await proposals.withdraw(actor, environment, proposal, note)
        except BrownoutError as error:
            return await _show(visit, environment, proposal, await visit.refusal(error))
        return Redirect(url(environment, "access", "approvals", str(proposal)), status_code=303)

    @get("/audit", opt={"action": Action.READ_AUDIT})
    async def audit(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        who: FromQuery[str] = "",
        event: FromQuery[str] = "",
        before: Before = None,
    ) -> Response[Any]:
        only = Event(event) if event in EVENTS else None
        found = await visit.services.access.audit.list_events(
            visit.actor, before=before, limit=AUDIT_PAGE, event=only, who=who.strip(), environment=environment
        )
        asked = {"who": who, "event": only or ""}
        more = len(found) == AUDIT_PAGE
        return visit.page(
            AuditPage(
                frame=await visit.frame(environment, "access"),
                tabs=tabs(visit, environment, "audit"),
                rows=tuple(
                    AuditRow(
                        sequence=line.sequence,
                        at=datetime.fromtimestamp(line.entry.at_ms / 1000, UTC),
                        event=words(line.entry.event).replace(".", " "),
                        actor=line.entry.actor,
                        address=line.entry.address,
                        environment=line.entry.environment,
                        target=line.entry.target,
                        reason=line.entry.reason,
                        refused=line.entry.outcome != "ok",
                    )
                    for line in found
                ),
                who=who,
                event=only or "",
                events=(Option("", "anything"), *(Option(each, words(each)) for each in EVENTS)),
                next_href=url(environment, "access", "audit", **asked, before=found[-1].sequence) if more else "",
                here=url(environment, "access", "audit"),
            )
        )


def _side(form: Mapping[str, str]) -> Side | None:
    sides: dict[str, Side] = {"mine": "mine", "theirs": "theirs"}
    return sides.get(form.get("prefer", ""))


async def _list(visit: Visit, environment: str, error: str) -> Response[Any]:
    services, actor = visit.services, visit.actor
    rule = await services.access.rule.get(actor, environment)
    proposals = await services.proposals.list_proposals(actor, environment, "")
    broken = await services.access.break_glass.list_broken(actor, environment)
    page = ApprovalsPage(
        frame=await visit.frame(environment, "access"),
        tabs=tabs(visit, environment, "approvals"),
        needed=rule.requires_approvals,
        rows=tuple(_row(environment, each) for each in proposals[:50]),
        glass=tuple(
            GlassLine(each.id, each.actor, each.reason, each.started_at, each.expires_at, each.ended_at is not None,
                      plural(len(each.uses), "use"), url(environment, "access", "approvals"))
            for each in broken
        ),
        may_break=visit.may(Action.BREAK_GLASS, environment),
        may_rule=visit.may(Action.MANAGE_ENVIRONMENT, environment),
        error=error,
        here=url(environment, "access", "approvals"),
    )  # fmt: skip
    return visit.page(page, 422 if error else 200)


def _row(environment: str, each: Proposal) -> ProposalRow:
    given = sum(approval.counts for approval in each.approvals)
    return ProposalRow(each.id, each.message, each.author, each.state, f"{given} of {each.needed}", each.created_at,
                       url(environment, "access", "approvals", str(each.id)))  # fmt: skip


async def _show(visit: Visit, environment: str, proposal_id: int, error: str) -> Response[Any]:
    found = await visit.services.proposals.get(visit.actor, environment, proposal_id)
    proposal, mine = found.proposal, found.proposal.author == visit.actor.name
    is_open = proposal.state == "open"
    theirs = tuple(Change(each.kind, each.key, each.before, each.after) for each in found.theirs)
    page = ProposalPage(
        frame=await visit.frame(environment, "access"),
        tabs=tabs(visit, environment, "approvals"),
        id=proposal.id,
        message=proposal.message,
        author=proposal.author,
        created_at=proposal.created_at,
        state=proposal.state,
        edition=proposal.edition,
        approvals=tuple((each.approver, each.note, each.why_not) for each in proposal.approvals),
        needed=proposal.needed,
        effective=found.preview.effective,
        diff=diff_changes(found.preview.changes),
        theirs=diff_changes(theirs),
        may_approve=is_open and not mine and visit.may(Action.APPROVE, environment),
        may_commit=is_open and proposal.approved and not found.stale and visit.may(Action.EDIT, environment),
        may_withdraw=is_open and (mine or visit.may(Action.MANAGE_ENVIRONMENT, environment)),
        error=error,
        here=url(environment, "access", "approvals", str(proposal.id)),
    )
    return visit.page(page, 422 if error else 200)
