"""The safe-mode panel: off with its one big control, or on with who, why, until when, and the fleet confirming it."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import ClassVar

import msgspec

from brownout.model.resources import SafeModeProfile, Scope
from controlplane.access.actor import Action
from controlplane.contract.specs import NEWER
from controlplane.errors import NotFoundError
from controlplane.safemode.values import ActiveActivation, Switch, describe_scope
from controlplane.telemetry.values import Delivery
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import FleetGroup
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Viewer
from controlplane.web.kit.words import ago, clock, seconds
from controlplane.web.safe_mode.convergence import (
    Convergence,
    convergence,
    fleet_groups,
    fleet_words,
    unpublished_words,
)
from controlplane.web.safe_mode.profiles import read_profiles
from controlplane.web.safe_mode.words import profile_words


class ActivationCard(msgspec.Struct, frozen=True):
    key: str
    profile: str
    does: str
    scope: str
    reason: str
    incident: str
    incident_href: str
    actor: str
    activated_at: datetime
    expires_at: datetime
    holds: bool
    overdue: bool
    banner: str
    lift_href: str
    extend_href: str


class SafePanel(msgspec.Struct, frozen=True):
    active: tuple[ActivationCard, ...]
    activate_href: str
    last: str
    history_href: str


class FleetNow(msgspec.Struct, frozen=True):
    """Where the fleet stands: the convergence of the latest commit while it is news, and a cell an instance."""

    words: str
    convergence: Convergence | None
    groups: tuple[FleetGroup, ...]
    revision: int
    unpublished: str
    """What NATS lacks, in a sentence; empty when it has the head."""
    href: str


class SafePanelPart(View, frozen=True, kw_only=True):
    """The panel by itself, as htmx swaps it in after a commit."""

    template: ClassVar[str] = "safe_mode/safe_panel.html"

    frame: Frame
    panel: SafePanel
    fleet: FleetNow


FRESH_S = 60
"""So long after a commit its convergence is what people look at."""


async def safe_panel(visit: Viewer, environment: str, active: Sequence[ActiveActivation]) -> SafePanel:
    profiles = await read_profiles(visit, environment) if active else {}
    may = visit.may(Action.SAFE_MODE, environment)
    last = ""
    if not active:
        switches, _ = await visit.services.safe_mode_history.list(visit.actor, environment, limit=1)
        last = _last_use(switches, visit.now)
    cards = []
    for each in active:
        profile = profiles.get(each.profile)
        cards.append(
            _card(environment, each, _does(each, profile),
                  profile.banner.text if profile and profile.banner else "", may=may)
        )  # fmt: skip
    return SafePanel(
        active=tuple(cards),
        activate_href=url(environment, "safe-mode", "activate") if may else "",
        last=last,
        history_href=url(environment, "safe-mode") + "#history",
    )


def _does(each: ActiveActivation, profile: SafeModeProfile | None) -> str:
    """What the profile does, and whether that is all that the activation says."""
    said = profile_words(profile) if profile else ""
    return f"{said} {NEWER}: this page shows what it can read.".strip() if each.newer else said


def _card(environment: str, each: ActiveActivation, does: str, banner: str, *, may: bool) -> ActivationCard:
    incident = each.incident or ""
    return ActivationCard(
        key=each.key,
        profile=each.profile,
        does=does,
        scope=describe_scope(each.scope),
        reason=each.reason,
        incident=incident,
        incident_href=incident if incident.startswith(("https://", "http://")) else "",
        actor=each.actor,
        activated_at=each.activated_at,
        expires_at=each.expires_at,
        holds=each.on_expiry == "hold",
        overdue=each.overdue,
        banner=banner,
        lift_href=url(environment, "safe-mode", each.key, "lift") if may else "",
        extend_href=url(environment, "safe-mode", each.key, "extend") if may else "",
    )


def _last_use(switches: tuple[Switch, ...], now: datetime) -> str:
    """One sentence about the last time, when there was one."""
    ended = next((switch for switch in switches if switch.what in {"off", "expired"}), None)
    if ended is None:
        return ""
    lasted = seconds(max(0.0, (ended.at - ended.activated_at).total_seconds()))
    how = f"lifted by {ended.by}" if ended.what == "off" else "lifted itself"
    return f"Last used {ago(ended.activated_at, now)} from {clock(ended.activated_at)} for {lasted}: {ended.profile}, {how}."


def fleet_now(
    visit: Viewer,
    environment: str,
    *,
    scope: Scope | None = None,
    since: datetime | None = None,
    revision: int = 0,
    known: Delivery | None = None,
) -> FleetNow:
    """`since` and `revision`: the click that the convergence is of; without, it is of the latest commit.

    `known` is what was written down of `revision`, for a replica that was not there.
    """
    fleet = visit.services.telemetry.fleet
    summary = fleet.summary(visit.actor, environment)
    instances = fleet.instances(visit.actor, environment, limit=10_000)
    spread = summary.convergence
    if revision:
        with suppress(NotFoundError):
            spread = fleet.spread(visit.actor, environment, revision)
    if spread and known and spread.revision == known.revision and spread.took_100_ms is None:
        spread = msgspec.structs.replace(
            spread, published_at=known.published_at, took_50_ms=known.took_50_ms, took_95_ms=known.took_95_ms,
            took_100_ms=known.took_100_ms,
        )  # fmt: skip
    found = convergence(spread, instances, visit.now, scope=scope, since=since, revision=revision)
    published = summary.convergence.published_at if summary.convergence else None
    fresh = published is not None and (visit.now - published).total_seconds() < FRESH_S
    return FleetNow(
        words=fleet_words(summary),
        convergence=found,
        groups=fleet_groups(instances, summary.head, fresh=fresh),
        revision=summary.head,
        unpublished="" if summary.is_published else unpublished_words(summary),
        href=url(environment, "fleet"),
    )
