"""The audit log: read, exported, verified."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from controlplane.access.actor import Action, Actor
from controlplane.access.audit import AuditProof
from controlplane.access.values import Event
from controlplane.contract.access import AuditPage
from controlplane.http.parameters import MAX_NUMBER, Before, Limit
from controlplane.services import Services


class AuditController(Controller):
    path = "/api/v1/audit"
    tags = ("audit",)

    @get("/", operation_id="list_audit", opt={"action": Action.READ_AUDIT})
    async def list_events(
        self,
        *,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        before: Before = None,
        limit: FromQuery[Limit] = 100,
        event: FromQuery[Event | None] = None,
        who: FromQuery[str] = "",
        environment: FromQuery[str] = "",
    ) -> AuditPage:
        """Who did what, from where and why; the newest first."""
        items = await services.access.audit.list_events(
            actor, before=before, limit=limit, event=event, who=who, environment=environment
        )
        return AuditPage(items, items[-1].sequence if len(items) == limit else None)

    @get("/export", operation_id="export_audit", opt={"action": Action.READ_AUDIT}, media_type="application/jsonl")
    async def export(
        self,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        after: Annotated[int, QueryParameter(ge=0, le=MAX_NUMBER, description="Only lines after this sequence.")] = 0,
    ) -> Stream:
        """Everything as JSON lines, each with its place in the hash chain, so that a copy proves itself."""
        return Stream(await services.access.audit.export(actor, after=after), media_type="application/jsonl")

    @get("/verify", operation_id="verify_audit", opt={"action": Action.READ_AUDIT})
    async def verify(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> AuditProof:
        """Computes the whole chain again and names the first line that does not follow."""
        return await services.access.audit.verify(actor)
