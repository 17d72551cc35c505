"""`client.record` as JSON, for services in other languages: the policy as they got it, and how the request went.

The control plane's API and the sidecar take it (docs/sdk/http.md).
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from brownout.evaluation.decision import Decision
from brownout.evaluation.policy import (
    Policy,
    PolicyLadder,
    PolicyPrompt,
    PolicyRung,
    PolicyTarget,
    PolicyWindow,
    SafeMode,
)
from brownout.model.frozen import FrozenDict
from brownout.model.values import ErrorClass, Price, Rung, RungType, TokenBudget, Window
from brownout.telemetry.attempted import Attempted

Label = Annotated[str, Meta(max_length=1_000)]
Labels = Annotated[tuple[Label, ...], Meta(max_length=64)]
Tokens = Annotated[int, Meta(ge=0, le=2**32)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]


class ObeyedPrice(msgspec.Struct, frozen=True):
    input_usd_per_million: Annotated[float, Meta(ge=0, le=1e6)]
    output_usd_per_million: Annotated[float, Meta(ge=0, le=1e6)]


class ObeyedModel(msgspec.Struct, frozen=True):
    model: Label
    name: Label = ""
    provider: Label = ""
    price: ObeyedPrice | None = None

    def policy_target(self) -> PolicyTarget:
        price = self.price
        priced = Price(price.input_usd_per_million, price.output_usd_per_million) if price else None
        return PolicyTarget(self.name, self.provider, self.model, price=priced)


class ObeyedRung(msgspec.Struct, frozen=True):
    target: ObeyedModel | None = None


class ObeyedLadder(msgspec.Struct, frozen=True):
    rungs: Annotated[tuple[ObeyedRung, ...], Meta(max_length=64)] = ()


class ObeyedLimit(msgspec.Struct, frozen=True):
    unit: Literal["tokens", "requests", "usd_micros"]
    limit: Annotated[int, Meta(ge=1, le=2**53)]
    per: Literal["minute", "hour", "day", "month"]


class ObeyedBudget(msgspec.Struct, frozen=True):
    window: ObeyedLimit | None = None


class ObeyedWindow(msgspec.Struct, frozen=True):
    flag: Label
    variant: Label
    scope: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class ObeyedSafeMode(msgspec.Struct, frozen=True):
    profiles: Labels = ()


class ObeyedDecision(msgspec.Struct, frozen=True):
    variant: Label | None = None


class ObeyedPrompt(msgspec.Struct, frozen=True):
    version: Label


class ObeyedPolicy(msgspec.Struct, frozen=True):
    """What of a policy says under which labels its requests are counted. Its other fields are ignored."""

    request_class: Label
    model: ObeyedModel | None = None
    safe_mode: ObeyedSafeMode = ObeyedSafeMode()
    provenance: Annotated[dict[Label, ObeyedDecision], Meta(max_length=64)] = {}
    exposures: Annotated[tuple[tuple[Label, Label], ...], Meta(max_length=16)] = ()
    unit: Label | None = None
    prompt: ObeyedPrompt | None = None
    stop: bool = False
    shed: bool = False
    budget: ObeyedBudget = ObeyedBudget()
    window: ObeyedWindow | None = None
    ladder: ObeyedLadder = ObeyedLadder()

    def policy(self) -> Policy:
        limit, window = self.budget.window, self.window
        called = (each.target.policy_target() for each in self.ladder.rungs if each.target)
        return Policy(
            self.request_class,
            model=self.model.policy_target() if self.model else None,
            ladder=PolicyLadder(tuple(PolicyRung(Rung("model"), target) for target in called)),
            budget=TokenBudget(window=Window(limit.unit, limit.limit, limit.per) if limit else None),
            window=PolicyWindow(window.flag, window.variant, window.scope, 0, 0, 0) if window else None,
            safe_mode=SafeMode(profiles=self.safe_mode.profiles),
            provenance=FrozenDict(
                {field: Decision("", None, decision.variant) for field, decision in self.provenance.items()}
            ),
            exposures=self.exposures,
            unit=self.unit,
            prompt=PolicyPrompt((), version=self.prompt.version) if self.prompt else None,
            stop=self.stop,
            shed=self.shed,
        )


class RecordInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one request went that followed `policy`. Leave out what you do not know: it is not counted either way."""

    policy: ObeyedPolicy
    """The policy as it was returned to you, whole."""
    outcome: Literal["ok", "error"] | None = None
    error_class: ErrorClass | None = None
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    duration_ms: Milliseconds | None = None
    time_to_first_token_ms: Milliseconds | None = None
    quality: Annotated[float, Meta(ge=-1e100, le=1e100)] | None = None
    rung: RungType | None = None
    """The kind of rung that answered when it was not the primary model."""
    refused: bool = False
    format_ok: bool | None = None
    completed: bool | None = None
    escalated: bool = False
    retrieval_hit: bool | None = None
    cost: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    """In your own currency."""
    answered_by: Label | None = None
    """The name of the target that answered, where a model did."""
    attempts: Annotated[tuple[Attempted, ...], Meta(max_length=64)] = ()
    """Each call to a model. The tokens are theirs then."""
    provisional: bool = False
    """The answer is less than one of a model: cached, sources only, or cut off."""
    shed: bool = False
    stopped: bool = False
    queued: bool = False
    """A person or a later run has the request."""
    abandoned: bool = False
    """The user left before the end."""
    prompt_tokens: Tokens | None = None
    cache_age_s: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    drill: Label = ""
    """The drill that the request was part of."""

    def said(self) -> dict[str, Any]:
        """The arguments of `client.record`, besides the policy."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "policy"}
