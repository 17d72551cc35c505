"""The two-person rule: proposals and approvals, broken glass and its review."""

from typing import Literal

from litestar import Controller, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, RawBody

from controlplane.access.actor import Action, Actor
from controlplane.access.rule import Rule
from controlplane.contract.access import (
    ApproveInput,
    BreakGlassInput,
    BrokenGlass,
    BrokenGlassList,
    EditInput,
    ProposalDetail,
    ProposalList,
    ProposalOutput,
    ReasonInput,
    RebaseInput,
    ReviewInput,
    RuleInput,
)
from controlplane.contract.dto import CommitInput, CommitOutput
from controlplane.contract.pointers import OPERATIONS, pointing_into
from controlplane.http.conditions import Conditions
from controlplane.http.limits import MAX_DOCUMENT_BYTES
from controlplane.http.parameters import duration
from controlplane.kit.strict_json import read_struct
from controlplane.services import Services


class RuleController(Controller):
    path = "/api/v1/environments/{environment:str}/rule"
    tags = ("approvals",)

    @get("/", operation_id="get_rule", opt={"action": Action.READ})
    async def get_rule(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Rule:
        """How many other people must approve a commit here."""
        return await services.access.rule.get(actor, environment)

    @put("/", operation_id="set_rule", opt={"action": Action.MANAGE_ENVIRONMENT})
    async def set_rule(
        self,
        environment: FromPath[str],
        data: JSONBody[RuleInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Rule:
        """Asks for more; asking for less needs broken glass."""
        return await services.access.rule.set(actor, environment, data.requires_approvals, data.reason)


class ProposalController(Controller):
    path = "/api/v1/environments/{environment:str}/proposals"
    tags = ("approvals",)

    @get("/", operation_id="list_proposals", opt={"action": Action.READ})
    async def list_proposals(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        only: FromQuery[Literal["open", "committed", "withdrawn", "all"]] = "open",
    ) -> ProposalList:
        """The newest first."""
        found = await services.proposals.list_proposals(actor, environment, "" if only == "all" else only)
        return ProposalList(tuple(map(ProposalOutput.of, found)))

    @post(
        "/",
        operation_id="propose",
        opt={"action": Action.EDIT, "body": CommitInput},
        request_max_body_size=MAX_DOCUMENT_BYTES,
    )
    async def propose(
        self,
        environment: FromPath[str],
        body: RawBody,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> ProposalOutput:
        """Puts a commit before others; refused when it would not compile now."""
        data = read_struct(body, CommitInput)
        ops = data.operations()
        with pointing_into(OPERATIONS, ops):
            made = await services.proposals.propose(
                actor, environment, ops, data.message, expected_revision=conditions.expected_revision
            )
        return ProposalOutput.of(made)

    @get("/{proposal:int}", operation_id="get_proposal", opt={"action": Action.READ})
    async def get_proposal(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ProposalDetail:
        """Show what it would do now, and what others changed meanwhile."""
        return ProposalDetail.of(await services.proposals.get(actor, environment, proposal))

    @put(
        "/{proposal:int}",
        operation_id="edit_proposal",
        opt={"action": Action.EDIT, "body": EditInput},
        request_max_body_size=MAX_DOCUMENT_BYTES,
    )
    async def edit(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        body: RawBody,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ProposalOutput:
        """Replaces the edition that you have seen; it loses its approvals."""
        data = read_struct(body, EditInput)
        ops = data.operations()
        with pointing_into(OPERATIONS, ops):
            edited = await services.proposals.edit(
                actor, environment, proposal, ops, data.message, edition=data.edition
            )
        return ProposalOutput.of(edited)

    @post("/{proposal:int}/rebase", operation_id="rebase_proposal", status_code=200, opt={"action": Action.EDIT})
    async def rebase(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        data: JSONBody[RebaseInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ProposalOutput:
        """Merges it with what others committed since, field by field; it loses its approvals."""
        done = await services.proposals.rebase(actor, environment, proposal, data.edition, data.prefer)
        return ProposalOutput.of(done)

    @post("/{proposal:int}/approve", operation_id="approve_proposal", status_code=200, opt={"action": Action.APPROVE})
    async def approve(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        data: JSONBody[ApproveInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ProposalOutput:
        """Says yes to the edition you have seen."""
        done = await services.proposals.approve(actor, environment, proposal, data.edition, data.note)
        return ProposalOutput.of(done)

    @post("/{proposal:int}/commit", operation_id="commit_proposal", status_code=200, opt={"action": Action.EDIT})
    async def commit(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> CommitOutput:
        """Commits what enough others have approved."""
        return CommitOutput.of(await services.proposals.commit(actor, environment, proposal))

    @post("/{proposal:int}/withdraw", operation_id="withdraw_proposal", status_code=200, opt={"action": Action.EDIT})
    async def withdraw(
        self,
        environment: FromPath[str],
        proposal: FromPath[int],
        data: JSONBody[ReasonInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ProposalOutput:
        """Closes it without committing."""
        return ProposalOutput.of(await services.proposals.withdraw(actor, environment, proposal, data.reason))


class BreakGlassController(Controller):
    path = "/api/v1/environments/{environment:str}/break-glass"
    tags = ("approvals",)

    @get("/", operation_id="list_break_glass", opt={"action": Action.READ})
    async def list_broken(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        unreviewed: FromQuery[bool] = True,
    ) -> BrokenGlassList:
        """What waits for its review; everything with `unreviewed=false`."""
        found = await services.access.break_glass.list_broken(actor, environment, unreviewed=unreviewed)
        return BrokenGlassList(tuple(map(BrokenGlass.of, found)))

    @post("/", operation_id="break_glass", opt={"action": Action.BREAK_GLASS})
    async def break_(
        self,
        environment: FromPath[str],
        data: JSONBody[BreakGlassInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> BrokenGlass:
        """Lets you commit here without approvals for a while. It alerts everyone, and another person reviews it."""
        lasts = duration(data.lasts_s)
        return BrokenGlass.of(await services.access.break_glass.break_(actor, environment, data.reason, lasts))

    @post("/{glass:int}/end", operation_id="end_break_glass", status_code=200, opt={"action": Action.BREAK_GLASS})
    async def end(
        self,
        environment: FromPath[str],
        glass: FromPath[int],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> BrokenGlass:
        """Before its time."""
        return BrokenGlass.of(await services.access.break_glass.end(actor, environment, glass))

    @post("/{glass:int}/review", operation_id="review_break_glass", status_code=200, opt={"action": Action.APPROVE})
    async def review(
        self,
        environment: FromPath[str],
        glass: FromPath[int],
        data: JSONBody[ReviewInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> BrokenGlass:
        """Signs that another person has looked at what was done."""
        return BrokenGlass.of(await services.access.break_glass.review(actor, environment, glass, data.review))
