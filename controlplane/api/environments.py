"""Environments, and everything inside one at once."""

from litestar import Controller, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from controlplane.access.actor import Action, Actor
from controlplane.configuration.store.values import Environment
from controlplane.contract.dto import EnvironmentChange, EnvironmentInput, EnvironmentOutput, Environments, StateOutput
from controlplane.http.conditions import Tagged, tagged
from controlplane.http.parameters import Revision
from controlplane.services import Services


class EnvironmentController(Controller):
    path = "/api/v1/environments"
    tags = ("environments",)

    @get("/", operation_id="list_environments", opt={"action": Action.READ})
    async def list_environments(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Environments:
        """The environments that you may read."""
        return Environments(tuple(map(_output, await services.reads.environments(actor))))

    @post("/", operation_id="create_environment", opt={"action": Action.MANAGE_ENVIRONMENT})
    async def create_environment(
        self, data: JSONBody[EnvironmentInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> EnvironmentOutput:
        """A new environment, with the standard safe-mode profiles and failure modes in it."""
        return _output(await services.environments.create(actor, data.key, data.name or data.key))

    @get("/{environment:str}", operation_id="get_environment", opt={"action": Action.READ})
    async def get_environment(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Tagged[EnvironmentOutput]:
        """One environment; its ETag is its revision."""
        found = await services.reads.environment(actor, environment)
        return Tagged(_output(found), found.revision)

    @patch("/{environment:str}", operation_id="change_environment", opt={"action": Action.MANAGE_ENVIRONMENT})
    async def change_environment(
        self,
        environment: FromPath[str],
        data: JSONBody[EnvironmentChange],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> EnvironmentOutput:
        """Whether it counts as production. No commit: nothing that an SDK decides depends on it."""
        await services.environments.mark(actor, environment, production=data.production)
        return _output(await services.reads.environment(actor, environment))

    @get("/{environment:str}/state", operation_id="get_state", opt={"action": Action.READ})
    async def get_state(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        revision: Revision = None,
    ) -> Tagged[StateOutput]:
        """Every resource, at the head or at any earlier revision."""
        state = await services.reads.state(actor, environment, revision)
        return tagged(StateOutput.of(state), state.head)


def _output(found: Environment) -> EnvironmentOutput:
    return EnvironmentOutput(found.key, found.name, found.epoch, found.revision, found.created_at, found.production)
