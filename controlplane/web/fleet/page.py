"""The fleet: every instance, laggards first, and which revisions they decide with."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.model.levels import LEVEL
from controlplane.access.actor import Action
from controlplane.telemetry.values import Outside
from controlplane.web.fleet.health import HealthPart, health_part
from controlplane.web.kit.frame import Frame, Tone
from controlplane.web.kit.framing import url
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import clock_off, span
from controlplane.web.safe_mode.convergence import CUT_OFF
from controlplane.web.safe_mode.panel import FleetNow, fleet_now

PAGE = 100

ORIGINS = {"emergency": "emergency activation", "envelope": "sealed envelope", "host": "switched on at its host"}


def outside_words(found: Outside) -> str:
    """`contain (switched on at its host): the bill explodes`."""
    return f"{found.profile} ({ORIGINS.get(found.origin, found.origin)}): {found.reason}"


def reads(level: int) -> str:
    """Only where an SDK is older than this control plane, which then must leave out or refuse what it cannot read."""
    return "" if level >= LEVEL else f"reads level {level} of {LEVEL}"


class InstanceRow(msgspec.Struct, frozen=True):
    instance: str
    service: str
    sdk_version: str
    reads: str
    """What its SDK cannot read, when that is anything."""
    revision: int
    behind: str
    state: str
    tone: Tone
    age: str
    clock: str
    last_seen_at: datetime
    live: bool
    safe_mode: tuple[str, ...] = ()
    """Safe mode that this instance applies and that is in no commit."""


class RevisionBar(msgspec.Struct, frozen=True):
    """So many live instances decide with this revision; `share` is between 0 and 1."""

    revision: int
    instances: int
    share: float
    head: bool


REASONS = {
    "malformed": "Not a message of an SDK",
    "too_large": "Larger than any message of an SDK",
    "instance": "Names another instance than its sender",
    "shrinks": "Totals went down",
    "restarts": "Too many counters under one instance name",
    "instances": "More instances than the key may have",
    "bytes_per_minute": "More data a minute than the key may send",
    "not_stored": "The database did not take it",
}
"""What controlplane/telemetry/boundary.py calls by these names."""


class RefusedRow(msgspec.Struct, frozen=True):
    """Messages of one SDK key that were not counted."""

    reason: str
    messages: int
    key: str
    instance: str
    last_at: datetime


class FleetPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "fleet/fleet.html"

    frame: Frame
    fleet: FleetNow
    health: HealthPart
    bars: tuple[RevisionBar, ...]
    rows: tuple[InstanceRow, ...]
    refused: tuple[RefusedRow, ...]
    next_href: str
    first_href: str
    keys_href: str
    """Where SDK keys are made; empty for whom they are none of their business."""


class FleetController(Controller):
    path = "/e/{environment:str}/fleet"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(
        self, visit: NamedDependency[Visit], environment: FromPath[str], after: FromQuery[str] = ""
    ) -> Response[Any]:
        frame = await visit.frame(environment, "fleet")
        fleet = visit.services.telemetry.fleet
        summary = fleet.summary(visit.actor, environment)
        found = fleet.instances(visit.actor, environment, after=after, limit=PAGE + 1)
        page = found[:PAGE]
        refused = await visit.services.telemetry.refused(visit.actor, environment)
        most = max((each.instances for each in summary.revisions), default=1)
        return visit.page(
            FleetPage(
                frame=frame,
                fleet=fleet_now(visit, environment),
                health=health_part(visit, environment),
                bars=tuple(
                    RevisionBar(each.revision, each.instances, each.instances / most, each.revision >= summary.head)
                    for each in summary.revisions
                ),
                rows=tuple(
                    InstanceRow(
                        instance=each.instance,
                        service=each.service,
                        sdk_version=each.sdk_version,
                        reads=reads(each.schema_level),
                        revision=each.revision,
                        behind=f"{each.behind} behind" if each.behind else "",
                        state=each.state.lower().replace("_", " ") if each.live else "gone",
                        tone="degraded" if each.live and (each.lagging or each.state in CUT_OFF) else "",
                        age=span(each.age_s),
                        clock=clock_off(each.clock_skew_s),
                        last_seen_at=each.last_seen_at,
                        live=each.live,
                        safe_mode=tuple(outside_words(one) for one in each.outside),
                    )
                    for each in page
                ),
                refused=tuple(
                    RefusedRow(
                        REASONS.get(each.reason, each.reason), each.messages, each.key, each.instance, each.last_at
                    )
                    for each in refused.items
                ),
                next_href=url(environment, "fleet", after=page[-1].instance) if len(found) > PAGE else "",
                first_href=url(environment, "fleet") if after else "",
                keys_href=url(environment, "access", "keys") if visit.may(Action.MANAGE_KEYS, environment) else "",
            )
        )
