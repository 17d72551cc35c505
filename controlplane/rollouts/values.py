"""Rollouts as the API, the console and the CLI read them."""

from datetime import datetime
from typing import Literal

import msgspec

from brownout.model.resources import Rollout
from controlplane.telemetry.values import AnsweredBy

Verdict = Literal["breached", "proven", "open"]
"""Worse than allowed for certain; proven not to be (gates only); neither, yet."""


class Judged(msgspec.Struct, frozen=True):
    """One guardrail or gate against what was observed.

    For bad events `evidence` is compared with `threshold`, `treatment` and `control` are bad events a unit at risk. For means
    `lower` and `upper` bound the difference (treatment - control; of logarithms for times) and are compared with `limit`.
    """

    measure: str
    role: Literal["guardrail", "gate"]
    verdict: Verdict
    limit: float
    treatment: float | None
    control: float | None
    treatment_n: int
    control_n: int
    evidence: float | None = None
    threshold: float | None = None
    lower: float | None = None
    upper: float | None = None
    times: tuple[datetime, ...] = ()
    evidence_over_time: tuple[float, ...] = ()
    lower_over_time: tuple[float | None, ...] = ()
    upper_over_time: tuple[float | None, ...] = ()
    ceiling: bool = False
    """`limit` is a rate of the treatment alone."""


class StageView(msgspec.Struct, frozen=True):
    """`state` is where the rollout stands to it."""

    index: int
    cohort: str | None
    weight_bp: int
    min_duration_s: int
    min_units: int
    approval: bool
    state: Literal["passed", "current", "next", "later", "stopped", "not_reached"]
    """`stopped`: it was here when it was rolled back or aborted."""


class Preview(msgspec.Struct, frozen=True):
    """How many treatment units a guardrail needs, at the present rate, to catch a treatment so many times as bad.

    `rate` is bad events a request in the control; None when nothing is known. None units: it cannot.
    """

    measure: str
    rate: float | None
    units: dict[str, int | None]


class NextStep(msgspec.Struct, frozen=True):
    """What the engine would do now, and why (when it waits: what for)."""

    act: str
    why: str
    ready_at: datetime | None


class RolloutSummary(msgspec.Struct, frozen=True):
    """A line of the list. `share_bp` is what the present stage gives its cohort."""

    key: str
    flag: str
    control: str
    treatment: str
    state: str
    stage: int
    stages: int
    cohort: str | None
    share_bp: int
    started_at: datetime | None
    why: str
    owner: str


class WithoutUnit(msgspec.Struct, frozen=True):
    """Evaluations of the flag that lacked a usable unit since `since`, and so got `variant`, the control."""

    evaluations: int
    variant: str
    since: datetime


class Answered(msgspec.Struct, frozen=True):
    """What answered the requests of each variant since the stage began, in whole quarters of an hour. Verdicts are of the
    variants as assigned; this says what users got."""

    treatment: tuple[AnsweredBy, ...] = ()
    control: tuple[AnsweredBy, ...] = ()


class RolloutView(msgspec.Struct, frozen=True):
    """Everything about one rollout at `revision`."""

    summary: RolloutSummary
    revision: int
    spec: Rollout
    stages: tuple[StageView, ...]
    request_classes: tuple[str, ...]
    safe_mode: tuple[str, ...]
    """Activations that touch its requests."""
    next: NextStep
    elapsed_s: float
    instances: int
    """That reported on the present stage."""
    instances_needed: int
    """That have to show the same before the rollout acts by itself: three, or as many as are live."""
    treatment_units: int
    control_units: int
    mismatch_evidence: float
    mismatch_threshold: float
    judged: tuple[Judged, ...]
    answered: Answered
    preview: tuple[Preview, ...]
    edited: bool
    """Its rules in the flag are not what it says (an older version let them be edited); resuming puts them back."""
    without_unit: WithoutUnit | None
    """Of the present run, at most the last day; None when it serves no one."""


class RolloutList(msgspec.Struct, frozen=True):
    """`unreadable`: keys of rollouts that a newer version wrote and this one cannot read."""

    items: tuple[RolloutSummary, ...]
    unreadable: tuple[str, ...] = ()


class Moved(msgspec.Struct, frozen=True):
    """A move was made, as `revision`."""

    key: str
    revision: int
    state: str
    stage: int
    message: str
