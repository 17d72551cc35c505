"""Where one value allows more than another: limits that rise, exclusions and approvals that vanish. Pure.

Every function is conservative: what it cannot compare, it calls looser.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from brownout.model.resources import SafeModeProfile
from brownout.model.values import FallbackLadder, ModelRoute, Price, RetryPolicy, Rung, Target, TokenBudget, ToolPolicy

N = TypeVar("N", int, float)
SENSITIVE = ("continue", "human_review", "stop")
EXCEEDED = ("warn", "fallback", "reject")
_TARGET_LIMITS = ("max_context_tokens", "first_token_ms", "stall_ms", "attempt_ms")
_RUNG_LIMITS = {"cache": "max_age_s", "later": "not_after_s", "evidence": "max_sources"}


def value_loosens(before: Any, after: Any, *, same_target: bool = False) -> Iterator[str]:
    """How `after` allows what `before` did not. A value of an ordinary flag allows nothing by itself.

    Args:
        same_target: compare the limits of a model route's targets only where both name the same model.
    """
    if before == after:
        return
    match before, after:
        case ToolPolicy(), ToolPolicy():
            yield from _tools(before, after)
        case TokenBudget(), TokenBudget():
            yield from _budget(before, after)
        case RetryPolicy(), RetryPolicy():
            yield from _retries(before, after)
        case FallbackLadder(), FallbackLadder():
            yield from _ladder(before, after)
        case ModelRoute(), ModelRoute():
            yield from _route(before, after, same_target)


def profile_loosens(before: SafeModeProfile, after: SafeModeProfile) -> Iterator[str]:
    for field in ("exclude_tools", "exclude_targets", "exclude_providers"):
        if not _covers(getattr(after, field), getattr(before, field)):
            yield f"loosens {field}"
    for field in ("max_temperature", "max_context_tokens", "max_output_tokens", "max_attempts"):
        if _rises(getattr(before, field), getattr(after, field)):
            yield f"raises {field}"
    if SENSITIVE.index(after.sensitive) < SENSITIVE.index(before.sensitive):
        yield "loosens sensitive"
    # A safe variant may allow more than what it replaces.
    if set(before.serve_safe_variant) != set(after.serve_safe_variant):
        yield "changes serve_safe_variant"
    if any(after.shed_bp.get(criticality, 0) < share for criticality, share in before.shed_bp.items()):
        yield "lowers shed_bp"
    if before.banner is not None and after.banner is None:
        yield "loses its banner"


def _tools(before: ToolPolicy, after: ToolPolicy) -> Iterator[str]:
    if "*" not in before.include and not set(after.include) <= set(before.include):
        yield "includes more tools"
    if not _covers(after.exclude, before.exclude):
        yield "excludes fewer tools"
    if not _covers(after.require_approval, before.require_approval):
        yield "asks for fewer approvals of tools"
    if _rises(before.max_calls, after.max_calls):
        yield "raises max_calls"


def _budget(before: TokenBudget, after: TokenBudget) -> Iterator[str]:
    for field in ("max_input_tokens", "max_output_tokens"):
        if _rises(getattr(before.per_request, field), getattr(after.per_request, field)):
            yield f"raises {field}"
    was, now = before.window, after.window
    if was is not None and (
        now is None or (was.unit, was.per, was.scope) != (now.unit, now.per, now.scope) or now.limit > was.limit
    ):
        yield "loosens its window"
    if _rises(before.reserve_cap, after.reserve_cap):
        yield "raises reserve_cap"
    if EXCEEDED.index(after.on_exceeded) < EXCEEDED.index(before.on_exceeded):
        yield "loosens on_exceeded"


def _retries(before: RetryPolicy, after: RetryPolicy) -> Iterator[str]:
    if after.max_attempts > before.max_attempts:
        yield "raises max_attempts"
    if not set(after.retry_on) <= set(before.retry_on):
        yield "retries more errors"
    if after.initial_backoff_ms < before.initial_backoff_ms or after.max_backoff_ms < before.max_backoff_ms:
        yield "retries sooner"
    if after.retry_after_max_ms > before.retry_after_max_ms:
        yield "waits longer for a provider"
    if before.jitter == "full" and after.jitter != "full":
        yield "loses its jitter"
    was, now = before.retry_budget, after.retry_budget
    if was is not None and (
        now is None or now.ratio > was.ratio or now.min_per_s > was.min_per_s or now.ttl_s != was.ttl_s
    ):
        yield "loosens retry_budget"
    if before.before_first_token_only and not after.before_first_token_only:
        yield "retries after the first token"
    if before.side_effects == "refuse" and after.side_effects != "refuse":
        yield "retries what has side effects"


def _ladder(before: FallbackLadder, after: FallbackLadder) -> Iterator[str]:
    for field in ("refusal", "content_filter"):
        was, now = getattr(before.terminal, field), getattr(after.terminal, field)
        if now not in {was, "stop"}:
            yield f"changes what ends a {field}"
    if _rises(before.deadline_ms, after.deadline_ms):
        yield "raises deadline_ms"
    if before.on_break == "surface" and after.on_break != "surface":
        yield "starts broken streams again"
    known = set(map(_past_a_refusal, before.rungs))
    if any(kept[2:] != (False, False) and kept not in known for kept in map(_past_a_refusal, after.rungs)):
        yield "sends refusals to another model"
    for kind, limit in _RUNG_LIMITS.items():
        was, now = ([getattr(rung, limit) for rung in one.rungs if rung.type == kind] for one in (before, after))
        if now and (not was or _rises(_loosest(was), _loosest(now))):
            yield f"raises {limit} of its rungs of type {kind}"
    if "human_review" in {rung.type for rung in before.rungs} - {rung.type for rung in after.rungs}:
        yield "loses its people"


def _past_a_refusal(rung: Rung) -> tuple[str, str | None, bool, bool]:
    """What answers, and whether it answers a refusal or filtered content. Models answered what is cached."""
    if rung.type not in {"model", "cache"}:
        return rung.type, None, False, False
    return rung.type, rung.target, rung.follows("refusal"), rung.follows("content_filter")


def _loosest(limits: Sequence[int | None]) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def _route(before: ModelRoute, after: ModelRoute, same_target: bool) -> Iterator[str]:
    for name, now in after.targets.items():
        same = {known: was for known, was in before.targets.items() if _model(was) == _model(now)}
        if same and name not in same:
            yield f"calls {now.model} by another name, which exclusions may not know"
        for was in (same if same_target else before.targets).values():
            if _rises(was.params.max_output_tokens, now.params.max_output_tokens) or any(
                _rises(getattr(was, limit), getattr(now, limit)) for limit in _TARGET_LIMITS
            ):
                yield f"raises the limits of {name}"
                break
        if any(_cheaper(was.price, now.price) for was in same.values()):
            yield f"lowers the price of {now.model}, so that budgets in money last longer"


def _cheaper(before: Price | None, after: Price | None) -> bool:
    """None costs nothing."""
    if before is None or after is None:
        return before is not None
    return (
        after.input_usd_per_million < before.input_usd_per_million
        or after.output_usd_per_million < before.output_usd_per_million
    )


def _model(target: Target) -> tuple[str, str]:
    return target.provider.casefold(), target.model.casefold()


def _rises(before: N | None, after: N | None) -> bool:
    """None is no limit."""
    return before is not None and (after is None or after > before)


def _covers(restrictions: Iterable[str], others: Iterable[str]) -> bool:
    """Whether each of `others` is among them, whatever its case, or everything is restricted."""
    said = {name.casefold() for name in restrictions}
    return "*" in said or {name.casefold() for name in others} <= said
