"""What answers one request when calls fail: the ladder machine of the SDK, led through a failure. Pure.

Policies are first reduced to what the ladder depends on, with names replaced by numbers: classes that are built alike
share their walks. The SDK's own `begin` and `step` decide; nothing here knows a rule of the ladder.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

from brownout.evaluation.policy import Policy, PolicyLadder, PolicyRung, PolicyTarget
from brownout.model.operating import Reach
from brownout.model.resources import SensitiveAction
from brownout.model.values import ErrorClass, Rung, RungType, TokenBudget, Window
from brownout.runner.ladder import begin, step
from brownout.runner.moves import (
    Answered,
    AnyEvent,
    Ask,
    Attempt,
    Began,
    Denied,
    Failure,
    Finish,
    Missed,
    Serve,
    Succeeded,
    Wait,
)
from brownout.runner.state import Facts, State

STEPS_PER_RUNG = 10
"""More than the ladder takes for one rung: a target is tried a few times at most."""

REMEMBERED = 4_096
"""Shapes whose walks are kept."""


class Answer(NamedTuple):
    """How a walk ends. `rung` is the position in the ladder that answers, -1 for the policy's own model."""

    state: Literal["answered", "raw", "nothing"]
    rung: int = -1


BADNESS = {"answered": 0, "raw": 1, "nothing": 2}
"""How bad each end is for the person who asked."""


class Shape(NamedTuple):
    """A policy as far as the ladder depends on it."""

    model: PolicyTarget | None
    ladder: PolicyLadder
    budget: TokenBudget
    sensitive: SensitiveAction
    stop: bool
    tools: bool
    retrieval: bool
    owned: bool

    @property
    def policy(self) -> Policy:
        return Policy(
            "", model=self.model, ladder=self.ladder, budget=self.budget, sensitive=self.sensitive, stop=self.stop
        )


class Failing(NamedTuple):
    """What goes wrong, and for which calls."""

    error: ErrorClass
    reach: Reach


class Walks(dict[Failing, Answer | None]):
    """How requests of one shape end, walked when asked for; None where the failure cannot happen."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def __missing__(self, failing: Failing) -> Answer | None:
        found = self[failing] = walk(self._shape, failing)
        return found


@lru_cache(maxsize=REMEMBERED)
def walks(shape: Shape) -> Walks:
    """The walks of a shape, which all policies of that shape share."""
    return Walks(shape)


def shape_of(policy: Policy, *, retrieval: bool, owned: bool) -> Shape:
    """Reduces a policy. `owned` is whether anyone answers for what is handed to people."""
    numbers: dict[str, str] = {}
    targets = [rung.target for rung in policy.ladder.rungs] + [policy.model]
    windows = sorted({target.max_context_tokens or 0 for target in targets if target is not None})
    ranks = {window: rank for rank, window in enumerate(windows, 1)}

    def target(found: PolicyTarget | None) -> PolicyTarget | None:
        if found is None:
            return None
        name, provider = (
            numbers.setdefault(each, str(len(numbers))) for each in ("t" + found.name, "p" + found.provider)
        )
        window = None if found.max_context_tokens is None else ranks[found.max_context_tokens]
        return PolicyTarget(name, provider, "", max_context_tokens=window)

    def rung(found: PolicyRung) -> PolicyRung:
        return PolicyRung(_reduced(found.type, found.rung.on), target(found.target), None if found.text is None else "")

    tools, budget, ladder = policy.tools, policy.budget, policy.ladder
    stop = policy.stop or policy.sensitive == "stop"
    rungs = () if stop else ladder.rungs
    return Shape(
        None if stop else target(policy.model),
        PolicyLadder(tuple(map(rung, rungs)), ladder.terminal, None, ladder.on_break),
        _budget(budget.window is not None, budget.on_exceeded),
        policy.sensitive,
        policy.stop,
        policy.model is not None and bool(tools.include) and "*" not in tools.exclude,
        retrieval,
        owned,
    )


@lru_cache(maxsize=REMEMBERED)
def _reduced(type_: RungType, on: tuple[ErrorClass, ...]) -> Rung:
    return Rung(type_, on=on)


@lru_cache(maxsize=8)
def _budget(limited: bool, on_exceeded: Literal["reject", "fallback", "warn"]) -> TokenBudget:
    return TokenBudget(window=Window("requests", 1, "minute") if limited else None, on_exceeded=on_exceeded)


def walk(shape: Shape, failing: Failing) -> Answer | None:
    """What answers a request while the failure lasts; None where it cannot happen.

    Calls that the failure reaches fail each time, and no retry is granted. Every other model answers. A cache has the
    answer, a person takes what has an owner, and sources are there unless it is they that are missing.
    """
    if not _is_possible(shape, failing.error):
        return None
    missing = failing.error == "retrieval_miss"
    policy = shape.policy
    state, action = step(begin(policy, Facts(sources=0 if missing else None)), Began())
    for _ in range(STEPS_PER_RUNG * (len(policy.ladder.rungs) + 2)):
        if isinstance(action, Finish):
            return _answer(state, action, missing=missing)
        state, action = step(state, _event(state, shape, failing))
    return Answer("nothing")


def _is_possible(shape: Shape, error: ErrorClass) -> bool:
    match error:
        case "tool_error":
            return shape.tools
        case "retrieval_miss":
            return shape.retrieval
    return True


def _event(state: State, shape: Shape, failing: Failing) -> AnyEvent:
    """What happens to the action under way."""
    match state.action:
        case Attempt() as attempt:
            return _attempted(state, attempt, failing)
        case Ask(what="tools"):
            return Failure(error="tool_error")
        case Ask(what="human" | "later"):
            return Succeeded() if shape.owned else Missed()
        case Ask(what="evidence"):
            return Succeeded() if shape.retrieval and failing.error != "retrieval_miss" else Missed()
        case Serve(rung=rung):
            return Missed() if state.policy.ladder.rungs[rung].text is None else Succeeded()
        case Wait():
            return Denied()
    return Succeeded()


def _attempted(state: State, attempt: Attempt, failing: Failing) -> AnyEvent:
    if not _reaches(state, attempt, failing):
        return Answered()
    match failing.error:
        case "refusal" | "content_filter" as how:
            return Answered(finish=how)
        case "format_error":
            return Answered(problem="invalid")
        case "tool_error":
            return Answered(finish="tool_calls")
        case "retrieval_miss":
            return Answered()
        case "budget_exhausted" if state.policy.budget.window is not None:
            warned = ("", "budget_exhausted") in state.once  # `warn` lets the call through once it has been told
            return Answered() if warned else Failure(error="budget_exhausted", ours=True)
    return Failure(error=failing.error)


def _reaches(state: State, attempt: Attempt, failing: Failing) -> bool:
    first, tried = state.policy.model, state.target(attempt.rung)
    if failing.reach == "every_model" or first is None or tried is None:
        return True
    return tried.name == first.name if failing.reach == "model" else tried.provider == first.provider


def _answer(state: State, finish: Finish, *, missing: bool) -> Answer:
    rung = -1 if finish.rung is None else finish.rung
    if finish.outcome == "surfaced":
        return Answer("raw", rung)
    if finish.outcome not in {"answered", "queued"}:
        return Answer("nothing")
    # A model that answers without the sources that it needs makes them up, unless its rung was put there for that.
    by_model = rung < 0 or state.policy.ladder.rungs[rung].type == "model"
    if missing and by_model and not (rung >= 0 and "retrieval_miss" in state.policy.ladder.rungs[rung].rung.on):
        return Answer("raw", rung)
    return Answer("answered", rung)
