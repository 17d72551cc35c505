"""The composed answer for one kind of LLM call: what the flags say, tightened by safe mode. Pure data to data."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

import mmh3
import msgspec

from brownout.evaluation.decision import Decision, ErrorCode
from brownout.evaluation.safemode import Activation, Origin, Overlay, join, least, normal
from brownout.model.frozen import FrozenDict
from brownout.model.resources import Banner, Criticality, FlagValue, RequestClass, SensitiveAction
from brownout.model.template import placeholders, render
from brownout.model.values import (
    ErrorClass,
    FallbackLadder,
    ModelParams,
    ModelRoute,
    Price,
    Prompt,
    PromptMessage,
    RetryPolicy,
    Rung,
    RungType,
    Target,
    Terminal,
    TokenBudget,
    ToolPolicy,
)


class PolicyTarget(msgspec.Struct, frozen=True):
    """A model to call. `name` is the target's name in its route."""

    name: str
    provider: str
    model: str
    params: ModelParams = ModelParams()
    max_context_tokens: int | None = None
    first_token_ms: int | None = None
    stall_ms: int | None = None
    attempt_ms: int | None = None
    price: Price | None = None


_AnyTarget = TypeVar("_AnyTarget", PolicyTarget, Target)


class PolicyRung(msgspec.Struct, frozen=True):
    """A rung of the ladder with what it names looked up: the model to call, the text to answer with."""

    rung: Rung
    target: PolicyTarget | None = None
    text: str | None = None

    @property
    def type(self) -> RungType:
        """The kind of the rung: `model`, `cache`, `template`, …"""
        return self.rung.type


class PolicyLadder(msgspec.Struct, frozen=True):
    """What to try when the policy's model fails, rung by rung, and what to do at its end."""

    rungs: tuple[PolicyRung, ...] = ()
    terminal: Terminal = Terminal()
    deadline_ms: int | None = None
    on_break: Literal["surface", "restart"] = "surface"

    def after(self, error: ErrorClass, failed: Collection[str] = ()) -> tuple[PolicyRung, ...]:
        """The rungs to try, in order, once the model failed with `error`. `failed` are the names of the targets that have
        failed already; the policy's own model is never among its rungs."""
        return tuple(
            rung
            for rung in self.rungs
            if rung.rung.answers(error) and not (rung.target is not None and rung.target.name in failed)
        )

    def without(self, target: PolicyTarget | None) -> "PolicyLadder":
        """The ladder below a target: one that just failed is not the next rung."""
        name = target.name if target else None
        kept = tuple(rung for rung in self.rungs if rung.target is None or rung.target.name != name)
        return self if len(kept) == len(self.rungs) else msgspec.structs.replace(self, rungs=kept)


class PolicyPrompt(msgspec.Struct, frozen=True):
    """The messages that come first. `version` names what they say: equal texts have equal versions."""

    messages: tuple[PromptMessage, ...]
    variables: tuple[str, ...] = ()
    version: str = ""

    def missing(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """The variables of its texts that `values` lacks, or has None for."""
        used = dict.fromkeys(name for message in self.messages for name in placeholders(message.text))
        return tuple(name for name in used if values.get(name) is None)

    def render(self, values: Mapping[str, object]) -> list[dict[str, str]]:
        """The messages with the values in place, as providers' clients take them.

        Raises:
            ValueError: a value is missing.
        """
        if missing := self.missing(values):
            raise ValueError(f"the prompt needs a value for {', '.join(missing)}")
        return [{"role": message.role, "content": render(message.text, values)} for message in self.messages]


class PolicyWindow(msgspec.Struct, frozen=True):
    """How the budget's window stands for this context, as far as this instance knows. The window itself is in `budget`."""

    flag: str
    variant: str
    scope: str
    """A hash of the attributes that separate the counts, in hex."""
    used_bp: int
    """What the fleet has spent of the limit, in basis points; more than 10,000 when it spent more."""
    available: int
    """What this instance may spend now; the rest of what is left is other instances', or comes with the next lease."""
    resets_at: int
    """Unix seconds at which the next period begins."""
    exceeded: bool = False
    """Whether nothing is available: do what `budget.on_exceeded` says."""
    degraded: bool = False
    """Whether the control plane does not answer: the instance spends its share of what it last knew to be left."""


class AppliedActivation(msgspec.Struct, frozen=True):
    """One activation that shaped a policy. `origin` says where it comes from: `log` is a commit."""

    key: str
    profile: str
    origin: Origin
    reason: str
    until: datetime | None = None
    """When it ends by itself; None if it does not."""


class SafeMode(msgspec.Struct, frozen=True):
    """Which activations shaped this policy. `until` is the earliest expiry among them."""

    activations: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    until: datetime | None = None
    applied: tuple[AppliedActivation, ...] = ()
    """Each with its origin and reason, those of the log first."""

    @property
    def active(self) -> bool:
        """Whether any activation shaped this policy."""
        return bool(self.activations)


class Policy(msgspec.Struct, frozen=True):
    """What to do with one request. Obey in this order: `stop`, `shed`, `sensitive`, then `model` and `ladder`.

    `model` is None when there is none to call: go down the ladder. `sensitive` is what to do instead of
    answering by model, for classes marked sensitive. `provenance` holds the decisions behind it by the
    request class's field (`model`, `ladder`, `budget`, `tools`, `retry`, `prompt`).
    """

    request_class: str
    criticality: Criticality = "critical"
    model: PolicyTarget | None = None
    ladder: PolicyLadder = PolicyLadder()
    budget: TokenBudget = TokenBudget()
    tools: ToolPolicy = ToolPolicy()
    retry: RetryPolicy = RetryPolicy()
    sensitive: SensitiveAction = "continue"
    stop: bool = False
    shed: bool = False
    shed_bp: int = 0
    banner: Banner | None = None
    safe_mode: SafeMode = SafeMode()
    revision: int = 0
    cache_epoch: int = 0
    notices: Mapping[str, str] = FrozenDict()
    error_code: ErrorCode | None = None
    provenance: Mapping[str, Decision[Any]] = FrozenDict()
    exposures: tuple[tuple[str, str], ...] = ()
    """Rollouts that chose something here: (the rule's id, the variant it gave)."""
    unit: str | None = None
    """What those rollouts count this request for, when the client knows."""
    beside: tuple[tuple[str, str, str], ...] = ()
    """Rollouts of other flags that chose something for this context: (the rule's id, the variant, the unit)."""
    prompt: PolicyPrompt | None = None
    """What the conversation begins with. Its values come from the service."""
    window: PolicyWindow | None = None
    """How the budget's window stands; None without one, and where no instance counts, as in the playground."""


def assemble(key: str, spec: RequestClass, values: Mapping[str, object], templates: Mapping[str, str]) -> Policy:
    """The policy that `values` (variant values by the class's field) make, without safe mode."""
    route, ladder = values.get("model"), values.get("ladder")
    budget, tools, retry = values.get("budget"), values.get("tools"), values.get("retry")
    prompt = values.get("prompt")
    targets = route.targets if isinstance(route, ModelRoute) else {}
    model = _target(targets, route.primary) if isinstance(route, ModelRoute) else None
    found = _ladder(ladder, targets, templates) if isinstance(ladder, FallbackLadder) else PolicyLadder()
    return Policy(
        request_class=key,
        criticality=spec.criticality,
        model=model,
        ladder=found.without(model),
        budget=budget if isinstance(budget, TokenBudget) else TokenBudget(),
        tools=tools if isinstance(tools, ToolPolicy) else ToolPolicy(),
        retry=retry if isinstance(retry, RetryPolicy) else RetryPolicy(),
        cache_epoch=spec.cache_epoch,
        notices=FrozenDict({str(error): text for error, text in spec.notices.items()}),
        prompt=_prompt(prompt) if isinstance(prompt, Prompt) else None,
    )


def _prompt(prompt: Prompt) -> PolicyPrompt:
    version = mmh3.hash(msgspec.json.encode(prompt.messages), signed=False)
    return PolicyPrompt(prompt.messages, prompt.variables, f"{version:08x}")


def _target(targets: Mapping[str, Target], name: str | None) -> PolicyTarget | None:
    target = targets.get(name or "")
    if target is None or name is None:
        return None
    return PolicyTarget(
        name, target.provider, target.model, target.params, target.max_context_tokens,
        target.first_token_ms, target.stall_ms, target.attempt_ms, target.price,
    )  # fmt: skip


def _ladder(ladder: FallbackLadder, targets: Mapping[str, Target], templates: Mapping[str, str]) -> PolicyLadder:
    rungs = (
        PolicyRung(rung, _target(targets, rung.target), templates.get(rung.template or "")) for rung in ladder.rungs
    )
    kept = tuple(rung for rung in rungs if rung.type != "model" or rung.target is not None)
    return PolicyLadder(kept, ladder.terminal, ladder.deadline_ms, ladder.on_break)


def tighten(policy: Policy, overlay: Overlay, *, sensitive: bool) -> Policy:
    """`policy` under `overlay`: never wider in anything. `sensitive` is whether the class is marked so."""
    if overlay == _NO_OVERLAY:
        return policy
    rungs = tuple(
        msgspec.structs.replace(rung, target=_limit(rung.target, overlay)) if rung.target else rung
        for rung in policy.ladder.rungs
        if not _excluded_rung(rung, overlay)
    )
    model, stop = policy.model, policy.stop
    if model is not None and _excluded(model, overlay):
        spare = next((rung for rung in rungs if rung.target is not None), None)
        model = spare.target if spare else None
        rungs = PolicyLadder(rungs).without(model).rungs
        stop = stop or (spare is None and not any(rung.type in _WITHOUT_MODEL for rung in rungs))
    elif model is not None:
        model = _limit(model, overlay)
    strictest = join((Overlay(sensitive=policy.sensitive), overlay)).sensitive if sensitive else policy.sensitive
    return msgspec.structs.replace(
        policy,
        model=model,
        ladder=msgspec.structs.replace(policy.ladder, rungs=rungs),
        budget=_limit_budget(policy.budget, overlay),
        tools=_exclude_tools(policy.tools, overlay),
        retry=msgspec.structs.replace(
            policy.retry, max_attempts=least(policy.retry.max_attempts, overlay.max_attempts)
        ),
        sensitive=strictest,
        stop=stop or strictest == "stop",
        shed_bp=max(policy.shed_bp, overlay.sheds(policy.criticality)),
        banner=join((Overlay(banner=policy.banner), overlay)).banner,
    )


def tighten_value(value: FlagValue, overlay: Overlay) -> FlagValue | None:
    """The value of one flag under `overlay`, as a policy would have it; None when nothing of it is left.

    A route whose primary target is excluded gets its first target that survives (in order of names).
    """
    if isinstance(value, ModelRoute):
        left = {
            name: _limit(target, overlay)
            for name, target in value.targets.items()
            if not overlay.excludes(name, target.provider)
        }
        if not left:
            return None
        primary = value.primary if value.primary in left else min(left)
        return msgspec.structs.replace(value, targets=left, primary=primary)
    if isinstance(value, FallbackLadder):
        rungs = tuple(rung for rung in value.rungs if not _excluded_alone(rung, overlay))
        return msgspec.structs.replace(value, rungs=rungs)
    if isinstance(value, TokenBudget):
        return _limit_budget(value, overlay)
    if isinstance(value, ToolPolicy):
        return _exclude_tools(value, overlay)
    if isinstance(value, RetryPolicy):
        return msgspec.structs.replace(value, max_attempts=least(value.max_attempts, overlay.max_attempts))
    return value


_NO_OVERLAY = Overlay()
_WITHOUT_MODEL = {"evidence", "template", "human_review", "later"}
"""Rungs that answer without a model, from the cache neither."""


def _excluded_alone(rung: Rung, overlay: Overlay) -> bool:
    """Without a route a rung's target is a name only."""
    if rung.type in {"model", "cache"} and overlay.excludes_every_model:
        return True
    return rung.target is not None and normal(rung.target) in overlay.exclude_targets


def _excluded(target: PolicyTarget, overlay: Overlay) -> bool:
    return overlay.excludes(target.name, target.provider)


def _excluded_rung(rung: PolicyRung, overlay: Overlay) -> bool:
    """What is in the cache was answered by a model, so it goes when every model goes."""
    if rung.target is not None:
        return _excluded(rung.target, overlay)
    return rung.type == "cache" and overlay.excludes_every_model


def _limit(target: _AnyTarget, overlay: Overlay) -> _AnyTarget:
    params = msgspec.structs.replace(
        target.params,
        temperature=least(target.params.temperature, overlay.max_temperature),
        max_output_tokens=least(target.params.max_output_tokens, overlay.max_output_tokens),
    )
    window = least(target.max_context_tokens, overlay.max_context_tokens)
    if (params, window) == (target.params, target.max_context_tokens):
        return target
    return msgspec.structs.replace(target, params=params, max_context_tokens=window)


def _limit_budget(budget: TokenBudget, overlay: Overlay) -> TokenBudget:
    asked = budget.per_request
    limited = msgspec.structs.replace(
        asked,
        max_input_tokens=least(asked.max_input_tokens, overlay.max_context_tokens),
        max_output_tokens=least(asked.max_output_tokens, overlay.max_output_tokens),
    )
    reserve = least(budget.reserve_cap, overlay.max_output_tokens)
    return msgspec.structs.replace(budget, per_request=limited, reserve_cap=reserve)


def _exclude_tools(tools: ToolPolicy, overlay: Overlay) -> ToolPolicy:
    if overlay.exclude_tools <= set(tools.exclude):
        return tools
    return msgspec.structs.replace(tools, exclude=tuple(sorted(overlay.exclude_tools.union(tools.exclude))))


def safe_mode_of(activations: tuple[Activation, ...]) -> SafeMode:
    return SafeMode(
        activations=tuple(dict.fromkeys(activation.key for activation in activations)),
        profiles=tuple(sorted({activation.spec.profile for activation in activations})),
        incidents=tuple(sorted({activation.spec.incident for activation in activations if activation.spec.incident})),
        until=min((activation.spec.expires_at for activation in activations if activation.ends), default=None),
        applied=tuple(
            AppliedActivation(
                activation.key, activation.spec.profile, activation.origin, activation.spec.reason,
                activation.spec.expires_at if activation.ends else None,
            )
            for activation in activations
        ),
    )  # fmt: skip
