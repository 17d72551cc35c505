"""Where a request stands, and which rungs of its ladder are worth trying from there. Pure."""

from collections.abc import Mapping

import msgspec

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.model.frozen import FrozenDict
from brownout.model.values import ErrorClass, RungType
from brownout.runner.moves import AnyAction, TakeBack

_NEED_TIME: frozenset[RungType] = frozenset({"cache", "evidence", "human_review", "later"})
_AFTER_AN_EFFECT: frozenset[RungType] = frozenset({"model", "template", "human_review"})


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the ladder must know of a request and its process, beyond the policy."""

    now_s: float = 0.0
    input_tokens: int | None = None
    """The estimated size of the prompt."""
    sources: int | None = None
    """How many sources came with the request; None if it does not work on any."""
    resets: bool = False
    """Whether the reader can take back text that it was given."""
    unready: bool = False
    """Whether the prompt lacks a value: no model can be asked."""
    resumes: frozenset[str] = frozenset()
    """Providers whose callable goes on from a conversation that another model began."""


class State(msgspec.Struct, frozen=True):
    """Where a request stands. Immutable; only `step` makes the next one."""

    policy: Policy
    facts: Facts
    ends_at: float
    now_s: float
    action: AnyAction | None = None
    """What is under way; None before the request began."""
    at: int = -1
    """The position in the ladder; -1 is the policy's own model."""
    spent: Mapping[str, int] = FrozenDict()
    """Failed attempts by target."""
    once: frozenset[tuple[str, str]] = frozenset()
    """What may happen once and has: (target, class of failure)."""
    error: ErrorClass | None = None
    """The latest failure."""
    take_back: TakeBack = ""
    delivered: bool = False
    """Whether the reader has text of this turn."""
    effects: bool = False
    turns: int = 0
    last: bool = False
    """Whether only the end follows when this action misses."""

    def target(self, rung: int) -> PolicyTarget | None:
        return self.policy.model if rung < 0 else self.policy.ladder.rungs[rung].target


def find(state: State, *, models: bool = True, models_only: bool = False) -> int | None:
    error, late = state.error, state.now_s >= state.ends_at
    rungs = state.policy.ladder.rungs
    for index in range(state.at + 1, len(rungs)):
        each = rungs[index]
        if error is not None and not each.rung.follows(error):
            continue
        if each.target is not None:
            if models and state.now_s < last_call(state) and _may_try(state, each.target, error in each.rung.on):
                return index
        elif not models_only and _is_open(state, each.type, late):
            return index
    return None


def _is_open(state: State, type_: RungType, late: bool) -> bool:
    """Whether a rung that is no model can be used. After an effect only those that can say what was done."""
    if type_ == "model" or (state.effects and type_ not in _AFTER_AN_EFFECT):
        return False
    return type_ == "template" or not late


def _latest(state: State) -> PolicyTarget | None:
    """The model that was tried last: rungs of other types may lie between it and here."""
    for index in range(state.at, -2, -1):
        target = state.target(index)
        if target is not None and (index in {state.at, -1} or target.name in state.spent):
            return target
    return None


def _may_try(state: State, target: PolicyTarget, named: bool) -> bool:
    """Whether a model rung is worth a call after the latest failure."""
    failed, policy = _latest(state), state.policy
    if target.name in state.spent or (failed is not None and failed.name == target.name) or not fits(state, target):
        return False
    if state.effects and target.provider not in state.facts.resumes and policy.retry.side_effects == "refuse":
        return False
    match state.error:
        case "context_window":
            known = (failed.max_context_tokens if failed else None) or 0
            return target.max_context_tokens is not None and target.max_context_tokens > known
        case "budget_exhausted":
            return failed is None or target.provider != failed.provider
        case "filter_unavailable" | "bad_request":
            return state.error == "bad_request" and not state.effects
        case "retrieval_miss":
            return named
    return True


def fits(state: State, target: PolicyTarget) -> bool:
    window, tokens = target.max_context_tokens, state.facts.input_tokens
    return window is None or tokens is None or tokens <= window


def last_call(state: State) -> float:
    """When attempts and waits must be over: a twentieth of the deadline, half a second at most, is kept for the
    rungs that are neither models nor templates."""
    if state.ends_at == float("inf") or not any(
        each.type in _NEED_TIME for each in state.policy.ladder.rungs[state.at + 1 :]
    ):
        return state.ends_at
    return state.ends_at - min(0.5, (state.ends_at - state.facts.now_s) / 20)
