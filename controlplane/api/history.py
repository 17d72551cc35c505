"""Commits: making one of many operations, and everything that was ever committed."""

from datetime import datetime
from typing import Annotated

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, RawBody

from controlplane.access.actor import Action, Actor
from controlplane.contract.dto import (
    CommitInput,
    CommitOutput,
    DiffOutput,
    History,
    LoggedCommitOutput,
    PreviewOutput,
    RestoreInput,
    VerificationOutput,
)
from controlplane.contract.pointers import OPERATIONS, pointing_into, relocated
from controlplane.http.conditions import Conditions, Tagged, tagged
from controlplane.http.limits import MAX_DOCUMENT_BYTES
from controlplane.http.parameters import MAX_NUMBER, Before, Limit, utc
from controlplane.http.warnings import warnings_of
from controlplane.kit.strict_json import read_struct
from controlplane.services import Services


class CommitController(Controller):
    path = "/api/v1/environments/{environment:str}/commits"
    tags = ("commits",)

    @post(
        "/",
        operation_id="commit",
        opt={"action": Action.EDIT, "body": CommitInput},
        request_max_body_size=MAX_DOCUMENT_BYTES,
    )
    async def commit(
        self,
        environment: FromPath[str],
        body: RawBody,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> Tagged[CommitOutput]:
        """All operations as one revision, or none. Refused unless the whole environment still compiles."""
        data = read_struct(body, CommitInput)
        ops = data.operations()
        with pointing_into(OPERATIONS, ops):
            commit = await services.changes.commit(
                actor,
                environment,
                ops,
                data.message,
                expected_revision=conditions.expected_revision,
                idempotency_key=conditions.idempotency_key,
            )
        warnings = await warnings_of(services, actor, environment, ops)
        return tagged(CommitOutput.of(commit, warnings), commit)

    @post(
        "/preview",
        operation_id="preview_commit",
        status_code=200,
        opt={"action": Action.EDIT, "body": CommitInput},
        request_max_body_size=MAX_DOCUMENT_BYTES,
    )
    async def preview(
        self,
        environment: FromPath[str],
        body: RawBody,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> PreviewOutput:
        """What the commit would do now, faults included. Writes nothing."""
        ops = read_struct(body, CommitInput).operations()
        preview = await services.changes.preview(actor, environment, ops)
        warnings = await warnings_of(services, actor, environment, ops)
        return PreviewOutput.of(preview, relocated(preview.faults, OPERATIONS, ops), warnings)


class HistoryController(Controller):
    path = "/api/v1/environments/{environment:str}/history"
    tags = ("history",)

    @get("/", operation_id="list_history", opt={"action": Action.READ})
    async def list_history(
        self,
        *,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        before: Before = None,
        limit: FromQuery[Limit] = 50,
        author: FromQuery[str | None] = None,
        kind: FromQuery[str | None] = None,
        key: FromQuery[str | None] = None,
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
    ) -> History:
        """Commits, the newest first; all filters hold."""
        found = await services.reads.commits(
            actor,
            environment,
            before=before,
            limit=limit,
            author=author,
            kind=kind,
            key=key,
            since=utc("since", since) if since else None,
            until=utc("until", until) if until else None,
        )
        following = found[-1].revision if len(found) == limit and found[-1].revision > 1 else None
        return History(tuple(map(LoggedCommitOutput.of, found)), following)

    @get("/verify", operation_id="verify_history", opt={"action": Action.READ})
    async def verify(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> VerificationOutput:
        """Recomputes the hash chain and every signature from the first revision to the head."""
        return VerificationOutput.of(await services.reads.verify(actor, environment))

    @get("/diff", operation_id="diff", opt={"action": Action.READ})
    async def diff(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        start: Annotated[int, QueryParameter(ge=0, le=MAX_NUMBER, name="from", description="One revision.")],
        end: Annotated[
            int, QueryParameter(ge=0, le=MAX_NUMBER, name="to", description="The other, which may lie before it.")
        ],
    ) -> DiffOutput:
        """Every resource that differs between two revisions, in either direction."""
        return DiffOutput.of(await services.reads.diff(actor, environment, start, end))

    @get("/{revision:int}", operation_id="get_commit", opt={"action": Action.READ})
    async def get_commit(
        self,
        environment: FromPath[str],
        revision: FromPath[int],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> CommitOutput:
        """A commit with every resource before and after."""
        return CommitOutput.of(await services.reads.commit(actor, environment, revision))

    @post("/{revision:int}/restore", operation_id="restore", status_code=200, opt={"action": Action.EDIT})
    async def restore(
        self,
        *,
        environment: FromPath[str],
        revision: FromPath[int],
        data: JSONBody[RestoreInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> Tagged[CommitOutput]:
        """A new commit that brings resources back to what they were. Safe mode stays as it is now."""
        commit = await services.restores.restore(
            actor,
            environment,
            revision,
            refs=data.references(),
            message=data.message,
            expected_revision=conditions.expected_revision,
            idempotency_key=conditions.idempotency_key,
        )
        return tagged(CommitOutput.of(commit), commit)
