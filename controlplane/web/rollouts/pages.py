"""Rollouts: the list, and one rollout live: its stages, why it waits, evidence against threshold, moves with a reason."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action
from controlplane.contract.specs import NEWER
from controlplane.errors import BrownoutError
from controlplane.rollouts.moves import EDITABLE
from controlplane.rollouts.values import Judged, Preview, RolloutView, StageView
from controlplane.rollouts.words import (
    difference,
    level,
    limit,
    measure_words,
    multiple,
    strength,
    without_unit_words,
)
from controlplane.telemetry.values import AnsweredBy
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import StageStep
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved
from controlplane.web.kit.words import basis_points, count, percent, sentence, span, words
from controlplane.web.overview.page import STATE_TONES, RolloutLine, rollout_line
from controlplane.web.signals.page import ChartView, TableRow

MOVES = {
    "draft": ("start", "delete"),
    "running": ("advance", "pause", "roll-back", "abort"),
    "paused": ("resume", "advance", "roll-back", "abort"),
    "completed": ("finish", "roll-back", "restart"),
    "finished": ("restart", "delete"),
    "rolled_back": ("start", "delete"),
    "aborted": ("start", "delete"),
}
"""What a person can do in each state; the service decides again."""

LABELS = {
    "start": "Start…",
    "advance": "Advance…",
    "pause": "Pause…",
    "resume": "Resume…",
    "finish": "Finish…",
    "restart": "Start again…",
    "delete": "Delete…",
    "roll-back": "Roll back…",
    "abort": "Abort…",
}
DOES = {
    "start": "The first stage's cohort begins to get {treatment}.",
    "advance": "Advances to the next stage now, whatever the evidence says.",
    "pause": "The present share stays; evidence is not counted until it resumes.",
    "resume": "Evidence is counted again.",
    "finish": "Takes the rollout's own rule out of the flag and serves the same people the same: {treatment} becomes the "
    "flag's default, or a cohort gets it by an ordinary rule.",
    "restart": "Takes {treatment} away from everyone but the first stage. The others get {control}.",
    "delete": "Deletes the definition. No one is served anything else, and history keeps it.",
    "roll-back": "Everyone gets {control} again.",
    "abort": "Takes the rollout's rules out of the flag and ends it.",
}
SECTIONS = {
    "open": "Running",
    "completed": "Completed: still served by the rollout's own rule",
    "drafts": "Drafts",
    "ended": "Ended",
    "newer": NEWER,
}
SECTION_OF = {"running": "open", "paused": "open", "completed": "completed", "draft": "drafts"}
VERDICTS = {"breached": ("breached", "is-red"), "proven": ("passes", ""), "open": ("waits", "is-accent")}
TIMES_UNIT = "times the control's"
MOST_SHOWN = 2
"""Times the evidence that decides: what has long decided would flatten everything before it."""


class Move(msgspec.Struct, frozen=True):
    label: str
    href: str
    primary: bool


class Guard(msgspec.Struct, frozen=True):
    """One guardrail or gate, as a row."""

    measure: str
    role: str
    treatment: str
    control: str
    evidence: str
    limit: str
    verdict: str
    tone: str


class Needed(msgspec.Struct, frozen=True):
    """How many treatment units a guardrail needs to catch a treatment so many times as bad."""

    measure: str
    rate: str
    units: tuple[tuple[str, str], ...]


class Section(msgspec.Struct, frozen=True):
    key: str
    title: str
    lines: tuple[RolloutLine, ...]


class RolloutsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "rollouts/rollouts.html"

    frame: Frame
    sections: tuple[Section, ...]
    new_href: str
    here: str


class RolloutPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "rollouts/rollout.html"

    frame: Frame
    key: str
    text: str
    owner: str
    flag: str
    flag_href: str
    state: str
    tone: str
    stages: tuple[StageStep, ...]
    next_title: str
    why: str
    ready: str
    units: str
    mismatch: str
    without_unit: str
    edited: bool
    safe_mode: bool
    guards: tuple[Guard, ...]
    answered: tuple[tuple[str, str], ...]
    charts: tuple[ChartView, ...]
    needed: tuple[Needed, ...]
    moves: tuple[Move, ...]
    edit_href: str
    history_href: str
    here: str


class MovePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "rollouts/rollout_move.html"

    frame: Frame
    key: str
    title: str
    does: str
    action: str
    back: str
    reason: str
    error: str
    button: str


def _unreadable(environment: str, key: str) -> RolloutLine:
    text = "This control plane cannot read it. A control plane of that version steers it."
    return RolloutLine(key, url(environment, "rollouts", key), "", "", text, ())


class RolloutsController(Controller):
    path = "/e/{environment:str}/rollouts"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def list_rollouts(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        found = await visit.services.rollouts.list(visit.actor, environment)
        lines = [(SECTION_OF.get(each.state, "ended"), rollout_line(environment, each)) for each in found.items]
        lines += [("newer", _unreadable(environment, key)) for key in found.unreadable]
        may = visit.may(Action.ROLLOUT, environment)
        return visit.page(
            RolloutsPage(
                frame=await visit.frame(environment, "rollouts"),
                sections=tuple(
                    Section(key, title, mine)
                    for key, title in SECTIONS.items()
                    if (mine := tuple(line for where, line in lines if where == key))
                ),
                new_href=url(environment, "rollouts", "new") if may else "",
                here=url(environment, "rollouts"),
            )
        )

    @get("/{key:str}", opt={"action": Action.READ})
    async def show(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.rollouts.get(visit.actor, environment, key)
        return visit.page(await _page(visit, environment, found))

    @get("/{key:str}/move/{step:str}", opt={"action": Action.ROLLOUT})
    async def ask_move(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str], step: FromPath[str]
    ) -> Response[Any]:
        return await _move_page(visit, environment, key, step)

    @post("/{key:str}/move/{step:str}", opt={"action": Action.ROLLOUT}, status_code=200)
    async def move(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str], step: FromPath[str]
    ) -> Response[Any]:
        reason = dict(await visit.form()).get("reason", "")
        try:
            done = await visit.services.rollouts.move(visit.actor, environment, key, step, reason)
        except BrownoutError as error:
            return await _move_page(visit, environment, key, step, reason=reason, error=await visit.refusal(error))
        return saved(environment, done.revision, "rollouts", *([] if done.state == "deleted" else [key]))


async def _move_page(
    visit: Visit, environment: str, key: str, step: str, *, reason: str = "", error: str = ""
) -> Response[Any]:
    found = await visit.services.rollouts.get(visit.actor, environment, key)
    label = LABELS.get(step, words(step)).removesuffix("…")
    page = MovePage(
        frame=await visit.frame(environment, "rollouts"),
        key=key,
        title=label,
        does=DOES.get(step, "").format(treatment=found.spec.treatment, control=found.spec.control),
        action=url(environment, "rollouts", key, "move", step),
        back=url(environment, "rollouts", key),
        reason=reason,
        error=error,
        button=f"{label} now",
    )
    return visit.page(page, 422 if error else 200)


async def _page(visit: Visit, environment: str, found: RolloutView) -> RolloutPage:
    summary, spec = found.summary, found.spec
    may = visit.may(Action.ROLLOUT, environment)
    frame = await visit.frame(environment, "rollouts")
    running = summary.state in {"running", "paused"}
    mismatched = found.mismatch_evidence >= found.mismatch_threshold
    return RolloutPage(
        frame=frame,
        key=summary.key,
        text=f"from {spec.control} to {spec.treatment}" + (f" for {', '.join(found.request_classes)}" if found.request_classes else ""),
        owner=summary.owner,
        flag=spec.flag,
        flag_href=url(environment, "flags", spec.flag),
        state=words(summary.state),
        tone=STATE_TONES.get(summary.state, ""),
        stages=tuple(_stage(each, found) for each in found.stages),
        next_title=_next_title(summary.state, found.next.act),
        why=sentence(found.next.why if running or summary.state == "draft" else summary.why or found.next.why),
        ready=_ready(found.next.ready_at, visit.now),
        units=f"{count(found.treatment_units)} and {count(found.control_units)} units" if running else "",
        mismatch="The units are not split as the stage says: something decides who gets what before the flag does."
        if mismatched and running else "",
        without_unit=without_unit_words(found.without_unit),
        edited=found.edited,
        safe_mode=bool(found.safe_mode),
        guards=tuple(_guard(each) for each in found.judged),
        answered=tuple(
            (arm, said)
            for arm, answers in (("Treatment", found.answered.treatment), ("Control", found.answered.control))
            if (said := _answered(answers))
        ),
        charts=tuple(
            chart for each in found.judged if (chart := evidence_chart(each, spec.progress.started_at, visit.now))
        ),
        needed=tuple(_needed(each) for each in found.preview),
        moves=tuple(
            Move(LABELS[step], url(environment, "rollouts", summary.key, "move", step), step in {"start", "resume", "finish"})
            for step in MOVES.get(summary.state, ())
        ) if may else (),
        edit_href=url(environment, "rollouts", summary.key, "edit") if may and summary.state in EDITABLE else "",
        history_href=url(environment, "history", kind="rollout", key=summary.key),
        here=url(environment, "rollouts", summary.key),
    )  # fmt: skip


def _answered(answers: Sequence[AnsweredBy]) -> str:
    """In one line: what answered the requests of an arm, with its share."""
    return ", ".join(
        f"{each.target or words(each.rung)}{' (fallback)' if each.rung == 'model' else ''} {percent(each.share or 0.0)}"
        for each in answers
    )


def _next_title(state: str, act: str) -> str:
    if state not in {"running", "paused"}:
        return {"draft": "Not started", "rolled_back": "Why it was rolled back", "aborted": "Why it was aborted"}.get(
            state, words(state).capitalize()
        )
    return {"wait": "Why it waits", "advance": "About to advance", "hold": "Why it holds"}.get(
        act, words(act).capitalize()
    )


def _ready(at: datetime | None, now: datetime) -> str:
    if at is None:
        return ""
    return (
        f"Earliest at {at.astimezone(UTC):%d %b %H:%M} UTC, in {span((at - now).total_seconds())}." if at > now else ""
    )


def _stage(each: StageView, found: RolloutView) -> StageStep:
    phase = {"passed": "done", "current": "current"}.get(each.state, "next")
    state = {
        "current": words(found.summary.state),
        "stopped": f"{words(found.summary.state)} here",
        "next": "first" if found.summary.state == "draft" else "next",
    }.get(each.state, words(each.state))
    asks = [f"at least {span(each.min_duration_s)}"] if each.min_duration_s else []
    asks += [f"{count(each.min_units)} units"] if each.min_units else []
    asks += ["a person decides"] if each.approval else []
    detail = ", ".join(asks) or "no minimum"
    if each.state == "current" and found.elapsed_s:
        detail = f"for {span(found.elapsed_s)}; {detail}"
    return StageStep(f"{each.cohort or 'everyone'} {basis_points(each.weight_bp)}", state, detail, phase)  # type: ignore[arg-type]


def _guard(each: Judged) -> Guard:
    verdict, tone = VERDICTS[each.verdict]
    if each.role == "guardrail" and each.verdict == "open":
        verdict, tone = "no breach", ""
    rule = f"no worse than {limit(each)}" if each.evidence is not None or multiple(each) else f"limit {limit(each)}"
    if each.ceiling:
        rule = limit(each)
    return Guard(measure_words(each.measure), each.role, _arm(each, each.treatment, each.treatment_n),
                 _arm(each, each.control, each.control_n), strength(each), rule, verdict, tone)  # fmt: skip


def _arm(each: Judged, value: float | None, n: int) -> str:
    return "-" if value is None else f"{level(each, value)} of {count(n)}"


def evidence_chart(each: Judged, started_at: datetime | None, now: datetime) -> ChartView | None:
    """Evidence and what decides, or the interval of a mean and its limit, from the start of the stage until now.

    Each minute stands where it ends. The last row is what the table of evidence says.
    """
    if not each.times or started_at is None:
        return None
    title = f"{measure_words(each.measure).capitalize()}: {'ceiling' if each.ceiling else each.role}"
    values: list[tuple[str, ...]]
    lines: tuple[str, ...]
    totals: tuple[str, ...]
    if each.evidence_over_time and each.threshold:
        most, decides = MOST_SHOWN * each.threshold, f"{each.threshold:.3g}"
        values = [(f"{min(value, most):.3g}", decides) for value in each.evidence_over_time]
        lines, unit = ("evidence", "decides at"), ""
        totals = (strength(each), decides)
    elif each.upper_over_time:
        bounds = zip(each.lower_over_time, each.upper_over_time, strict=True)
        values = [(_number(each, low), _number(each, high), _number(each, each.limit)) for low, high in bounds]
        lines, unit = ("lower bound", "upper bound", "limit"), TIMES_UNIT if multiple(each) else ""
        totals = values[-1]
    else:
        return None
    ends = [min(at + timedelta(minutes=1), now) for at in each.times]
    blank = ("",) * (len(lines) - 1)
    rows = tuple(
        TableRow(int(at.timestamp()), f"{at.astimezone(UTC):%H:%M}", row)
        for at, row in ((min(started_at, ends[0]), (*blank, values[0][-1])), *zip(ends, values, strict=True))
    )
    return ChartView(f"{'ceiling' if each.ceiling else each.role}-{each.measure}", title, unit, lines, totals, rows, "[]",
                     f"{title}: now {totals[0] or 'nothing'} {unit}".strip())  # fmt: skip


def _number(each: Judged, value: float | None) -> str:
    return "" if value is None else f"{difference(each, value):.4g}"


def _needed(each: Preview) -> Needed:
    rate = percent(each.rate) if each.rate is not None else "unknown"
    units = tuple(
        (f"{lift} times as bad", f"{count(n)} units" if n is not None else "not detectable at this rate")
        for lift, n in each.units.items()
    )
    return Needed(measure_words(each.measure), rate, units)
