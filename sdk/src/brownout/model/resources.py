"""The resources of an environment: one struct a kind; unknown fields are refused (docs/evaluation.md)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, field

from brownout.model.measures import MeanMeasure, Measure
from brownout.model.values import FallbackLadder, ModelRoute, Name, RetryPolicy, TokenBudget, ToolPolicy

KEY_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}\Z"
NOT_BLANK = r"\S"

if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
    FlagValue: TypeAlias = Json | ModelRoute | FallbackLadder | TokenBudget | ToolPolicy | RetryPolicy
else:  # msgspec cannot resolve a recursive alias; `parse` checks every value against its flag's type
    Json = FlagValue = Any

Key = Annotated[str, Meta(pattern=KEY_PATTERN)]
BasisPoints = Annotated[int, Meta(ge=0, le=10_000)]
Text = Annotated[str, Meta(max_length=20_000)]
Instant = Annotated[datetime, Meta(tz=True)]

FlagType = Literal[
    "boolean",
    "string",
    "integer",
    "float",
    "object",
    "model_route",
    "fallback_ladder",
    "token_budget",
    "tool_policy",
    "retry_policy",
]
Operator = Literal[
    "in",
    "starts_with",
    "ends_with",
    "contains",
    "lt",
    "lte",
    "gt",
    "gte",
    "before",
    "after",
    "semver_eq",
    "semver_lt",
    "semver_lte",
    "semver_gt",
    "semver_gte",
    "exists",
    "in_cohort",
]
Criticality = Literal["critical_plus", "critical", "sheddable_plus", "sheddable"]
SensitiveAction = Literal["continue", "human_review", "stop"]

VALUE_TYPES: dict[FlagType, Any] = {
    "boolean": bool,
    "string": str,
    "integer": int,
    "float": float,
    "object": dict[str, Any],
    "model_route": ModelRoute,
    "fallback_ladder": FallbackLadder,
    "token_budget": TokenBudget,
    "tool_policy": ToolPolicy,
    "retry_policy": RetryPolicy,
}


class ResourceRef(NamedTuple):
    kind: str
    key: str


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every kind. Defaults are not written, so an older reader survives a newer optional field."""


class Clause(Spec, frozen=True):
    """A test of one attribute (a dotted path). `exists` takes no values; `in_cohort` takes cohort keys and no attribute."""

    op: Operator
    attribute: Annotated[str, Meta(max_length=200)] = ""
    values: tuple[str | int | float | bool, ...] = ()
    negate: bool = False


Clauses = Annotated[tuple[Clause, ...], Meta(max_length=64)]
"""All must hold. Compiled they nest (brownout.program), and Python has no more than a hundred levels."""


class Share(Spec, frozen=True):
    variant: str
    weight_bp: BasisPoints


class Split(Spec, frozen=True):
    """Consecutive shares of 10,000 buckets; `seed` defaults to the flag's key (see brownout.evaluation.bucketing).

    `fallback` is what a context without a usable unit gets. It defaults to the flag's `off_variant` if that has a share,
    else to the variant with the largest one (the last listed of several): never what is being rolled out.
    """

    split: Annotated[tuple[Share, ...], Meta(min_length=1)]
    by: Name = "targeting_key"
    seed: Name | None = None
    version: Literal[1] = 1
    fallback: Name | None = None


Serve: TypeAlias = str | Split
"""What a rule gives: the name of a variant, or a split."""


class Rule(Spec, frozen=True):
    """Serves when every clause holds; a rule without clauses always does."""

    id: Name
    serve: Serve
    when: Clauses = field(default=(), name="if")


class Flag(Spec, frozen=True):
    type: FlagType
    variants: Annotated[dict[Name, FlagValue], Meta(min_length=1, max_length=1_000)]
    off_variant: str
    default: Serve
    enabled: bool = True
    rules: tuple[Rule, ...] = ()
    safe_variant: str | None = None
    schema: dict[str, Json] | None = None
    description: Text = ""
    owner: Text = ""
    tags: tuple[Name, ...] = ()


class Cohort(Spec, frozen=True):
    """Units named, or described by any of the alternatives; `exclude` wins."""

    by: Name = "targeting_key"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    any_of: tuple[Clauses, ...] = ()
    description: Text = ""
    owner: Text = ""


class RequestClass(Spec, frozen=True):
    """A kind of LLM call and the flags (by key) that govern it."""

    criticality: Criticality
    model: Key
    ladder: Key | None = None
    budget: Key | None = None
    tools: Key | None = None
    retry: Key | None = None
    sensitive: bool = False
    description: Text = ""
    owner: Text = ""


class Banner(Spec, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    level: Literal["info", "warning", "critical"] = "info"


class SafeModeProfile(Spec, frozen=True):
    """What safe mode does. It can only tighten; None and empty leave things as they are."""

    exclude_tools: tuple[Name, ...] = ()
    exclude_targets: tuple[Name, ...] = ()
    exclude_providers: tuple[Name, ...] = ()
    """Of targets and providers alike `*` excludes every model, so that only templates and people answer."""
    max_temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_context_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_attempts: Annotated[int, Meta(ge=1)] | None = None
    sensitive: SensitiveAction = "continue"
    serve_safe_variant: tuple[str, ...] = ()
    """Flag keys, or `*` for every flag that has a safe variant."""
    shed_bp: dict[Criticality, BasisPoints] = {}
    banner: Banner | None = None
    description: Text = ""
    owner: Text = ""


class Scope(Spec, frozen=True):
    """Where an activation applies; an empty list means all."""

    services: tuple[Name, ...] = ()
    request_classes: tuple[Key, ...] = ()
    cohorts: tuple[Key, ...] = ()
    providers: tuple[Name, ...] = ()


class SafeModeActivation(Spec, frozen=True):
    """A profile switched on, by whom, why and until when."""

    profile: Key
    reason: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=NOT_BLANK)]
    actor: Name
    activated_at: Instant
    expires_at: Instant
    scope: Scope = Scope()
    incident: Name | None = None
    on_expiry: Literal["lift", "hold"] = "lift"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "activated_at", self.activated_at.astimezone(UTC))
        msgspec.structs.force_setattr(self, "expires_at", self.expires_at.astimezone(UTC))


class ResponseTemplate(Spec, frozen=True):
    """Text with `{placeholders}`; see brownout.template for how it is filled."""

    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    description: Text = ""
    owner: Text = ""


class Guardrail(Spec, frozen=True):
    """What must not get worse during a rollout, and what is done when the evidence says that it did.

    `no_worse_than` is a multiple of the control's rate of bad events, or of its typical time; for quality, `max_drop`
    is the fall of the mean that is allowed.
    """

    measure: Measure | MeanMeasure
    no_worse_than: Annotated[float, Meta(ge=1, le=100)] = 1.25
    max_drop: Annotated[float, Meta(ge=0)] = 0.05
    max_rate: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """Bad events a request of the treatment alone, instead of `no_worse_than`: also asked where there is no control."""
    action: Literal["rollback", "pause", "safe_mode"] = "rollback"
    profile: Key | None = None
    """The safe-mode profile that `safe_mode` activates, besides rolling back."""


class Gate(Spec, frozen=True):
    """What must be proven before a stage is left: that it is *not* this much worse. Fields as in Guardrail."""

    measure: Measure | MeanMeasure
    no_worse_than: Annotated[float, Meta(gt=1, le=100)] = 1.5
    max_drop: Annotated[float, Meta(gt=0)] = 0.1


class Stage(Spec, frozen=True):
    """`weight_bp` of a cohort (None = everyone) gets the treatment, at least for so long and for so many units."""

    weight_bp: Annotated[int, Meta(ge=1, le=10_000)]
    cohort: Key | None = None
    min_duration_s: Annotated[int, Meta(ge=0, le=31_536_000)] = 0
    min_units: Annotated[int, Meta(ge=0)] = 0
    """Distinct units in the treatment."""
    approval: bool = False
    """A person has to advance out of it."""


RolloutState = Literal["draft", "running", "paused", "completed", "rolled_back", "aborted"]
PausedBy = Literal["person", "safe_mode", "guardrail"]


class Muted(Spec, frozen=True):
    """A stretch of time whose evidence does not count; `until` is None while it lasts."""

    since: Instant
    until: Instant | None = None


class Progress(Spec, frozen=True):
    """Where a rollout is. It changes in the commit that changes the flag, so the two can never disagree."""

    state: RolloutState = "draft"
    run: Annotated[int, Meta(ge=0)] = 0
    """Grows with every start: evidence of an earlier run is not counted again."""
    stage: Annotated[int, Meta(ge=0)] = 0
    started_at: Instant | None = None
    """When the present stage began."""
    paused_by: PausedBy | None = None
    muted: tuple[Muted, ...] = ()
    """Pauses within the present stage."""
    why: Annotated[str, Meta(max_length=2_000)] = ""


Inconclusive = Literal["hold", "advance", "rollback"]


class Rollout(Spec, frozen=True):
    """Moves a flag from one variant to another in stages, through a rule of its own (docs/rollouts.md)."""

    flag: Key
    control: str
    treatment: str
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=50)]
    unit: Name = "targeting_key"
    guardrails: Annotated[tuple[Guardrail, ...], Meta(max_length=20)] = ()
    gates: Annotated[tuple[Gate, ...], Meta(max_length=20)] = ()
    on_inconclusive: Inconclusive = "hold"
    """When a stage's time and units are reached and a gate has still not opened."""
    on_no_data: Inconclusive = "hold"
    """When a stage's time is over and its units did not come."""
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    progress: Progress = Progress()
    description: Text = ""
    owner: Text = ""
