"""The safe-mode page: what is on, what could be, what was; and lifting and extending."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action
from controlplane.errors import InvalidInputError
from controlplane.http.parameters import Before
from controlplane.safemode.request import ExtensionRequest
from controlplane.safemode.values import ActiveActivation, Switch, describe_scope
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Viewer, Visit, saved
from controlplane.web.kit.words import measured, number
from controlplane.web.safe_mode.panel import ActivationCard, FleetNow, SafePanel, SafePanelPart, fleet_now, safe_panel
from controlplane.web.safe_mode.profiles import ProfileCard, profile_cards

MAX_EXTENSIONS = 500
SAID = {"on": "switched on", "changed": "extended", "off": "lifted", "expired": "lifted itself"}
EXTENSIONS = (Option("1800", "30 min"), Option("3600", "1 h"), Option("14400", "4 h"))


class SwitchRow(msgspec.Struct, frozen=True):
    """One switch of the history. `took` is measured: how fast the fleet had it."""

    at: datetime
    what: str
    profile: str
    scope: str
    by: str
    reason: str
    incident: str
    revision: int
    href: str
    took: str


class SafeModePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "safe_mode/safe_mode.html"

    frame: Frame
    panel: SafePanel
    fleet: FleetNow
    profiles: tuple[ProfileCard, ...]
    new_profile_href: str
    switches: tuple[SwitchRow, ...]
    older_href: str
    panel_url: str


class LiftPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "safe_mode/lift.html"

    frame: Frame
    card: ActivationCard
    action: str
    back: str


class ExtendPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "safe_mode/extend.html"

    frame: Frame
    card: ActivationCard
    options: tuple[Option, ...]
    action: str
    back: str
    error: str


class SafeModeController(Controller):
    path = "/e/{environment:str}/safe-mode"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(
        self, visit: NamedDependency[Visit], environment: FromPath[str], before: Before = None
    ) -> Response[Any]:
        switches, following = await visit.services.safe_mode_history.list(
            visit.actor, environment, before=before, limit=20
        )
        frame = await visit.frame(environment, "safe-mode")
        active = await visit.services.safe_mode.active(visit.actor, environment)
        edit = visit.may(Action.EDIT, environment)
        return visit.page(
            SafeModePage(
                frame=frame,
                panel=await safe_panel(visit, environment, active),
                fleet=await panel_fleet(visit, environment, active),
                profiles=await profile_cards(visit, environment),
                new_profile_href=url(environment, "safe-mode-profiles", "new") if edit else "",
                switches=await _rows(visit, environment, switches),
                older_href=url(environment, "safe-mode", before=following) if following else "",
                panel_url=url(environment, "safe-mode", "panel"),
            )
        )

    @get("/panel", opt={"action": Action.READ})
    async def show_panel(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """The panel alone: a page asks for it when something was committed."""
        frame = await visit.frame(environment, "safe-mode")
        active = await visit.services.safe_mode.active(visit.actor, environment)
        panel = await safe_panel(visit, environment, active)
        fleet = await panel_fleet(visit, environment, active)
        return visit.page(SafePanelPart(frame=frame, panel=panel, fleet=fleet))

    @get("/{key:str}/lift", opt={"action": Action.SAFE_MODE})
    async def ask_lift(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        frame = await visit.frame(environment, "safe-mode")  # first: the card is at least as new as its revision
        card = await _card(visit, environment, key)
        return visit.page(LiftPage(frame=frame, card=card, action=card.lift_href, back=url(environment, "safe-mode")))

    @post("/{key:str}/lift", opt={"action": Action.SAFE_MODE}, status_code=200)
    async def lift(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        form = dict(await visit.form())
        done = await visit.services.safe_mode.lift(
            visit.actor, environment, key, form.get("reason", ""), seen=_seen(form)
        )
        return saved(environment, done.commit.revision, "safe-mode")

    @get("/{key:str}/extend", opt={"action": Action.SAFE_MODE})
    async def ask_extend(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        return await _extend_page(visit, environment, key, "")

    @post("/{key:str}/extend", opt={"action": Action.SAFE_MODE}, status_code=200)
    async def extend(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        """`for_s` counts from the present end, not from now: “extend by”."""
        form = dict(await visit.form())
        present = await visit.services.safe_mode.get(visit.actor, environment, key)
        more = number(form.get("for_s", ""))
        request = ExtensionRequest(for_s=round(present.left_s) + more, reason=form.get("reason", ""))
        try:
            done = await visit.services.safe_mode.extend(visit.actor, environment, key, request, seen=_seen(form))
        except InvalidInputError as error:
            return await _extend_page(visit, environment, key, error.message)
        return saved(environment, done.commit.revision, "safe-mode")


async def panel_fleet(visit: Viewer, environment: str, active: Sequence[ActiveActivation]) -> FleetNow:
    """The fleet as the panel shows it: while safe mode is on, how it got that, counted from the click."""
    if not active:
        return fleet_now(visit, environment)
    newest = max(active, key=lambda each: each.activated_at)
    commits = await visit.services.reads.commits(
        visit.actor, environment, kind="safe_mode_activation", key=newest.key, limit=MAX_EXTENSIONS
    )
    on = commits[-1].revision
    known = await visit.services.telemetry.fleet.deliveries(visit.actor, environment, [on])
    return fleet_now(
        visit, environment, scope=newest.scope, since=newest.activated_at, revision=on, known=known.get(on)
    )


async def _card(visit: Visit, environment: str, key: str) -> ActivationCard:
    found = await visit.services.safe_mode.get(visit.actor, environment, key)  # says that it was lifted, when it was
    panel = await safe_panel(visit, environment, [found])
    return next(card for card in panel.active if card.key == key)


def _seen(form: Mapping[str, str]) -> int | None:
    """The environment's revision when the dialog was opened."""
    return number(form["seen"]) if form.get("seen") else None


async def _extend_page(visit: Visit, environment: str, key: str, error: str) -> Response[Any]:
    frame = await visit.frame(environment, "safe-mode")
    card = await _card(visit, environment, key)
    back = url(environment, "safe-mode")
    page = ExtendPage(frame=frame, card=card, options=EXTENSIONS, action=card.extend_href, back=back, error=error)
    return visit.page(page, 422 if error else 200)


async def _rows(visit: Visit, environment: str, switches: tuple[Switch, ...]) -> tuple[SwitchRow, ...]:
    deliveries = await visit.services.telemetry.fleet.deliveries(
        visit.actor, environment, [switch.revision for switch in switches]
    )
    rows = []
    for switch in switches:
        found = deliveries.get(switch.revision)
        clicked = switch.activated_at if switch.what == "on" else switch.at
        late_s = max(0.0, (found.published_at - clicked).total_seconds()) if found else 0.0
        took = " · ".join(
            f"{label} {measured(ms / 1000 + late_s)}"
            for label, ms in (
                ("50 %", found.took_50_ms), ("95 %", found.took_95_ms), ("100 %", found.took_100_ms),
            )
            if ms is not None
        ) if found else ""  # fmt: skip
        rows.append(
            SwitchRow(
                switch.at, SAID[switch.what], switch.profile, describe_scope(switch.scope), switch.by, switch.reason,
                switch.incident or "", switch.revision, url(environment, "history", str(switch.revision)), took,
            )
        )  # fmt: skip
    return tuple(rows)
