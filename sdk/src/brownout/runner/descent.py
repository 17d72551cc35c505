"""Where a request goes from here: to a model, to another rung, to a person, or to its end. Pure."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from brownout.model.values import Purpose, RungType
from brownout.runner.moves import AnyAction, Ask, Attempt, Finish, Outcome, Serve, TakeBack
from brownout.runner.state import State, find, last_call

_ASKED: Mapping[RungType, Any] = {"cache": "cache", "evidence": "evidence", "human_review": "human", "later": "later"}


def descend(state: State, *, models: bool = True) -> State:
    """The next rung that answers the latest failure, else the terminal action."""
    found = find(state, models=models)
    if found is None:
        return end(state)
    state, rung = replace(state, at=found), state.policy.ladder.rungs[found]
    if rung.type == "model":
        resumed = not state.effects or (rung.target is not None and rung.target.provider in state.facts.resumes)
        purpose: Purpose = "answer" if not state.turns else "turn" if resumed else "restart"
        return try_model(state, found, purpose)
    return try_other(state, found)


def end(state: State) -> State:
    """No rung is left. What ends refusals is the policy's choice; every other failure ends as it is."""
    if state.error not in {"refusal", "content_filter"}:
        return finish(state, "failed")
    action = getattr(state.policy.ladder.terminal, state.error)
    if action == "surface":
        return finish(state, "surfaced", rung=answering(state))
    return finish(state, "stopped") if action == "stop" else use(state, action)


def use(state: State, type_: RungType) -> State:
    """The ladder's first rung of a type, wherever the request stands."""
    late = state.now_s >= state.ends_at and type_ != "template"
    for index, rung in enumerate(state.policy.ladder.rungs):
        if rung.type == type_ and not late:
            return try_other(replace(state, last=True), index)
    return finish(state, "stopped")


def to_person(state: State) -> State:
    """What no model may go on with is for a person, if the ladder has one."""
    if any(each.type == "human_review" for each in state.policy.ladder.rungs) and state.now_s < state.ends_at:
        return use(state, "human_review")
    return descend(state, models=False)


def try_other(state: State, index: int) -> State:
    type_ = state.policy.ladder.rungs[index].rung.type
    back = state.take_back
    action: AnyAction = Serve(back, index) if type_ == "template" else Ask(back, _ASKED[type_], index)
    return replace(state, action=action, take_back="")


def try_model(state: State, rung: int, purpose: Purpose) -> State:
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


def restarts(state: State) -> bool:
    return state.facts.resets and not state.effects and state.policy.ladder.on_break == "restart"


def take_back(state: State, how: TakeBack) -> State:
    return replace(state, take_back=how if state.delivered else state.take_back, delivered=False)


def surface(state: State) -> State:
    format_ok = state.error != "format_error"
    finish = Finish(state.take_back, "surfaced", state.error, answering(state), format_ok, format_ok)
    return replace(state, action=finish)


def answering(state: State) -> int | None:
    return None if state.at < 0 else state.at


def finish(state: State, outcome: Outcome, *, rung: int | None = None) -> State:
    return replace(state, action=Finish(state.take_back, outcome, state.error, rung))
