"""Switching safe mode while Postgres is away: a page from memory alone, with nothing on it that needs the database."""

import secrets
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action, Actor
from controlplane.errors import BrownoutError
from controlplane.http.guard import operator_of, pass_of
from controlplane.safemode.request import ActivationRequest
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit

PATIENCE_S = 0.5
"""How long Postgres may take before the page from memory is shown."""

FLEET_S = 1.0
DURATIONS = (Option("900", "15 min"), Option("1800", "30 min"), Option("3600", "1 h"))


class CarriedRow(msgspec.Struct, frozen=True):
    """An activation that the fleet carries. `says`: how many instances say that they apply it."""

    key: str
    profile: str
    reason: str
    actor: str
    ends_at: datetime
    says: str


class EmergencyPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "safe_mode/emergency.html"

    environment: str
    now: datetime
    profiles: tuple[str, ...]
    profile: str
    durations: tuple[Option, ...]
    for_s: str
    reason: str
    errors: dict[str, str]
    notice: str
    rows: tuple[CarriedRow, ...]
    csrf: str
    token: str
    action: str
    lift_action: str
    back: str


class EmergencyForm(msgspec.Struct, frozen=True):
    profile: str = ""
    for_s: str = "1800"
    reason: str = ""
    token: str = ""


class EmergencyController(Controller):
    path = "/e/{environment:str}/safe-mode/emergency"
    include_in_schema = False

    @get(opt={"action": Action.SAFE_MODE, "emergency": True})
    async def show(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return page(visit, environment, EmergencyForm())

    @post("/lift", opt={"action": Action.SAFE_MODE, "emergency": True}, status_code=200)
    async def lift(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        key = dict(await visit.form()).get("key", "")
        try:
            done = await visit.services.emergency.lift(visit.actor, environment, key)
        except BrownoutError as error:
            return page(visit, environment, EmergencyForm(), errors={"key": await visit.refusal(error)})
        await visit.services.telemetry.fleet.carried(environment, key, FLEET_S, on=False)
        return page(visit, environment, EmergencyForm(), notice=done.notice)


def patience_s(visit: Visit) -> float | None:
    """How long Postgres may take: as long as it wants where there is no other way."""
    return PATIENCE_S if pass_of(visit.request, visit.services) and visit.services.emergency.can_act() else None


async def activate(visit: Visit, environment: str, request: ActivationRequest, token: str) -> Response[Any]:
    """Switches on without the database. The token gives the activation the key that its commit would have had."""
    services, operator = visit.services, operator_of(visit.request, visit.services)
    form = EmergencyForm(request.profile, str(request.for_s or 1800), request.reason, token)
    key = services.safe_mode.new_key(operator, f"console-{token}" if token else None)
    try:
        done = await services.emergency.activate(operator, environment, request, key)
    except BrownoutError as error:
        errors = {_field(fault.pointer): fault.message for fault in error.faults}
        return page(visit, environment, form, errors=errors or {"reason": await visit.refusal(error)})
    await services.telemetry.fleet.carried(environment, done.key, FLEET_S)
    return page(visit, environment, EmergencyForm(), notice=done.notice)


def page(
    visit: Visit, environment: str, form: EmergencyForm, *, notice: str = "", errors: dict[str, str] | None = None
) -> Response[Any]:
    """Raises UnavailableError when this replica knows nothing of the environment."""
    services, actor = visit.services, visit.actor
    profiles = services.emergency.profiles(actor, environment)
    view = EmergencyPage(
        environment=environment,
        now=visit.now,
        profiles=profiles,
        profile=form.profile or ("contain" if "contain" in profiles else next(iter(profiles), "")),
        durations=DURATIONS,
        for_s=form.for_s if form.for_s in {each.value for each in DURATIONS} else DURATIONS[-1].value,
        reason=form.reason,
        errors=errors or {},
        notice=notice,
        rows=_rows(visit, environment),
        csrf=_csrf(visit, actor),
        token=form.token or secrets.token_hex(16),
        action=url(environment, "safe-mode", "activate"),
        lift_action=url(environment, "safe-mode", "emergency", "lift"),
        back=url(environment, "safe-mode"),
    )
    return visit.page(view, 422 if errors else 200)


def _field(pointer: str) -> str:
    """The form's field where a fault is shown. What the form has no field for came from the activate page."""
    name = pointer.strip("/").partition("/")[0]
    return name if name in {"profile", "for_s", "reason"} else "profile"


def _rows(visit: Visit, environment: str) -> tuple[CarriedRow, ...]:
    services = visit.services
    rows = []
    for each in services.emergency.active(environment):
        applied, live = services.telemetry.fleet.applying(environment, each.key)
        says = f"{applied} of {live} live instances say that they apply it" if live else "no instance is live"
        rows.append(CarriedRow(each.key, each.profile, each.reason, each.actor, each.expires_at, says))
    return tuple(rows)


def _csrf(visit: Visit, actor: Actor) -> str:
    return visit.services.access.csrf.token(actor.credential) if actor.kind == "person" else ""
