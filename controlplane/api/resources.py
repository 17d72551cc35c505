"""Resources by kind: the same five routes for each, over the commit path."""

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, RawBody

from brownout.model.kinds import KINDS
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor
from controlplane.contract.dto import CommitOutput, Ref, Refs, ResourceOutput, ResourcePage
from controlplane.contract.kinds import edited, words
from controlplane.contract.pointers import RESOURCE, pointing_into
from controlplane.http.conditions import Conditions, Tagged, tagged
from controlplane.http.parameters import Limit
from controlplane.http.warnings import warnings_of
from controlplane.services import Services

Message = Annotated[str, QueryParameter(description="Why; history shows it.", max_length=2000)]


def resource_controller(kind: str, segment: str) -> type[Controller]:
    """The controller of one kind, e.g. `flag` under `/flags`."""
    plural = segment.replace("-", "_")

    class ResourceController(Controller):
        path = f"/api/v1/environments/{{environment:str}}/{segment}"
        tags = (segment,)

        @get("/", operation_id=f"list_{plural}", opt={"action": Action.READ})
        async def list_resources(
            self,
            *,
            environment: FromPath[str],
            services: NamedDependency[Services],
            actor: NamedDependency[Actor],
            search: Annotated[str, QueryParameter(description="Words of the key, description, owner or tags.")] = "",
            tag: FromQuery[list[str] | None] = None,
            type_: Annotated[str, QueryParameter(name="type", description="Of flags only.")] = "",
            after: Annotated[str, QueryParameter(description="`next` of the page before.")] = "",
            limit: FromQuery[Limit] = 100,
        ) -> ResourcePage:
            """A page in order of keys."""
            page = await services.reads.resources(
                actor, environment, kind, search=search, tags=tag or (), type=type_, after=after, limit=limit
            )
            return ResourcePage(tuple(map(ResourceOutput.of, page.items)), page.next)

        @get("/{key:str}", operation_id=f"get_{kind}", opt={"action": Action.READ})
        async def get_resource(
            self,
            environment: FromPath[str],
            key: FromPath[str],
            services: NamedDependency[Services],
            actor: NamedDependency[Actor],
        ) -> Tagged[ResourceOutput]:
            """One resource; the ETag is the environment's revision: send it back as If-Match."""
            head = await services.reads.head(actor, environment)
            found = await services.reads.resource(actor, environment, kind, key)
            return tagged(ResourceOutput.of(found), head)

        @get("/{key:str}/dependants", operation_id=f"list_{kind}_dependants", opt={"action": Action.READ})
        async def list_dependants(
            self,
            environment: FromPath[str],
            key: FromPath[str],
            services: NamedDependency[Services],
            actor: NamedDependency[Actor],
        ) -> Refs:
            """The resources that name it. It cannot be deleted while there are any."""
            return Refs(tuple(map(Ref.of, await services.reads.dependants(actor, environment, kind, key))))

        @put("/{key:str}", operation_id=f"put_{kind}", opt={"action": Action.EDIT, "body": KINDS[kind].struct})
        async def put_resource(
            self,
            *,
            environment: FromPath[str],
            key: FromPath[str],
            body: RawBody,
            services: NamedDependency[Services],
            actor: NamedDependency[Actor],
            conditions: NamedDependency[Conditions],
            message: FromQuery[Message] = "",
        ) -> Tagged[CommitOutput]:
            """Creates or replaces it, as one commit. The answer says what becomes different."""
            op = Operation("put", kind, key, msgspec.Raw(body))
            return await _commit(
                services,
                actor,
                environment,
                op=op,
                message=message or f"Put {words(kind)} {key}",
                conditions=conditions,
            )

        @delete("/{key:str}", operation_id=f"delete_{kind}", status_code=200, opt={"action": Action.EDIT})
        async def delete_resource(
            self,
            *,
            environment: FromPath[str],
            key: FromPath[str],
            services: NamedDependency[Services],
            actor: NamedDependency[Actor],
            conditions: NamedDependency[Conditions],
            message: FromQuery[Message] = "",
        ) -> Tagged[CommitOutput]:
            """Deletes it, as one commit; refused while anything names it."""
            await services.reads.resource(actor, environment, kind, key)
            op = Operation("del", kind, key)
            return await _commit(
                services,
                actor,
                environment,
                op=op,
                message=message or f"Delete {words(kind)} {key}",
                conditions=conditions,
            )

    ResourceController.__name__ = ResourceController.__qualname__ = f"{kind.title().replace('_', '')}Controller"
    return ResourceController


async def _commit(
    services: Services, actor: Actor, environment: str, *, op: Operation, message: str, conditions: Conditions
) -> Tagged[CommitOutput]:
    with pointing_into(RESOURCE, (op,)):
        commit = await services.changes.commit(
            actor,
            environment,
            (op,),
            message,
            expected_revision=conditions.at,
            bases=conditions.bases(op.kind, op.key),
            idempotency_key=conditions.idempotency_key,
        )
    warnings = await warnings_of(services, actor, environment, (op,))
    return tagged(CommitOutput.of(commit, warnings), commit)


def resource_controllers() -> tuple[type[Controller], ...]:
    """One for each kind that people edit."""
    return tuple(resource_controller(kind, row.path) for kind, row in edited().items())
