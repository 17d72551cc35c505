"""What holds for every policy and whatever happens: bounds on attempts, on time and on where a refusal may go."""

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brownout.evaluation.policy import Policy, PolicyLadder, PolicyRung, PolicyTarget
from brownout.model.values import ErrorClass, RetryPolicy, Rung, Terminal, TokenBudget
from brownout.runner import moves
from brownout.runner.ladder import MAX_TURNS, Facts, State, begin, step
from brownout.runner.moves import AnyAction, AnyEvent, Ask, Attempt, Finish, Serve, Wait
from sdk.tests.runner.served import made, rung

ERRORS: tuple[ErrorClass, ...] = get_args(ErrorClass)
errors = st.sampled_from(ERRORS)
windows = st.none() | st.sampled_from([100, 1_000, 10_000])
targets = st.builds(
    PolicyTarget, st.sampled_from("abc"), st.sampled_from(["p", "q"]), st.just("m"), max_context_tokens=windows,
    attempt_ms=st.none() | st.integers(1, 5_000),
)  # fmt: skip
on = st.lists(errors, max_size=2).map(tuple)


@st.composite
def rungs(draw: st.DrawFn) -> PolicyRung:
    kind = draw(st.sampled_from(["model", "model", "cache", "evidence", "template", "human_review", "later"]))
    if kind == "model":
        target = draw(targets)
        return PolicyRung(Rung("model", target=target.name, on=draw(on)), target)
    text = "Sorry." if kind in {"template", "later"} else None
    return PolicyRung(Rung(kind, on=draw(on)), text=text)  # type: ignore[arg-type]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    model = draw(st.none() | targets)
    ladder = PolicyLadder(
        tuple(draw(st.lists(rungs(), max_size=6))),
        Terminal(
            draw(st.sampled_from(["stop", "surface", "human_review", "template"])),
            draw(st.sampled_from(["stop", "surface", "human_review", "template"])),
        ),
        draw(st.none() | st.integers(0, 20_000)),
        draw(st.sampled_from(["surface", "restart"])),
    )
    return Policy(
        "reply",
        model=model,
        ladder=ladder.without(model),
        budget=TokenBudget(on_exceeded=draw(st.sampled_from(["reject", "fallback", "warn"]))),
        retry=RetryPolicy(
            draw(st.integers(1, 4)), initial_backoff_ms=draw(st.integers(0, 500)), retry_on=draw(on),
            before_first_token_only=draw(st.booleans()), side_effects=draw(st.sampled_from(["refuse", "allow"])),
        ),
        sensitive=draw(st.sampled_from(["continue", "continue", "human_review"])),
    )  # fmt: skip


facts = st.builds(
    Facts, input_tokens=st.none() | st.integers(1, 20_000), sources=st.none() | st.integers(0, 3), resets=st.booleans(),
    resumes=st.sets(st.sampled_from(["p", "q"])).map(frozenset),
)  # fmt: skip


def event_for(draw: st.DrawFn, action: AnyAction, now_s: float) -> AnyEvent:
    """Something that can happen while `action` is under way."""
    failure = st.builds(
        moves.Failure, st.just(now_s), errors, st.none() | st.floats(0, 40), st.floats(0, 1), ours=st.booleans(),
        unsupported=st.booleans(),
    )  # fmt: skip
    match action:
        case Attempt():
            finish = st.sampled_from(["stop", "length", "tool_calls", "tool_calls", "refusal", "content_filter"])
            return draw(
                st.builds(moves.Answered, st.just(now_s), finish, st.sampled_from(["", "", "empty", "invalid"]))
                | failure
                | failure
                | st.builds(moves.Delivered, st.just(now_s))
                | st.builds(moves.NotAdmitted, st.just(now_s), errors)
                | st.just(moves.Cancelled(now_s))
            )
        case Wait():
            return draw(st.sampled_from([moves.Waited(now_s + action.seconds), moves.Denied(now_s)]))
        case Ask("", "tools"):
            failed = st.builds(
                moves.Failure, st.just(now_s), st.just("tool_error"), chance=st.floats(0, 1), idempotent=st.booleans(),
                unknown=st.booleans(),
            )  # fmt: skip
            others = [moves.Succeeded(now_s), moves.Missed(now_s), moves.EffectRan(now_s), moves.Suspended(now_s)]
            return draw(failed | st.sampled_from(others))
    return draw(st.sampled_from([moves.Succeeded(now_s), moves.Missed(now_s)]))


class Walk:
    """One request from its beginning to its end."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.policy, self.facts = draw(policies()), draw(facts)
        self.steps: list[tuple[State, AnyEvent, State]] = []
        now_s, state = 0.0, begin(self.policy, self.facts)
        event: AnyEvent = moves.Began(0.0)
        while True:
            before, (state, action) = state, step(state, event)
            self.steps.append((before, event, state))
            assert len(self.steps) < 20 * MAX_TURNS, "it does not end"
            if isinstance(action, Finish):
                return
            now_s = max(now_s, event.now_s) + draw(st.sampled_from([0.0, 0.01, 0.3, 2.0, 9.0]))
            event = event_for(draw, action, now_s)

    @property
    def started(self) -> list[tuple[State, AnyEvent, Attempt]]:
        """The attempts, each where it began."""
        return [
            (state, event, state.action)
            for before, event, state in self.steps
            if isinstance(state.action, Attempt) and state.action is not before.action
        ]


walks = st.composite(Walk)()


@settings(max_examples=300)
@given(walks)
def test_a_target_fails_at_most_max_attempts_times(walk: Walk) -> None:
    failed = Counter(
        before.action.target
        for before, event, after in walk.steps
        if isinstance(before.action, Attempt) and isinstance(event, moves.Failure | moves.Answered) and after.error
        and after.spent != before.spent
    )  # fmt: skip
    assert all(n <= walk.policy.retry.max_attempts for n in failed.values())
    turns = walk.steps[-1][2].turns + 1
    for name, n in Counter(attempt.target for _, _, attempt in walk.started).items():
        assert n <= walk.policy.retry.max_attempts + turns, name


@settings(max_examples=300)
@given(walks)
def test_one_thing_is_under_way_at_a_time(walk: Walk) -> None:
    """A new attempt begins only where the one before has answered, failed or was never admitted."""
    for before, event, after in walk.steps:
        if isinstance(before.action, Attempt) and after.action is not before.action:
            assert isinstance(event, moves.Answered | moves.Failure | moves.NotAdmitted | moves.Cancelled)


@pytest.mark.chaos
def test_a_refusal_reaches_a_model_only_if_its_rung_names_it(request: pytest.FixtureRequest) -> None:
    examples = 100_000 if request.config.getoption("--chaos", default="short") == "long" else 300
    settings(max_examples=examples)(given(walks)(refusals_stay))()


def refusals_stay(walk: Walk) -> None:
    refused: set[str] = set()
    for _, event, after in walk.steps:
        error = event.finish if isinstance(event, moves.Answered) else getattr(event, "error", None)
        if error in {"refusal", "content_filter"} and not isinstance(event, moves.NotAdmitted) and after.error == error:
            refused = {error}
            if isinstance(after.action, Attempt):
                assert after.action.rung >= 0
                assert error in walk.policy.ladder.rungs[after.action.rung].rung.on
    if refused and isinstance(walk.steps[-1][2].action, Finish):
        assert walk.steps[-1][2].action.outcome != "failed" or walk.steps[-1][2].error not in refused


@settings(max_examples=300)
@given(walks)
def test_after_the_deadline_there_is_only_a_template(walk: Walk) -> None:
    for before, _, after in walk.steps:
        if after.action is before.action or after.now_s < after.ends_at:
            continue
        if isinstance(after.action, Ask) and after.action.what == "tools":
            continue  # an answer that came in time asks for them; the next turn does not begin
        assert isinstance(after.action, Serve | Finish)
    for state, _, attempt in walk.started:
        if attempt.timeout_s is not None:
            assert 0 < attempt.timeout_s <= state.ends_at - state.now_s
        else:
            assert state.ends_at == float("inf")


@settings(max_examples=300)
@given(walks)
def test_after_an_effect_only_who_knows_the_conversation_goes_on(walk: Walk) -> None:
    effects = False
    for _, event, after in walk.steps:
        action, effects = after.action, effects or isinstance(event, moves.EffectRan)
        if not effects or isinstance(event, moves.EffectRan) or action is _.action:
            continue
        if isinstance(action, Attempt) and action.purpose == "restart":
            assert walk.policy.retry.side_effects == "allow"
        if isinstance(action, Ask):
            assert action.what in {"human", "tools"}


@given(walks, st.lists(st.sampled_from(list(get_args(moves.AnyEvent))), max_size=20))
def test_a_finished_request_stays_finished(walk: Walk, kinds: list[Any]) -> None:
    state = walk.steps[-1][2]
    for kind in kinds:
        assert step(state, kind(99.0)) == (state, state.action)


@given(st.integers(1, 400))
def test_a_step_costs_the_ladder_once(length: int) -> None:
    """States do not grow with what happened: only with the targets that the ladder names."""
    target = PolicyTarget("spare", "p", "m")
    ladder = PolicyLadder((PolicyRung(Rung("model", target="spare"), target),) * length)
    state, _ = step(begin(Policy("reply", model=PolicyTarget("main", "p", "m"), ladder=ladder), Facts()), moves.Began())
    for now in range(2 * length):
        state, _ = step(state, moves.Failure(float(now), "server_error"))
    assert isinstance(state.action, Finish)
    assert len(state.spent) == 2


def test_an_exhausted_account_is_not_asked_again_after_a_rung_that_is_no_model() -> None:
    """The person's queue is closed between the two models of one provider."""
    policy = made(rung("human_review", queue="q"), rung("model", target={"name": "big", "provider": "a", "model": "b"}))
    state, action = step(begin(policy, Facts()), moves.Began(0.0))
    assert isinstance(action, Attempt)
    state, action = step(state, moves.Failure(0.1, "budget_exhausted", None, 0.5))
    assert action == Ask("", "human", 0)
    _, action = step(state, moves.Missed(0.2))
    assert isinstance(action, Finish)
