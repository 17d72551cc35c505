"""What telemetry answers: the fleet and the signals as the API, the console and the CLI read them."""

from datetime import datetime
from typing import Literal

import msgspec

Number = float | None
"""None: nothing was observed. It is never drawn as zero."""


class Spread(msgspec.Struct, frozen=True):
    """How far one commit is: `applied` of `live` instances after `elapsed_ms`."""

    epoch: int
    revision: int
    published_at: datetime
    live: int
    applied: int
    percent: float
    elapsed_ms: int
    took_50_ms: int | None
    took_95_ms: int | None
    took_100_ms: int | None
    laggards: tuple[str, ...]


class RevisionCount(msgspec.Struct, frozen=True):
    epoch: int
    revision: int
    instances: int


class Delivered(msgspec.Struct, frozen=True):
    """How far one commit has got.

    `committed` is its revision, safe in Postgres. `published` is the newest revision that NATS is known to have, `via`
    its log or, while that cannot be written, core NATS; `heard` when all that this replica knows is that it heard it
    on its way out. Both are null while nothing is known. `applied` of `expected` live instances are known to have it.
    """

    committed: int
    published: int | None
    via: Literal["log", "core", "heard"] | None
    applied: int
    expected: int

    @property
    def is_published(self) -> bool:
        return self.published is not None and self.published >= self.committed

    @property
    def everywhere(self) -> bool:
        return self.is_published and self.applied >= self.expected


class FleetSummary(msgspec.Struct, frozen=True):
    """What a page's head shows; `lagging` names at most MAX_NAMED, `behind` counts all.

    `head` is what Postgres holds and `published` what NATS is known to have, null while nothing is known. `applied`
    counts the live instances at the head. While NATS lacks the head, all others are behind.
    """

    environment: str
    epoch: int
    head: int
    published: int | None
    live: int
    applied: int
    behind: int
    lagging: tuple[str, ...]
    states: dict[str, int]
    revisions: tuple[RevisionCount, ...]
    convergence: Spread | None

    @property
    def is_published(self) -> bool:
        return self.published is not None and self.published >= self.head


CLOCK_OFF_S = 5.0
"""A host's clock that is further off is shown: less may be a busy machine's delay."""


class Outside(msgspec.Struct, frozen=True):
    """An activation that an instance applies and that is not in the log. `origin` is `emergency`, `envelope` or `host`."""

    origin: str
    key: str
    profile: str
    reason: str


class InstanceView(msgspec.Struct, frozen=True):
    """One instance as a list shows it. `age_s` is the age of the configuration that it serves, and `clock_skew_s` how far
    its host's clock is ahead of the control plane's, as it said itself."""

    instance: str
    service: str
    sdk_version: str
    epoch: int
    revision: int
    behind: int
    state: str
    age_s: float
    first_seen_at: datetime
    last_seen_at: datetime
    live: bool
    lagging: bool
    clock_skew_s: float = 0.0
    schema_level: int = 1
    """What its SDK can read, see docs/upgrading.md."""
    outside: tuple[Outside, ...] = ()
    """The safe mode that it applies and that is in no commit: switched on in an emergency, or on its host."""


class Refused(msgspec.Struct, frozen=True):
    """Messages that came with one SDK key and were not counted. `key` is its fingerprint, `instance` the last sender."""

    key: str
    reason: str
    messages: int
    instance: str
    first_at: datetime
    last_at: datetime


class RefusedList(msgspec.Struct, frozen=True):
    items: list[Refused]


class Instances(msgspec.Struct, frozen=True):
    """Laggards first; `next` is the following page's `after`."""

    items: list[InstanceView]
    next: str | None


class Delivery(msgspec.Struct, frozen=True):
    """How one commit reached the fleet, as kept. None = that share was never reached."""

    revision: int
    published_at: datetime
    live: int
    took_50_ms: int | None
    took_95_ms: int | None
    took_100_ms: int | None


class ChartSeries(msgspec.Struct, frozen=True):
    """One line of each chart. `values[metric][i]` belongs to the chart's `times[i]`; null = nothing observed, and for a
    rate also that the step is not over. `totals` of rates are averages over the steps that are, since the environment's
    first data in the chart."""

    labels: dict[str, str]
    requests: int
    totals: dict[str, Number]
    breakdown: dict[str, float]
    values: dict[str, list[Number]]


class AnsweredBy(msgspec.Struct, frozen=True):
    """The requests that one rung answered. `rung` is `primary` for the policy's own model; `target` is the model's name
    in its route. Completion is of the requests of which it is known."""

    rung: str
    target: str
    requests: int
    share: Number
    completion_share: Number
    escalation_share: Number
    abandoned_share: Number


class AttemptsAt(msgspec.Struct, frozen=True):
    """The calls to one model, with the tokens that they spent and what those cost. `errors` counts by class."""

    provider: str
    model: str
    attempts: int
    retries: int
    error_share: Number
    errors: dict[str, int]
    duration_p50_ms: Number
    duration_p95_ms: Number
    input_tokens: int
    output_tokens: int
    cost: Number


class Mark(msgspec.Struct, frozen=True):
    """Something that happened: a commit, safe mode switched, a rollout's stage."""

    at: datetime
    kind: Literal["commit", "safe_mode", "stage"]
    revision: int
    author: str
    message: str


class Chart(msgspec.Struct, frozen=True):
    """`times` are Unix seconds, the beginnings of steps. `answered` and `attempts` are of the whole period and all series
    together."""

    step_s: int
    times: list[int]
    series: list[ChartSeries]
    marks: list[Mark]
    answered: list[AnsweredBy] = []
    attempts: list[AttemptsAt] = []


class ClassSignals(msgspec.Struct, frozen=True):
    """One request class now (the last five whole minutes, or those since the environment counts) and over the last hour,
    a value a minute."""

    request_class: str
    now: dict[str, Number]
    breakdown: dict[str, float]
    sparks: dict[str, list[Number]]


class SignalsSummary(msgspec.Struct, frozen=True):
    environment: str
    at: datetime
    classes: list[ClassSignals]


class VariantUse(msgspec.Struct, frozen=True):
    variant: str
    reason: str
    evaluations: int


class FlagUse(msgspec.Struct, frozen=True):
    """How often a flag was evaluated since `since`, most first. `last_at` is exact to a quarter of an hour."""

    flag: str
    since: datetime
    last_at: datetime | None
    variants: list[VariantUse]
    without_unit: int = 0
    """Of these, requests without a usable unit, which got a split's fallback; their reason is `NO_UNIT`."""
