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
from brownout.model.values import RungType
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
    Outcome,
    Purpose,
    Serve,
    Succeeded,
    Suspended,
    TakeBack,
    Wait,
    Waited,
)
from brownout.runner.pause import pause_s, wait_s
from brownout.runner.state import Facts, State, find, fits, last_call

MAX_TURNS = 64
"""Turns of one request: a model that asks for tools without end is stopped."""

_ASKED: Mapping[RungType, Any] = {"cache": "cache", "evidence": "evidence", "human_review": "human", "later": "later"}


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
        return _finish(state, "stopped")
    if policy.shed:
        return _finish(state, "shed")
    if policy.sensitive == "human_review":
        return _use(state, "human_review")
    if facts.unready:
        return _next(replace(state, error="bad_request"), models=False)
    if limit is not None and facts.input_tokens is not None and facts.input_tokens > limit:
        # Never sent: unlike a window, this limit protects one call, and safe mode lowers it.
        state = replace(state, error="budget_exhausted")
        return _next(state, models=False) if policy.budget.on_exceeded == "fallback" else _finish(state, "stopped")
    if facts.sources == 0 and any("retrieval_miss" in each.rung.on for each in policy.ladder.rungs):
        return _next(replace(state, error="retrieval_miss"))
    if policy.model is None:
        return _next(state, models=False)
    if not fits(state, policy.model):
        return _next(replace(state, error="context_window"))
    if state.now_s >= last_call(state):
        return _next(replace(state, error="timeout"))
    return _attempt(state, -1, "answer")


def _delivered(state: State, _: Delivered) -> State:
    return replace(state, delivered=True)


def _effect_ran(state: State, _: EffectRan) -> State:
    return replace(state, effects=True)


def _answered(state: State, event: Answered) -> State:
    if event.finish == "refusal" or event.finish == "content_filter":  # noqa: PLR1714 - narrows the type
        return _failed(state, Failure(event.now_s, event.finish))
    if event.finish == "tool_calls" and not event.problem:
        asked = replace(state, turns=state.turns + 1, action=Ask(what="tools"))
        return _next(replace(asked, error="tool_error")) if asked.turns > MAX_TURNS else asked
    if event.problem or event.finish == "length":
        return _failed(state, Failure(event.now_s, "format_error"))
    return _finish(state, "answered", rung=_answering(state))


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
        return _next(_taken_back(state, "withdrawn"))
    broken = state.delivered
    if broken:
        if error == "format_error" or not _restarts(state):
            return _surface(state)
        state = _taken_back(state, "reset")
    if error == "filter_unavailable" and state.effects:
        return _person(state)
    if error == "bad_request" and not event.unsupported:
        return _next(state, models=False) if state.effects else _finish(state, "failed")
    seconds = None if broken and state.policy.retry.before_first_token_only else pause_s(state, event)
    if seconds is None:
        return _next(state)
    return replace(state, once=state.once | {(name, error)}, action=Wait(state.take_back, seconds))


def _tool_failed(state: State, event: Failure) -> State:
    """A tool runs again only if it is idempotent, once a turn; else the model is told, once a request."""
    turn = (f"turn {state.turns}", "tool_error")
    if event.unknown and not event.idempotent:
        return _person(replace(state, effects=True))
    seconds = wait_s(state, event)
    if event.idempotent and turn not in state.once and state.now_s + seconds < last_call(state):
        return replace(state, once=state.once | {turn}, action=Wait(seconds=seconds, then="tool"))
    return _told(state)


def _told(state: State) -> State:
    told = ("model", "tool_error")
    if told not in state.once and state.now_s < last_call(state):
        return _attempt(replace(state, once=state.once | {told}), state.at, "tell")
    return _surface(state) if state.delivered else _next(state)


def _over_budget(state: State) -> State:
    if state.delivered or state.effects:
        return _surface(state)
    action, once = state.action, ("", "budget_exhausted")
    if state.policy.budget.on_exceeded == "warn" and once not in state.once:
        return replace(state, once=state.once | {once}, action=action)
    return _finish(state, "stopped") if state.policy.budget.on_exceeded == "reject" else _next(state, models=False)


def _not_admitted(state: State, event: NotAdmitted) -> State:
    return _next(replace(state, error=event.error))


def _waited(state: State, _: Waited) -> State:
    assert isinstance(state.action, Wait)
    if state.action.then == "tool":
        return replace(state, action=Ask(what="tools"))
    if state.now_s >= last_call(state):
        return _next(state)
    return _attempt(state, state.at, "feedback" if state.error == "format_error" else "retry")


def _denied(state: State, _: Denied) -> State:
    assert isinstance(state.action, Wait)
    return _told(state) if state.action.then == "tool" else _next(state)


def _succeeded(state: State, _: Succeeded) -> State:
    action = state.action
    if isinstance(action, Ask) and action.what == "tools":
        if state.now_s >= last_call(state):
            return _timed_out(state)
        return _attempt(state, state.at, "turn")
    rung = action.rung if isinstance(action, Ask | Serve) else None
    queued = isinstance(action, Ask) and action.what in {"human", "later"}
    return _finish(state, "queued" if queued else "answered", rung=rung)


def _timed_out(state: State) -> State:
    state = replace(state, error="timeout")
    return _surface(state) if state.delivered else _next(state)


def _missed(state: State, _: Missed) -> State:
    if isinstance(state.action, Ask) and state.action.what == "tools":
        return _finish(state, "answered", rung=_answering(state))
    return _finish(state, "stopped") if state.last else _next(state)


def _suspended(state: State, _: Suspended) -> State:
    return _finish(state, "pending", rung=_answering(state))


def _cancelled(state: State, _: Cancelled) -> State:
    return replace(state, action=Finish(outcome="cancelled"))


def _next(state: State, *, models: bool = True) -> State:
    """The next rung that answers the latest failure, else the terminal action."""
    found = find(state, models=models)
    if found is None:
        return _end(state)
    state, rung = replace(state, at=found), state.policy.ladder.rungs[found]
    if rung.type == "model":
        resumed = not state.effects or (rung.target is not None and rung.target.provider in state.facts.resumes)
        purpose: Purpose = "answer" if not state.turns else "turn" if resumed else "restart"
        return _attempt(state, found, purpose)
    return _other(state, found)


def _end(state: State) -> State:
    """No rung is left. What ends refusals is the policy's choice; every other failure ends as it is."""
    if state.error not in {"refusal", "content_filter"}:
        return _finish(state, "failed")
    action = getattr(state.policy.ladder.terminal, state.error)
    if action == "surface":
        return _finish(state, "surfaced", rung=_answering(state))
    return _finish(state, "stopped") if action == "stop" else _use(state, action)


def _use(state: State, type_: RungType) -> State:
    """The ladder's first rung of a type, wherever the request stands."""
    late = state.now_s >= state.ends_at and type_ != "template"
    for index, rung in enumerate(state.policy.ladder.rungs):
        if rung.type == type_ and not late:
            return _other(replace(state, last=True), index)
    return _finish(state, "stopped")


def _person(state: State) -> State:
    """What no model may go on with is for a person, if the ladder has one."""
    if any(each.type == "human_review" for each in state.policy.ladder.rungs) and state.now_s < state.ends_at:
        return _use(state, "human_review")
    return _next(state, models=False)


def _other(state: State, index: int) -> State:
    type_ = state.policy.ladder.rungs[index].rung.type
    back = state.take_back
    action: AnyAction = Serve(back, index) if type_ == "template" else Ask(back, _ASKED[type_], index)
    return replace(state, action=action, take_back="")


def _attempt(state: State, rung: int, purpose: Purpose) -> State:
    target = state.target(rung)
    assert target is not None
    left = last_call(state) - state.now_s
    limits = [left, *([target.attempt_ms / 1000] if target.attempt_ms is not None else [])]
    timeout_s = min(limits)
    after = replace(state, at=rung, error="timeout")
    action = Attempt(
        state.take_back, target.name, rung, state.spent.get(target.name, 0) + 1, purpose,
        None if timeout_s == float("inf") else timeout_s, find(after) is not None,
    )  # fmt: skip
    return replace(state, at=rung, action=action, take_back="", delivered=False)


def _restarts(state: State) -> bool:
    return state.facts.resets and not state.effects and state.policy.ladder.on_break == "restart"


def _taken_back(state: State, how: TakeBack) -> State:
    return replace(state, take_back=how if state.delivered else state.take_back, delivered=False)


def _surface(state: State) -> State:
    format_ok = state.error != "format_error"
    finish = Finish(state.take_back, "surfaced", state.error, _answering(state), format_ok, format_ok)
    return replace(state, action=finish)


def _answering(state: State) -> int | None:
    return None if state.at < 0 else state.at


def _finish(state: State, outcome: Outcome, *, rung: int | None = None) -> State:
    return replace(state, action=Finish(state.take_back, outcome, state.error, rung))


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
