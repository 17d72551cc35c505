"""What an environment says of its failures: plane kinds, which only the control plane reads (docs/adr/0220)."""

from typing import Annotated, Literal

from msgspec import Meta, field

from brownout.model.resources import NOT_BLANK, Criticality, Instant, Key, NoticeKey, Spec, Text
from brownout.model.values import ErrorClass

Line = Annotated[str, Meta(max_length=500)]
Reach = Literal["model", "provider", "every_model"]
Pattern = Literal["cached_responses", "secondary_model", "human_review", "degraded_ui", "safe_mode"]
Enforce = Literal["refuse", "warn"]


class Detect(Spec, frozen=True):
    """How a failure shows in requests."""

    errors: Annotated[tuple[ErrorClass, ...], Meta(min_length=1, max_length=14)]
    """The error classes that it causes."""
    reach: Reach = "provider"
    """Which calls fail: those to the policy's own model, to every model of its provider, or to every model."""


class Say(Spec, frozen=True):
    """What people are told while it lasts."""

    user: NoticeKey | None = None
    """Which of a request class's `notices` users read. Coverage counts a class without that notice as a gap. None asks
    for no notice."""
    support: Text = ""
    """What support staff tell customers."""
    status: Text = ""
    """The text for a status page."""


class Accepted(Spec, frozen=True):
    """A gap in coverage that someone has decided to live with."""

    request_class: Key
    """The request class."""
    reason: Annotated[str, Meta(min_length=1, max_length=2_000, pattern=NOT_BLANK)]
    """Why the gap is acceptable."""
    until: Instant | None = None
    """When the decision ends; None is never."""


class FailureMode(Spec, frozen=True):
    """A way in which requests fail, what it costs, and what to do about it (docs/failure-modes.md)."""

    detect: Detect
    """How it shows."""
    classes: Annotated[tuple[Key, ...], Meta(max_length=1_000)] = ()
    """The request classes that it concerns; empty is all of them."""
    impact: dict[Criticality, Annotated[int, Meta(ge=0, le=100)]] = field(default_factory=dict)
    """How bad one failed request is, from 0 to 100, by criticality. What is not named is 100, 60, 30 and 10, from
    `critical_plus` down."""
    respond: Text = ""
    """What the on-call engineer does first."""
    say: Say = Say()
    """What people are told."""
    escalate: Line = ""
    """Who is called when that does not help."""
    profile: Key | None = None
    """The safe-mode profile to switch on."""
    expect: Line = ""
    """What users should see once the response works."""
    accepted: Annotated[tuple[Accepted, ...], Meta(max_length=1_000)] = ()
    """Gaps that are acceptable."""
    description: Text = ""
    owner: Text = ""


class Requires(Spec, frozen=True):
    """What a tier asks of its request classes."""

    patterns: Annotated[tuple[Pattern, ...], Meta(max_length=5)] = ()
    """Resilience patterns that each class must have."""
    other_provider: bool = False
    """Whether each ladder needs a model at another provider than the primary one."""
    covered: bool = False
    """Whether a commit may not lose a covered cell of these classes."""


class ServiceTier(Spec, frozen=True):
    """What is promised for the request classes that name it (docs/tiers.md)."""

    rank: Annotated[int, Meta(ge=1, le=100)]
    """Its place; 1 is the highest."""
    requires: Requires = Requires()
    """What each of its classes must have."""
    enforce: Enforce = "warn"
    """What happens to a commit that leaves a requirement unmet: it is refused, or it says so."""
    description: Text = ""
    owner: Text = ""


IMPACT: dict[Criticality, int] = {"critical_plus": 100, "critical": 60, "sheddable_plus": 30, "sheddable": 10}
"""The impact of one failed request where a mode does not say it."""
