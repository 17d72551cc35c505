"""Safe mode: on, longer, off, and what it would do."""

from typing import Annotated, Any

from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from controlplane.access.actor import Action, Actor
from controlplane.contract.safemode import SafeModeHistory, SafeModeStatus, SwitchedOutput
from controlplane.emergency import values as emergency
from controlplane.errors import UnavailableError
from controlplane.http.conditions import Conditions
from controlplane.http.guard import by_log, operator_of, pass_of
from controlplane.http.parameters import Before
from controlplane.kit.tasks import give_up_after
from controlplane.safemode.request import ActivationRequest, ExtensionRequest, LiftRequest
from controlplane.safemode.service import Switched
from controlplane.safemode.values import ActiveActivation, BlastRadius
from controlplane.services import Services

DELIVERY_S = 1.0
"""How long an answer waits for the fleet at most."""

PATIENCE_S = 0.5
"""How long Postgres may take before an emergency begins. A commit whose outcome is unknown is made once:
the emergency has the key that the commit would have had."""


class SafeModeController(Controller):
    path = "/api/v1/environments/{environment:str}/safe-mode"
    tags = ("safe mode",)

    @get("/", operation_id="get_safe_mode", opt={"action": Action.READ, "emergency": True})
    async def status(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> SafeModeStatus:
        """What is switched on, the soonest to end first. Without Postgres: by what this replica read last."""
        try:
            wait_s = PATIENCE_S if services.emergency.can_act() else None
            revision, logged = await give_up_after(_logged(services, actor, environment), wait_s)
            active = (*logged, *services.emergency.active(environment))
        except (UnavailableError, TimeoutError):
            revision, active = services.emergency.last_known(actor, environment)
        active = tuple(sorted(active, key=lambda each: each.expires_at))
        return SafeModeStatus(revision, bool(active), sum(a.overdue for a in active), active)

    @post("/activations", operation_id="activate_safe_mode", opt={"action": Action.SAFE_MODE, "emergency": True})
    async def activate(
        self,
        *,
        request: Request[Any, Any, Any],
        environment: FromPath[str],
        data: JSONBody[ActivationRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Switches a profile on, or with `exclude_providers` the profile that excludes them, made on the way. One commit; `delivery` says how far it came within a second. While Postgres is unavailable, a request with an operator pass switches it on for at most an hour, and `notice` says so."""
        once = conditions.idempotency_key
        key = services.safe_mode.new_key(actor, once)
        try:
            work = services.safe_mode.activate(actor, environment, data, idempotency_key=once, key=key)
            done = await give_up_after(by_log(request, work), patience_s(request, services))
        except (UnavailableError, TimeoutError):
            operator = operator_of(request, services)
            return await _carried(services, await services.emergency.activate(operator, environment, data, key))
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
        opt={"action": Action.SAFE_MODE, "emergency": True},
    )
    async def extend(
        self,
        *,
        request: Request[Any, Any, Any],
        environment: FromPath[str],
        key: FromPath[str],
        data: JSONBody[ExtensionRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Moves its end, counted from now. With If-Match: unless it was changed after that revision. An emergency activation is renewed for another hour at most."""
        if services.emergency.carries(environment, key):
            return await _carried(services, await services.emergency.renew(actor, environment, key, data))
        try:
            work = services.safe_mode.extend(actor, environment, key, data, seen=conditions.seen)
            done = await give_up_after(by_log(request, work), patience_s(request, services))
        except (UnavailableError, TimeoutError):
            operator = operator_of(request, services)
            return await _carried(services, await services.emergency.renew(operator, environment, key, data))
        return await _switched(services, environment, done)

    @post(
        "/activations/{key:str}/lift",
        operation_id="lift_safe_mode",
        status_code=200,
        opt={"action": Action.SAFE_MODE, "emergency": True},
    )
    async def lift(
        self,
        *,
        request: Request[Any, Any, Any],
        environment: FromPath[str],
        key: FromPath[str],
        data: JSONBody[LiftRequest],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
    ) -> SwitchedOutput:
        """Switches it off. What other activations tighten stays tight. With If-Match: unless it was changed since. While Postgres is unavailable, only emergency activations can be lifted."""
        if services.emergency.carries(environment, key):
            return await _lifted(services, await services.emergency.lift(actor, environment, key, data.reason))
        try:
            work = services.safe_mode.lift(actor, environment, key, data.reason, seen=conditions.seen)
            done = await give_up_after(by_log(request, work), patience_s(request, services))
        except (UnavailableError, TimeoutError):
            operator = operator_of(request, services)
            return await _lifted(services, await services.emergency.lift(operator, environment, key, data.reason))
        return await _switched(services, environment, done)


def patience_s(request: Request[Any, Any, Any], services: Services) -> float | None:
    """How long Postgres may take: half a second where there is another way."""
    return PATIENCE_S if pass_of(request, services) and services.emergency.can_act() else None


async def _logged(services: Services, actor: Actor, environment: str) -> tuple[int, tuple[ActiveActivation, ...]]:
    head = await services.reads.head(actor, environment)
    return head.revision, await services.safe_mode.active(actor, environment)


async def _carried(services: Services, done: emergency.Switched, *, on: bool = True) -> SwitchedOutput:
    """Waits a moment for the fleet to say that it applies it, or no longer does."""
    applied, live = await services.telemetry.fleet.carried(done.environment, done.key, DELIVERY_S, on=on)
    return SwitchedOutput.in_emergency(done, emergency.Carried(applied, live))


async def _lifted(services: Services, done: emergency.Switched) -> SwitchedOutput:
    return await _carried(services, done, on=False)


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
