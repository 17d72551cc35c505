"""Safe mode: on, longer, off, and what it would do."""

from typing import Annotated

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from controlplane.access.actor import Action, Actor
from controlplane.contract.safemode import SafeModeHistory, SafeModeStatus, SwitchedOutput
from controlplane.http.conditions import Conditions
from controlplane.http.parameters import Before
from controlplane.safemode.request import ActivationRequest, ExtensionRequest, LiftRequest
from controlplane.safemode.service import Switched
from controlplane.safemode.values import ActiveActivation, BlastRadius
from controlplane.services import Services

DELIVERY_S = 1.0
"""How long an answer waits for the fleet at most."""


class SafeModeController(Controller):
    path = "/api/v1/environments/{environment:str}/safe-mode"
    tags = ("safe mode",)

    @get("/", operation_id="get_safe_mode", opt={"action": Action.READ})
    async def status(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> SafeModeStatus:
        """What is switched on, the soonest to end first."""
        head = await services.reads.head(actor, environment)
        active = await services.safe_mode.active(actor, environment)
        return SafeModeStatus(head.revision, bool(active), sum(a.overdue for a in active), active)

    @post("/activations", operation_id="activate_safe_mode", opt={"action": Action.SAFE_MODE})
    async def activate(
        self,
        environment: FromPath[str],
        data: JSONBody[ActivationRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Switches a profile on, or with `exclude_providers` the profile that excludes them, made on the way. One commit; `delivery` says how far it came within a second."""
        done = await services.safe_mode.activate(actor, environment, data, idempotency_key=conditions.idempotency_key)
        return await _switched(services, environment, done, await _warnings(services, actor, environment, done))

    @post("/preview", operation_id="preview_safe_mode", status_code=200, opt={"action": Action.READ})
    async def preview(
        self,
        environment: FromPath[str],
        data: JSONBody[ActivationRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> BlastRadius:
        """The blast radius: who is touched, and each policy now → then. Reason and end may be left out."""
        return await services.safe_mode_preview.preview(actor, environment, data)

    @get("/history", operation_id="list_safe_mode_history", opt={"action": Action.READ})
    async def history(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        before: Before = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    ) -> SafeModeHistory:
        """Every switch that was made, the newest first, derived from commits."""
        items, following = await services.safe_mode_history.list(actor, environment, before=before, limit=limit)
        return SafeModeHistory(items, following)

    @get("/activations/{key:str}", operation_id="get_activation", opt={"action": Action.READ})
    async def get_activation(
        self,
        environment: FromPath[str],
        key: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ActiveActivation:
        """One activation that is on."""
        return await services.safe_mode.get(actor, environment, key)

    @post(
        "/activations/{key:str}/extend",
        operation_id="extend_safe_mode",
        status_code=200,
        opt={"action": Action.SAFE_MODE},
    )
    async def extend(
        self,
        *,
        environment: FromPath[str],
        key: FromPath[str],
        data: JSONBody[ExtensionRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Moves its end, counted from now. With If-Match: unless it was changed after that revision."""
        done = await services.safe_mode.extend(actor, environment, key, data, seen=conditions.seen)
        return await _switched(services, environment, done)

    @post(
        "/activations/{key:str}/lift", operation_id="lift_safe_mode", status_code=200, opt={"action": Action.SAFE_MODE}
    )
    async def lift(
        self,
        *,
        environment: FromPath[str],
        key: FromPath[str],
        data: JSONBody[LiftRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Switches it off. What other activations tighten stays tight. With If-Match: unless it was changed since."""
        done = await services.safe_mode.lift(actor, environment, key, data.reason, seen=conditions.seen)
        return await _switched(services, environment, done)


async def _warnings(services: Services, actor: Actor, environment: str, done: Switched) -> tuple[str, ...]:
    """Names of what was switched on that match nothing."""
    spec = done.spec
    return await services.safe_mode_warnings.of_activation(actor, environment, spec.profile, spec.scope)


async def _switched(
    services: Services, environment: str, done: Switched, warnings: tuple[str, ...] = ()
) -> SwitchedOutput:
    """Waits a moment for the fleet: the commit is safe already, and this says who has it."""
    delivery = await services.telemetry.fleet.delivered(environment, done.commit.revision, DELIVERY_S)
    return SwitchedOutput.of(done, delivery, warnings)
