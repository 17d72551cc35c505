"""The overview. It answers, in this order: are we in safe mode, did the fleet get it, what changed, what to do."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from brownout.model.resources import RequestClass
from controlplane.access.actor import Action
from controlplane.configuration.store.values import Resource
from controlplane.contract.specs import NEWER, find_spec
from controlplane.rollouts.values import RolloutSummary
from controlplane.telemetry.values import ClassSignals
from controlplane.web.history.pages import commit_lines
from controlplane.web.kit.frame import Frame, Tone
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import CommitLine, SignalCell, sparkline
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Viewer, Visit
from controlplane.web.kit.words import basis_points, sentence, short, words
from controlplane.web.safe_mode.page import panel_fleet
from controlplane.web.safe_mode.panel import FleetNow, SafePanel, safe_panel

COMMITS = 10
MAX_CLASSES = 30
WARN = {"error_share": 0.02, "fallback_share": 0.05, "refusal_share": 0.05}
OPEN_STATES = {"running", "paused"}
STATE_TONES = {"running": "is-accent", "paused": "is-amber", "rolled_back": "is-red"}
BREAK = {"error_share": 0.5}
"""Shares above which a number takes colour; a class that gets no answers at all is broken."""


class SignalRow(msgspec.Struct, frozen=True):
    request_class: str
    href: str
    note: str
    safe_mode: str
    cells: tuple[SignalCell, ...]


class RolloutLine(msgspec.Struct, frozen=True):
    key: str
    href: str
    state: str
    tone: str
    text: str
    stages: tuple[str, ...]


class OverviewPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "overview/overview.html"

    frame: Frame
    panel: SafePanel
    panel_url: str
    fleet: FleetNow
    signals: tuple[SignalRow, ...]
    signals_href: str
    rollouts: tuple[RolloutLine, ...]
    rollouts_href: str
    commits: tuple[CommitLine, ...]
    commits_url: str
    history_href: str


class CommitsPart(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "overview/last_commits.html"

    frame: Frame
    commits: tuple[CommitLine, ...]


class OverviewController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        frame = await visit.frame(environment, "overview")
        active = await visit.services.safe_mode.active(visit.actor, environment)
        commits, panel, fleet, signals, rollouts = await asyncio.gather(
            visit.services.reads.commits(visit.actor, environment, limit=COMMITS),
            safe_panel(visit, environment, active),
            panel_fleet(visit, environment, active),
            signal_rows(visit, environment),
            rollout_lines(visit, environment),
        )
        return visit.page(
            OverviewPage(
                frame=frame,
                panel=panel,
                panel_url=url(environment, "safe-mode", "panel"),
                fleet=fleet,
                signals=signals,
                signals_href=url(environment, "signals"),
                rollouts=rollouts,
                rollouts_href=url(environment, "rollouts"),
                commits=commit_lines(visit, environment, commits),
                commits_url=url(environment, "last-commits"),
                history_href=url(environment, "history"),
            )
        )

    @get("/last-commits", opt={"action": Action.READ})
    async def last_commits(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        commits = await visit.services.reads.commits(visit.actor, environment, limit=COMMITS)
        frame = await visit.frame(environment, "overview")
        return visit.page(CommitsPart(frame=frame, commits=commit_lines(visit, environment, commits)))


async def rollout_lines(visit: Viewer, environment: str) -> tuple[RolloutLine, ...]:
    """Those that run or wait; what is done stands in the list of rollouts."""
    found = await visit.services.rollouts.list(visit.actor, environment)
    return tuple(rollout_line(environment, each) for each in found.items if each.state in OPEN_STATES)


def rollout_line(environment: str, each: RolloutSummary) -> RolloutLine:
    done = each.stages if each.state in {"completed", "finished"} else each.stage
    runs = each.state in {"running", "paused"}
    stage = f"Stage {each.stage + 1} of {each.stages}: {each.cohort or 'everyone'} {basis_points(each.share_bp)}. "
    if each.state == "draft":
        stage = f"{each.stages} {'stage' if each.stages == 1 else 'stages'}, not started. "
    elif not runs:
        stage = ""
    phases = ("done" if i < done else "current" if runs and i == each.stage else "" for i in range(each.stages))
    tone = STATE_TONES.get(each.state, "")
    href = url(environment, "rollouts", each.key)
    return RolloutLine(each.key, href, words(each.state), tone, stage + sentence(each.why), tuple(phases))


async def signal_rows(visit: Viewer, environment: str) -> tuple[SignalRow, ...]:
    """A row a request class that exists or reports."""
    page = await visit.services.reads.resources(visit.actor, environment, "request_class", limit=MAX_CLASSES)
    summary = await visit.services.telemetry.signals.summary(visit.actor, environment)
    return class_rows(environment, page.items, summary.classes)


def class_rows(
    environment: str, classes: Sequence[Resource], measured: Sequence[ClassSignals]
) -> tuple[SignalRow, ...]:
    known = {each.request_class: each for each in measured}
    rows = []
    for item in classes:
        note = class_note(item.spec)
        found = known.get(item.key)
        rows.append(SignalRow(item.key, url(environment, "request-classes", item.key), note, "", cells(found)))
    return tuple(rows)


def class_note(spec: bytes) -> str:
    """critical · sensitive."""
    found = find_spec(spec, RequestClass)
    if found is None:
        return NEWER
    return " · ".join((words(found.criticality), *(["sensitive"] if found.sensitive else ())))


def cells(found: ClassSignals | None) -> tuple[SignalCell, ...]:
    return (
        _cell(found, "Rate", "requests_per_min", "req/min", 1),
        _cell(found, "Errors", "error_share", "%", 100),
        _cell(found, "Refusals", "refusal_share", "%", 100),
        _cell(found, "Fallbacks", "fallback_share", "%", 100),
        _cell(found, "p95", "duration_p95_ms", "s", 0.001),
        _cell(found, "Tokens", "tokens_per_min", "/min", 1),
    )


def _cell(found: ClassSignals | None, label: str, metric: str, unit: str, scale: float) -> SignalCell:
    value = found.now.get(metric) if found else None
    if found is None or value is None:
        return SignalCell(label)
    tone: Tone = (
        "broken" if value >= BREAK.get(metric, 2**53) else "degraded" if value >= WARN.get(metric, 2**53) else ""
    )
    number = value * scale
    said = short(number) if unit == "/min" else f"{number:.0f}" if number >= 10 or number == 0 else f"{number:.1f}"
    return SignalCell(label, said, unit, sparkline(found.sparks.get(metric, [])), tone)
