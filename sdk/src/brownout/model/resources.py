"""The resources of an environment: one struct a kind; unknown fields are refused (docs/evaluation.md)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, field

from brownout.model.values import (
    ErrorClass,
    FallbackLadder,
    ModelRoute,
    Name,
    Prompt,
    RetryPolicy,
    TokenBudget,
    ToolPolicy,
)

KEY_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}\Z"
NOT_BLANK = r"\S"

if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
    FlagValue: TypeAlias = Json | ModelRoute | FallbackLadder | TokenBudget | ToolPolicy | RetryPolicy | Prompt
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
    "prompt",
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
NoticeKey = ErrorClass | Literal["*"]
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
    "prompt": Prompt,
}


class ResourceRef(NamedTuple):
    kind: str
    key: str


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every kind. Defaults are not written, so an older reader survives a newer optional field."""


class Clause(Spec, frozen=True):
    """A test of one attribute. A clause whose attribute is missing or of another type is false, also when negated."""

    op: Operator
    """The test. `exists` takes no values; `in_cohort` takes cohort keys and no attribute."""
    attribute: Annotated[str, Meta(max_length=200)] = ""
    """A dotted path into the context."""
    values: tuple[str | int | float | bool, ...] = ()
    """What the attribute is compared with."""
    negate: bool = False
    """Reverses the result of the test."""


Clauses = Annotated[tuple[Clause, ...], Meta(max_length=64)]
"""All must hold. Compiled they nest (brownout.program), and Python has no more than a hundred levels."""


class Share(Spec, frozen=True):
    """One part of a split."""

    variant: str
    """The variant that this share serves."""
    weight_bp: BasisPoints
    """Its size in basis points (1/100 of a percent). The shares of a split sum to 10,000."""


class Split(Spec, frozen=True):
    """Consecutive shares of 10,000 buckets; `seed` defaults to the flag's key (see brownout.evaluation.bucketing).

    `fallback` is what a context without a usable unit gets. It defaults to the flag's `off_variant` if that has a share,
    else to the variant with the largest one (the last listed of several): never what is being rolled out.
    """

    split: Annotated[tuple[Share, ...], Meta(min_length=1)]
    """The shares, in order."""
    by: Name = "targeting_key"
    """The attribute that holds the unit: the same unit always gets the same variant."""
    seed: Name | None = None
    """What the unit is hashed with; None is the flag's key."""
    version: Literal[1] = 1
    """The hashing scheme."""
    fallback: Name | None = None
    """The variant for a context without a usable unit; None as described above."""


Serve: TypeAlias = str | Split
"""What a rule gives: the name of a variant, or a split."""


class Rule(Spec, frozen=True):
    """Serves when every clause holds. A rule without clauses always holds."""

    id: Name
    """Names the rule in decisions and history; unique in the flag."""
    serve: Serve
    """The variant that it serves, or a split."""
    when: Clauses = field(default=(), name="if")
    """The clauses; all must hold."""


class Flag(Spec, frozen=True):
    """A named decision: rules choose one of its variants."""

    type: FlagType
    """The type of every variant."""
    variants: Annotated[dict[Name, FlagValue], Meta(min_length=1, max_length=1_000)]
    """The values that the flag can have, by name."""
    off_variant: str
    """The variant that is served while the flag is disabled."""
    default: Serve
    """The variant or split that is served when no rule holds."""
    enabled: bool = True
    """False serves `off_variant` to everyone."""
    rules: tuple[Rule, ...] = ()
    """Tried in order; the first that holds serves."""
    safe_variant: str | None = None
    """The variant that safe mode serves, if a profile names the flag."""
    schema: dict[str, Json] | None = None
    """A JSON Schema for the variants of an `object` flag."""
    description: Text = ""
    owner: Text = ""
    tags: tuple[Name, ...] = ()
    """Words to filter lists by."""


class Cohort(Spec, frozen=True):
    """A group of units: named one by one, or described by conditions. `exclude` wins."""

    by: Name = "targeting_key"
    """The attribute that holds the unit."""
    include: tuple[str, ...] = ()
    """Units that belong to the cohort."""
    exclude: tuple[str, ...] = ()
    """Units that do not belong to it, whatever else holds."""
    any_of: tuple[Clauses, ...] = ()
    """Alternatives: a context belongs when every clause of one alternative holds."""
    description: Text = ""
    owner: Text = ""


class RequestClass(Spec, frozen=True):
    """A kind of LLM call, and the flags (by key) that decide about it."""

    criticality: Criticality
    """How much it matters when traffic is shed."""
    model: Key
    """A `model_route` flag."""
    ladder: Key | None = None
    """A `fallback_ladder` flag."""
    budget: Key | None = None
    """A `token_budget` flag."""
    tools: Key | None = None
    """A `tool_policy` flag."""
    retry: Key | None = None
    """A `retry_policy` flag."""
    prompt: Key | None = None
    """A `prompt` flag."""
    sensitive: bool = False
    """Whether a profile's `sensitive` action applies."""
    cache_epoch: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Cached responses of another epoch are not served. Raise it to invalidate all of them."""
    notices: dict[NoticeKey, Annotated[str, Meta(min_length=1, max_length=2_000)]] = {}
    """What users are told beside a degraded response, by error class; `*` is for every other one. Placeholders as in a
    response template."""
    retrieval: bool = False
    """Whether its requests work on retrieved sources, which can be missing."""
    tier: Key | None = None
    """Its service tier."""
    description: Text = ""
    owner: Text = ""


class Banner(Spec, frozen=True):
    """What your product shows its users in safe mode."""

    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    """The text."""
    level: Literal["info", "warning", "critical"] = "info"
    """How severe it looks. Of several activations the most severe wins."""


class SafeModeProfile(Spec, frozen=True):
    """What safe mode does. It can only tighten: None and empty leave things as they are."""

    exclude_tools: tuple[Name, ...] = ()
    """Tools that may not be used; `*` is a wildcard."""
    exclude_targets: tuple[Name, ...] = ()
    """Targets of model routes that may not be used, by name."""
    exclude_providers: tuple[Name, ...] = ()
    """Providers that may not be used. `*`, here or in targets, excludes every model: only templates and people answer."""
    max_temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """The highest temperature."""
    max_context_tokens: Annotated[int, Meta(ge=1)] | None = None
    """The most input tokens of a request."""
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    """The most output tokens of a request."""
    max_attempts: Annotated[int, Meta(ge=1)] | None = None
    """The most attempts, the first included."""
    sensitive: SensitiveAction = "continue"
    """What happens to sensitive request classes."""
    serve_safe_variant: tuple[str, ...] = ()
    """Flag keys, or `*` for every flag that has a safe variant."""
    shed_bp: dict[Criticality, BasisPoints] = {}
    """The share of requests to turn away, by criticality, in basis points."""
    banner: Banner | None = None
    """Text for your users; None shows none."""
    description: Text = ""
    owner: Text = ""


class Scope(Spec, frozen=True):
    """Where an activation applies; an empty list means all."""

    services: tuple[Name, ...] = ()
    """Services that it applies to."""
    request_classes: tuple[Key, ...] = ()
    """Request classes that it applies to."""
    cohorts: tuple[Key, ...] = ()
    """Cohorts that it applies to."""
    providers: tuple[Name, ...] = ()
    """Model providers that it applies to."""


class SafeModeActivation(Spec, frozen=True):
    """A profile that is switched on."""

    profile: Key
    """The profile."""
    reason: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=NOT_BLANK)]
    """Why it was switched on."""
    actor: Name
    """The person, token or rollout that switched it on."""
    activated_at: Instant
    """When it was switched on."""
    expires_at: Instant
    """When it ends."""
    scope: Scope = Scope()
    """Where it applies."""
    incident: Name | None = None
    """A reference into your incident tracker."""
    on_expiry: Literal["lift", "hold"] = "lift"
    """`lift` ends it by itself; `hold` keeps it on, and reports it as overdue."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "activated_at", self.activated_at.astimezone(UTC))
        msgspec.structs.force_setattr(self, "expires_at", self.expires_at.astimezone(UTC))


class ResponseTemplate(Spec, frozen=True):
    """A text with `{placeholders}` that a ladder can answer with."""

    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    """The text."""
    description: Text = ""
    owner: Text = ""


class Guardrail(Spec, frozen=True):
    """What must not get worse during a rollout, and what is done when the evidence says that it did.

    `no_worse_than` is a multiple of the control's rate of bad events, or of its typical time; for quality, `max_drop`
    is the fall of the mean that is allowed.
    """

    measure: Annotated[str, Meta(min_length=1, max_length=120)]
    """What is compared: a measure of requests, or `event:`, `value:` or `amount:` and a name that the service tracks."""
    no_worse_than: Annotated[float, Meta(ge=1, le=100)] = 1.25
    """The multiple of the control's rate of bad events, or of its typical time or amount, that is still acceptable."""
    max_drop: Annotated[float, Meta(ge=0)] = 0.05
    """For quality and `value:`: the fall of the mean that is still acceptable."""
    max_rate: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """The acceptable share of bad events in the treatment alone, instead of `no_worse_than`. It also holds where there
    is no control."""
    action: Literal["rollback", "pause", "safe_mode"] = "rollback"
    """What happens when the evidence shows a breach. `safe_mode` also rolls back."""
    profile: Key | None = None
    """The safe-mode profile that `safe_mode` activates."""


class Gate(Spec, frozen=True):
    """What must be proven before a stage is left: that the treatment is *not* this much worse."""

    measure: Annotated[str, Meta(min_length=1, max_length=120)]
    """What is compared: a measure of requests, or `event:`, `value:` or `amount:` and a name that the service tracks."""
    no_worse_than: Annotated[float, Meta(gt=1, le=100)] = 1.5
    """As in a guardrail."""
    max_drop: Annotated[float, Meta(gt=0)] = 0.1
    """As in a guardrail."""


class Stage(Spec, frozen=True):
    """One step of a rollout."""

    weight_bp: Annotated[int, Meta(ge=1, le=10_000)]
    """The share that gets the treatment, in basis points."""
    cohort: Key | None = None
    """The cohort that this stage serves; None is everyone."""
    min_duration_s: Annotated[int, Meta(ge=0, le=31_536_000)] = 0
    """Minimum time in the stage, in seconds. Paused time is not counted."""
    min_units: Annotated[int, Meta(ge=0)] = 0
    """Minimum units in the treatment."""
    approval: bool = False
    """Whether a person has to advance out of the stage."""


RolloutState = Literal["draft", "running", "paused", "completed", "finished", "rolled_back", "aborted"]
"""`completed` still serves by its own rule; `finished` has handed what it served over to the flag."""
PausedBy = Literal["person", "safe_mode", "guardrail"]


class Muted(Spec, frozen=True):
    """A stretch of time whose evidence is not counted."""

    since: Instant
    """When it began."""
    until: Instant | None = None
    """When it ended; None while it lasts."""


class Progress(Spec, frozen=True):
    """Where a rollout is. Brownout writes it, in the commit that changes the flag."""

    state: RolloutState = "draft"
    """The state of the rollout."""
    run: Annotated[int, Meta(ge=0)] = 0
    """Grows with every start: evidence of an earlier run is not counted again."""
    stage: Annotated[int, Meta(ge=0)] = 0
    """The present stage, counted from 0."""
    started_at: Instant | None = None
    """When the present stage began."""
    paused_by: PausedBy | None = None
    """What paused it; None while it is not paused."""
    muted: tuple[Muted, ...] = ()
    """Pauses within the present stage."""
    why: Annotated[str, Meta(max_length=2_000)] = ""
    """The reason for the present state."""


Inconclusive = Literal["hold", "advance", "rollback"]


class Rollout(Spec, frozen=True):
    """Moves a flag from one variant to another in stages, through a rule of its own (docs/rollouts.md)."""

    flag: Key
    """The flag that it changes."""
    control: str
    """The variant that is served now."""
    treatment: str
    """The variant to move to."""
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=50)]
    """The steps, in order."""
    unit: Name = "targeting_key"
    """The attribute that holds the unit."""
    guardrails: Annotated[tuple[Guardrail, ...], Meta(max_length=20)] = ()
    """What must not get worse."""
    gates: Annotated[tuple[Gate, ...], Meta(max_length=20)] = ()
    """What must be proven before a stage is left."""
    on_inconclusive: Inconclusive = "hold"
    """What happens when a stage's time and units are reached and a gate is still not proven."""
    on_no_data: Inconclusive = "hold"
    """What happens when a stage's time is over and its units did not arrive."""
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    """The chance of a false alarm over the whole rollout."""
    finish: Literal["by_hand", "automatic"] = "by_hand"
    """Whether completing it also makes what it serves the flag's own: its default, or an ordinary rule."""
    progress: Progress = Progress()
    """Where it is; written by Brownout."""
    description: Text = ""
    owner: Text = ""
