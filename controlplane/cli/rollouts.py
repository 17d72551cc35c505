"""`brownout rollout`: create, watch and move a rollout."""

import time
from typing import Annotated

import msgspec

from controlplane.access.actor import Action
from controlplane.cli.charts import spark
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.shown import left, table, when
from controlplane.cli.specs import RevisionOption, condition, read_spec
from controlplane.cli.terminal import Live, Shown, Table, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import CommitOutput
from controlplane.rollouts.values import Judged, Moved, RolloutList, RolloutView
from controlplane.rollouts.words import level, limit, measure_words, strength, without_unit_words

app = Listing("rollout", "Staged canaries with guardrails and gates.")

KeyArgument = Annotated[str, Argument(help="The rollout.")]
ReasonOption = Annotated[str, Option("--reason", "-m", help="Why; kept in the history.")]


@verb(app, "list", action=Action.READ)
def list_(call: Call) -> None:
    """List rollouts, the running ones first."""
    found = call.session.get(call.session.path("rollouts"), RolloutList)
    rows = [
        (one.key, one.flag, f"{one.control} → {one.treatment}", one.state, f"{one.stage + 1}/{one.stages}",
         f"{one.share_bp / 100:g} % of {one.cohort or 'everyone'}", one.why)
        for one in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("rollout", "flag", "moves", "state", "stage", "share", "why"), rows))


@verb(app, "create", action=Action.ROLLOUT)
def create(
    call: Call,
    key: KeyArgument,
    file: Annotated[str, Argument(help="Its definition, JSON or YAML; - for standard input.")],
    *,
    start: Annotated[bool, Option("--start", help="Run it at once.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Define a rollout. It changes nothing before it is started. Refused when there is one of that name."""
    body = {"spec": msgspec.Raw(read_spec(file)), "reason": reason, "start": start}
    commit = call.session.send("PUT", call.session.path("rollouts", key), body, CommitOutput)
    done = "is running" if start else f"is a draft; `brownout rollout start {key} -m …` runs it"
    call.answer(commit, lambda: f"r{commit.revision}: {key} {done}")


@verb(app, "edit", action=Action.ROLLOUT)
def edit(
    call: Call,
    key: KeyArgument,
    file: Annotated[str, Argument(help="Its new definition, JSON or YAML; - for standard input.")],
    *,
    reason: ReasonOption = "",
    if_revision: RevisionOption = None,
) -> None:
    """Replace the definition of a rollout that serves no one. It is a draft again."""
    body = {"spec": msgspec.Raw(read_spec(file)), "reason": reason}
    path = call.session.path("rollouts", key, "definition")
    commit = call.session.send("PUT", path, body, CommitOutput, condition(if_revision))
    call.answer(commit, lambda: f"r{commit.revision}: {key} is a draft; `brownout rollout start {key} -m …` runs it")


@verb(app, "show", action=Action.READ)
def show(call: Call, key: KeyArgument) -> None:
    """Show stages, evidence, the next step and why it waits."""
    found = _get(call, key)
    call.answer(found, lambda: picture(found))


@verb(app, "watch", action=Action.READ)
def watch(
    call: Call,
    key: KeyArgument,
    *,
    interval: Annotated[float, Option(help="Seconds.", min=0.5)] = 2.0,
    seconds: Annotated[float, Option(help="Stop after; 0 = when the rollout ends.", min=0)] = 0,
) -> None:
    """Draw the evidence live until the rollout ends."""
    until = time.monotonic() + seconds if seconds else float("inf")
    with Live(call.terminal) as live:
        while True:
            found = _get(call, key)
            live.update(picture(found))
            if found.summary.state not in {"running", "paused"} or time.monotonic() >= until:
                return
            time.sleep(interval)


STEPS = {
    "start": "Begin at the first stage. One that completed takes `restart`.",
    "restart": "Begin a completed rollout again: takes the treatment away from all but the first stage.",
    "finish": "Hand what a completed rollout serves over to the flag: its default, or an ordinary rule.",
    "delete": "Delete a rollout that serves no one.",
    "pause": "Pause at the present share. Evidence is not counted.",
    "resume": "Resume where it was paused.",
    "advance": "Advance to the next stage without waiting for proof.",
    "roll-back": "Serve the control to everyone again.",
    "abort": "End without a verdict. Everyone gets the control.",
}
"""Each verb that moves a rollout, and what it does."""


def _add_step(step: str, what: str) -> None:
    def move(call: Call, key: KeyArgument, *, reason: ReasonOption) -> None:
        done = call.session.send("POST", call.session.path("rollouts", key, step), {"reason": reason}, Moved)
        call.answer(done, lambda: f"r{done.revision}: {key} is {_standing(done)}")

    move.__doc__ = what
    verb(app, step, action=Action.ROLLOUT)(move)


for _step, _what in STEPS.items():
    _add_step(_step, _what)


def _get(call: Call, key: str) -> RolloutView:
    return call.session.get(call.session.path("rollouts", key), RolloutView)


def _standing(done: Moved) -> str:
    words = done.state.replace("_", " ")
    if done.state in {"running", "paused"}:
        return f"{words}, stage {done.stage + 1}"
    if done.state == "completed":
        return f"{words}; `brownout rollout finish {done.key} -m …` hands what it serves over to the flag"
    return words


def picture(view: RolloutView) -> list[Shown]:
    """The whole rollout in the terminal."""
    summary = view.summary
    moves = f"moves {summary.flag} from {summary.control} to {summary.treatment}"
    state = styled("yellow" if summary.state in {"paused", "rolled_back"} else "cyan", summary.state.replace("_", " "))
    stages = table(
        ("", "stage", "share", "at least", "units", "out of it"),
        [
            ("▶" if stage.state == "current" else "✓" if stage.state == "passed" else " ", str(stage.index + 1),
             f"{stage.weight_bp / 100:g} % of {stage.cohort or 'everyone'}", left(stage.min_duration_s),
             f"{stage.min_units:,}", "a person" if stage.approval else "by itself")
            for stage in view.stages
        ],
    )  # fmt: skip
    units = f"{view.treatment_units:,} treatment and {view.control_units:,} control units"
    since = when(summary.started_at) if summary.started_at else "never"
    return [
        f"{styled('bold', summary.key)}  {moves}  {state}",
        stages,
        f"{styled('bold', 'next:')} {view.next.act.replace('_', ' ')}  {view.next.why}  ({units}, since {since})",
        *([words] if (words := without_unit_words(view.without_unit)) else []),
        *([_judged(view)] if view.judged else []),
        *([_preview(view)] if view.preview else []),
    ]


def _judged(view: RolloutView) -> Table:
    rows = [
        (one.role, measure_words(one.measure), level(one, one.treatment), level(one, one.control),
         strength(one), limit(one), _over_time(one), one.verdict)
        for one in view.judged
    ]  # fmt: skip
    columns = ("", "measure", view.summary.treatment, view.summary.control, "evidence", "limit", "over time", "verdict")
    return table(columns, rows)


def _over_time(one: Judged) -> str:
    if one.evidence is not None:
        threshold = one.threshold or 1.0
        return spark([min(value, threshold) for value in one.evidence_over_time], width=20, top=threshold)
    return spark(one.upper_over_time if one.role == "gate" else one.lower_over_time, width=20)


def _preview(view: RolloutView) -> Table:
    """`allowed` is what the guardrail lets pass; `-` is what is not known."""
    allowed: dict[str, float] = {
        guardrail.measure: guardrail.no_worse_than for guardrail in view.spec.guardrails if guardrail.max_rate is None
    }
    rows = [
        (measure_words(one.measure), "-" if one.rate is None else f"{100 * one.rate:.2f} %",
         *(f"{n:,}" if n else "allowed" if float(times) <= allowed[one.measure] else "-" for times, n in one.units.items()))
        for one in view.preview
    ]  # fmt: skip
    times = tuple(f"{name} times as bad" for name in view.preview[0].units)
    return table(("units needed to catch", "rate now", *times), rows)
