"""Whether the same target is tried again, and after how long. Pure."""

from brownout.runner.backoff import backoff_s
from brownout.runner.moves import Attempt, Failure
from brownout.runner.state import State, find, last_call


def pause_s(state: State, event: Failure) -> float | None:
    """Seconds until the same target is tried again; None when it is not."""
    assert isinstance(state.action, Attempt)
    name, retry, error = state.action.target, state.policy.retry, event.error
    seconds = wait_s(state, event)
    if error == "format_error":
        tried, seconds = (name, error) in state.once, 0.0
    elif error not in retry.retry_on:
        return None
    elif error == "server_error":
        tried = (name, error) in state.once
    elif error == "overloaded":
        tried = not state.effects and find(state, models_only=True) is not None
    elif error == "rate_limited" and event.retry_after_s is not None:
        seconds = event.retry_after_s
        tried = seconds > min(retry.retry_after_max_ms / 1000, (state.ends_at - state.now_s) / 4)
    else:
        return None
    if tried or state.spent[name] >= retry.max_attempts or state.now_s + seconds >= last_call(state):
        return None
    return seconds


def wait_s(state: State, event: Failure) -> float:
    """The backoff after a failure, which grows with the failures of the whole request."""
    return backoff_s(state.policy.retry, event.error, sum(state.spent.values()), event.chance)
