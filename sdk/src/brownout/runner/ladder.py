"""What a request does next, from its policy and from what happened: a state machine without a clock, I/O or chance.

`begin` makes a state, `step` takes an event and returns the next state and action. Time and randomness come inside the
events. The tables of docs/sdk/runner.md say what each class of failure leads to; sdk/conformance/ladder has a trace for
every cell of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from brownout.evaluation.policy import Policy
from brownout.model.frozen import FrozenDict
from brownout.runner.descent import answering, descend, finish, restarts, surface, take_back, to_person, try_model, use
from brownout.runner.moves import (
    Answered,
    AnyAction,
    AnyEvent,
    Ask,
    Attempt,
    Began,
    Cancelled,
    Delivered,
    Denied,
    EffectRan,
    Failure,
    Finish,
    Missed,
    NotAdmitted,
    Serve,
    Succeeded,
    Suspended,
    Wait,
    Waited,
)
from brownout.runner.pause import pause_s, wait_s
from brownout.runner.state import Facts, State, fits, last_call

MAX_TURNS = 64
"""Turns of one request: a model that asks for tools without end is stopped."""


def begin(policy: Policy, facts: Facts) -> State:
    """The state before the first event, which is `Began`."""
    deadline_ms = policy.ladder.deadline_ms
    ends_at = float("inf") if deadline_ms is None else facts.now_s + deadline_ms / 1000
    return State(policy, facts, ends_at, facts.now_s)


def step(state: State, event: AnyEvent) -> tuple[State, AnyAction]:
    """The state after `event`, and what to do now. An event that does not fit what is under way changes nothing."""
    handler, during = _HANDLERS[type(event)]
    if isinstance(state.action, during):
        state = handler(replace(state, now_s=max(state.now_s, event.now_s)), event)
    assert state.action is not None, "a request begins with Began"
    return state, state.action


def _began(state: State, _: Began) -> State:
    policy, facts = state.policy, state.facts
    limit = policy.budget.per_request.max_input_tokens
    if policy.stop:
        return finish(state, "stopped")
    if policy.shed:
        return finish(state, "shed")
    if policy.sensitive == "human_review":
        return use(state, "human_review")
    if facts.unready:
        return descend(replace(state, error="bad_request"), models=False)
    if limit is not None and facts.input_tokens is not None and facts.input_tokens > limit:
        # Never sent: unlike a window, this limit protects one call, and safe mode lowers it.
        state = replace(state, error="budget_exhausted")
        return descend(state, models=False) if policy.budget.on_exceeded == "fallback" else finish(state, "stopped")
    if facts.sources == 0 and any("retrieval_miss" in each.rung.on for each in policy.ladder.rungs):
        return descend(replace(state, error="retrieval_miss"))
    if policy.model is None:
        return descend(state, models=False)
    if not fits(state, policy.model):
        return descend(replace(state, error="context_window"))
    if state.now_s >= last_call(state):
        return descend(replace(state, error="timeout"))
    return try_model(state, -1, "answer")


def _delivered(state: State, _: Delivered) -> State:
    return replace(state, delivered=True)


def _effect_ran(state: State, _: EffectRan) -> State:
    return replace(state, effects=True)


def _answered(state: State, event: Answered) -> State:
    if event.finish == "refusal" or event.finish == "content_filter":  # noqa: PLR1714 - narrows the type
        return _failed(state, Failure(event.now_s, event.finish))
    if event.finish == "tool_calls" and not event.problem:
        asked = replace(state, turns=state.turns + 1, action=Ask(what="tools"))
        return descend(replace(asked, error="tool_error")) if asked.turns > MAX_TURNS else asked
    if event.problem or event.finish == "length":
        return _failed(state, Failure(event.now_s, "format_error"))
    return finish(state, "answered", rung=answering(state))


def _failed(state: State, event: Failure) -> State:
    error = event.error
    if error == "tool_error":
        return _tool_failed(replace(state, error=error), event)
    action = state.action
    if not isinstance(action, Attempt):
        return state
    state = replace(state, error=error)
    if event.ours and error == "budget_exhausted":
        return _over_budget(state)
    name = action.target
    state = replace(state, spent=FrozenDict({**state.spent, name: state.spent.get(name, 0) + 1}))
    if error in {"refusal", "content_filter"}:
        return descend(take_back(state, "withdrawn"))
    broken = state.delivered
    if broken:
        if error == "format_error" or not restarts(state):
            return surface(state)
        state = take_back(state, "reset")
    if error == "filter_unavailable" and state.effects:
        return to_person(state)
    if error == "bad_request" and not event.unsupported:
        return descend(state, models=False) if state.effects else finish(state, "failed")
    seconds = None if broken and state.policy.retry.before_first_token_only else pause_s(state, event)
    if seconds is None:
        return descend(state)
    return replace(state, once=state.once | {(name, error)}, action=Wait(state.take_back, seconds))


def _tool_failed(state: State, event: Failure) -> State:
    """A tool runs again only if it is idempotent, once a turn; else the model is told, once a request."""
    turn = (f"turn {state.turns}", "tool_error")
    if event.unknown and not event.idempotent:
        return to_person(replace(state, effects=True))
    seconds = wait_s(state, event)
    if event.idempotent and turn not in state.once and state.now_s + seconds < last_call(state):
        return replace(state, once=state.once | {turn}, action=Wait(seconds=seconds, then="tool"))
    return _told(state)


def _told(state: State) -> State:
    told = ("model", "tool_error")
    if told not in state.once and state.now_s < last_call(state):
        return try_model(replace(state, once=state.once | {told}), state.at, "tell")
    return surface(state) if state.delivered else descend(state)


def _over_budget(state: State) -> State:
    if state.delivered or state.effects:
        return surface(state)
    action, once = state.action, ("", "budget_exhausted")
    if state.policy.budget.on_exceeded == "warn" and once not in state.once:
        return replace(state, once=state.once | {once}, action=action)
    return finish(state, "stopped") if state.policy.budget.on_exceeded == "reject" else descend(state, models=False)


def _not_admitted(state: State, event: NotAdmitted) -> State:
    return descend(replace(state, error=event.error))


def _waited(state: State, _: Waited) -> State:
    assert isinstance(state.action, Wait)
    if state.action.then == "tool":
        return replace(state, action=Ask(what="tools"))
    if state.now_s >= last_call(state):
        return descend(state)
    return try_model(state, state.at, "feedback" if state.error == "format_error" else "retry")


def _denied(state: State, _: Denied) -> State:
    assert isinstance(state.action, Wait)
    return _told(state) if state.action.then == "tool" else descend(state)


def _succeeded(state: State, _: Succeeded) -> State:
    action = state.action
    if isinstance(action, Ask) and action.what == "tools":
        if state.now_s >= last_call(state):
            return _timed_out(state)
        return try_model(state, state.at, "turn")
    rung = action.rung if isinstance(action, Ask | Serve) else None
    queued = isinstance(action, Ask) and action.what in {"human", "later"}
    return finish(state, "queued" if queued else "answered", rung=rung)


def _timed_out(state: State) -> State:
    state = replace(state, error="timeout")
    return surface(state) if state.delivered else descend(state)


def _missed(state: State, _: Missed) -> State:
    if isinstance(state.action, Ask) and state.action.what == "tools":
        return finish(state, "answered", rung=answering(state))
    return finish(state, "stopped") if state.last else descend(state)


def _suspended(state: State, _: Suspended) -> State:
    return finish(state, "pending", rung=answering(state))


def _cancelled(state: State, _: Cancelled) -> State:
    return replace(state, action=Finish(outcome="cancelled"))


_Row = tuple[Callable[[State, Any], State], type[Any] | tuple[type[Any], ...]]
_HANDLERS: Mapping[type[AnyEvent], _Row] = {
    Began: (_began, type(None)),
    Delivered: (_delivered, Attempt),
    EffectRan: (_effect_ran, (Attempt, Ask)),
    Answered: (_answered, Attempt),
    Failure: (_failed, (Attempt, Ask)),
    NotAdmitted: (_not_admitted, Attempt),
    Waited: (_waited, Wait),
    Denied: (_denied, Wait),
    Succeeded: (_succeeded, (Serve, Ask)),
    Missed: (_missed, (Serve, Ask)),
    Suspended: (_suspended, Ask),
    Cancelled: (_cancelled, (Attempt, Wait, Serve, Ask)),
}
"""What handles an event, and what must be under way for it."""
