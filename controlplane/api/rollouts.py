"""Rollouts over HTTP: see them, start them, move them by hand."""

from litestar import Controller, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, RawBody

from controlplane.access.actor import Action, Actor
from controlplane.contract.dto import CommitOutput, Input, Json
from controlplane.http.conditions import Conditions
from controlplane.kit.strict_json import read_struct
from controlplane.rollouts.values import Moved, RolloutList, RolloutView
from controlplane.services import Services


class RolloutInput(Input, frozen=True):
    """`spec` is a rollout without its progress."""

    spec: Json
    reason: str = ""


class NewRolloutInput(RolloutInput, frozen=True):
    """With `start` it runs in the commit that creates it."""

    start: bool = False


class MoveInput(Input, frozen=True):
    """Why, for the next person who asks."""

    reason: str


class RolloutController(Controller):
    path = "/api/v1/environments/{environment:str}/rollouts"
    tags = ("rollouts",)

    @get("/", operation_id="list_rollouts", opt={"action": Action.READ})
    async def list_rollouts(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> RolloutList:
        """List rollouts, the running ones first."""
        return await services.rollouts.list(actor, environment)

    @get("/{key:str}", operation_id="get_rollout", opt={"action": Action.READ})
    async def get_rollout(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> RolloutView:
        """Stages, evidence against thresholds over time, what happens next and why it waits."""
        return await services.rollouts.get(actor, environment, key)

    @put("/{key:str}", operation_id="create_rollout", opt={"action": Action.ROLLOUT, "body": NewRolloutInput})
    async def create_rollout(
        self,
        *,
        environment: FromPath[str],
        key: FromPath[str],
        body: RawBody,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> CommitOutput:
        """A draft, which serves nothing differently; with `start` it runs at once. Refused when there is one already."""
        data = read_struct(body, NewRolloutInput)
        commit = await services.rollouts.create(
            actor, environment, key, bytes(data.spec), data.reason, start=data.start
        )
        return CommitOutput.of(commit)

    @put("/{key:str}/definition", operation_id="edit_rollout", opt={"action": Action.ROLLOUT, "body": RolloutInput})
    async def edit_rollout(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        body: RawBody,
        *,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> CommitOutput:
        """Another definition for a rollout that serves no one: it is a draft again. `If-Match` holds the revision read."""
        data = read_struct(body, RolloutInput)
        commit = await services.rollouts.edit(
            actor, environment, key, bytes(data.spec), data.reason, expected_revision=conditions.expected_revision
        )
        return CommitOutput.of(commit)

    @post("/{key:str}/{step:str}", operation_id="move_rollout", opt={"action": Action.ROLLOUT})
    async def move_rollout(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        step: FromPath[str],
        *,
        data: JSONBody[MoveInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Moved:
        """`start`, `restart`, `pause`, `resume`, `advance`, `finish`, `roll-back`, `abort` or `delete`, with a reason."""
        return await services.rollouts.move(actor, environment, key, step, data.reason)
