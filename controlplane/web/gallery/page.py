"""Every component in every state, for whoever builds pages. Served in development only."""

from datetime import datetime, timedelta
from typing import ClassVar

from controlplane.errors import Fault
from controlplane.web.kit.frame import EnvironmentLink, FleetState, Frame, Link, NavItem, Notice, Person, SafeState
from controlplane.web.kit.parts import (
    CellTone,
    CommitLine,
    DiffLine,
    FleetGroup,
    NowThen,
    Option,
    Rung,
    SignalCell,
    StageStep,
    Whisker,
    fleet_group,
    sparkline,
)
from controlplane.web.kit.render import View


class GalleryPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "gallery/gallery.html"

    frame: Frame
    commits: tuple[CommitLine, ...]
    diff: tuple[DiffLine, ...]
    ladders: tuple[tuple[Rung, ...], ...]
    values: tuple[NowThen, ...]
    signals: tuple[SignalCell, ...]
    groups: tuple[FleetGroup, ...]
    stages: tuple[StageStep, ...]
    whiskers: tuple[Whisker, ...]
    faults: tuple[Fault, ...]
    options: tuple[Option, ...]
    swatches: tuple[str, ...]
    hostile: str


SWATCHES = (
    "ink", "ink-2", "ink-3", "sunken", "hover", "line", "line-2", "accent", "accent-wash", "amber", "amber-fill",
    "amber-wash", "red", "red-wash", "env",
)  # fmt: skip
HOSTILE = "<script>alert(1)</script> \u202erevo thgir ot tfel\u202c 🔥" + "x" * 120


def gallery(now: datetime) -> GalleryPage:
    rising = [0.2, 0.2, 0.3, 0.2, 0.2, 0.3, 6.0, 6.4, 6.3, 6.4]
    flat = [412.0, 410, 415, 409, 402, 420, 411, 412, 408, 412]
    model, small = Rung("model", "sonnet-5"), Rung("model", "haiku-5")
    sorry, person = Rung("template", "sorry"), Rung("human", "tier-2")
    return GalleryPage(
        frame=_frame(now),
        commits=(
            CommitLine(912, "refund-model: beta starts on sonnet-5 at 5 %", "mara@example.com",
                       "First slice after the offline evaluation", now - timedelta(minutes=9), "#", "#"),
            CommitLine(911, HOSTILE, "rollout:support-sonnet-5", HOSTILE * 3, now - timedelta(hours=4), "#", "#"),
        ),
        diff=(
            DiffLine("at", "/rules/1/serve/split"), DiffLine("same", '"by": "customer"'),
            DiffLine("del", '"weight_bp": 500'), DiffLine("add", '"weight_bp": 2500'),
        ),
        ladders=(
            (model, small, Rung("cache", "≤ 10 min"), sorry, person),
            (Rung("model", "sonnet-5", gone=True), Rung("model", "haiku-5", now=True), sorry, person),
            (Rung("model", "sonnet-5", gone=True), Rung("model", "haiku-5", gone=True), Rung("human", "tier-2", now=True)),
        ),
        values=(NowThen("Temperature", "0.7", "0.1"), NowThen("Context", "8 k", "8 k")),
        signals=(
            SignalCell("Normal", "412", "req/min", sparkline(flat)),
            SignalCell("Degraded", "6.4", "%", sparkline(rising), "degraded"),
            SignalCell("Broken", "100", "%", sparkline(rising), "broken"),
            SignalCell("No data"),
        ),
        groups=(
            fleet_group("settled", _tones(0, "", 24)), fleet_group("confirming", _tones(11, "", 0)),
            fleet_group("lagging", _tones(6, "lag", 2)), fleet_group("lost", _tones(3, "lost", 1)),
            fleet_group("many", _tones(90, "", 0)),
        ),
        stages=(
            StageStep("internal 100 %", "passed", "26 h, r898", "done"),
            StageStep("beta 25 %", "waits for evidence", "since 09:40", "current"),
            StageStep("everyone 100 %", "a person decides", "at least 48 h", "next"),
        ),
        whiskers=(Whisker(40, 24, 57, 90, 80, True), Whisker(40, 28, 40, 54, 72, False)),
        faults=(Fault("unknown_target", "support-ladder names a target that does not exist: haiku-6",
                      "/variants/standard/rungs/1/target"),),
        options=(Option("contain", "Contain"), Option("shed", "Shed load")),
        swatches=SWATCHES,
        hostile=HOSTILE,
    )  # fmt: skip


def _tones(confirmed: int, tone: CellTone, others: int) -> list[CellTone]:
    tones: tuple[tuple[CellTone, int], ...] = (("new", confirmed), (tone, others))
    return [each for each, count in tones for _ in range(count)]


def _frame(now: datetime) -> Frame:
    production = EnvironmentLink("production", "production", True, 913, "/")
    staging = EnvironmentLink("staging", "staging", False, 2204, "/")
    return Frame(
        environment=production,
        environments=(production, staging),
        nav=((NavItem("Overview", "/"), NavItem("Safe mode", "/", "", "1 active", "degraded")),
             (NavItem("Gallery", "/gallery", current=True),)),
        safe=SafeState("Contain", "services support-copilot", "mara@example.com", "#", now + timedelta(minutes=59), False),
        safe_url="#",
        fleet=FleetState(43, 41, "#"),
        person=Person("Mara Lindqvist", "ML", "admin everywhere", (Link("Your account", "#"),), signs_out=True),
        now=now,
        csrf="",
        home="/",
        palette_url="/palette",
        gallery=True,
        notices=(Notice("Saved as r913", "beta, refund-decision: sonnet-5 5 % → 25 %.", href="#", action="Undo…"),),
    )  # fmt: skip
