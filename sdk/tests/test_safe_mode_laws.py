"""Safe mode only tightens, and overlapping activations do not depend on their order."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation.policy import Policy, PolicyTarget, assemble, tighten
from brownout.evaluation.safemode import Overlay, join
from brownout.model.resources import RequestClass, SensitiveAction
from brownout.model.values import (
    FallbackLadder,
    ModelParams,
    ModelRoute,
    PerRequest,
    RetryPolicy,
    Rung,
    Target,
    TokenBudget,
    ToolPolicy,
)
from sdk.tests.strategies import overlays

_limits = st.none() | st.integers(1, 5_000)
_targets = st.builds(
    Target,
    provider=st.sampled_from(["openai", "anthropic"]),
    model=st.just("m"),
    params=st.builds(ModelParams, temperature=st.none() | st.floats(0, 2), max_output_tokens=_limits),
    max_context_tokens=_limits,
)
_rungs = st.one_of(
    st.builds(Rung, type=st.just("model"), target=st.sampled_from(["main", "spare", "tiny"])),
    st.sampled_from([Rung("cache"), Rung("template", template="sorry"), Rung("human_review", queue="q")]),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    route = ModelRoute({name: draw(_targets) for name in ("main", "spare", "tiny")}, "main")
    values = {
        "model": route,
        "ladder": FallbackLadder(tuple(draw(st.lists(_rungs, max_size=4)))),
        "budget": TokenBudget(PerRequest(draw(_limits), draw(_limits)), reserve_cap=draw(_limits)),
        "tools": ToolPolicy(exclude=tuple(draw(st.sets(st.sampled_from(["shell", "mail"]))))),
        "retry": RetryPolicy(max_attempts=draw(st.integers(1, 9))),
    }
    return assemble("reply", RequestClass("sheddable", "route"), values, {"sorry": "Sorry."})


@given(overlays, overlays, overlays)
def test_joining_commutes_associates_and_is_idempotent(one: Overlay, two: Overlay, three: Overlay) -> None:
    assert one.join(two) == two.join(one)
    assert one.join(two).join(three) == one.join(two.join(three))
    assert one.join(one) == one
    assert one.join(Overlay()) == one
    assert join([one, two, three]) == join([three, one, two, one])


@given(policies(), overlays, overlays, st.booleans())
def test_tightening_step_by_step_is_tightening_at_once(
    policy: Policy, one: Overlay, two: Overlay, sensitive: bool
) -> None:
    at_once = tighten(policy, one.join(two), sensitive=sensitive)
    assert tighten(tighten(policy, one, sensitive=sensitive), two, sensitive=sensitive) == at_once
    assert tighten(tighten(policy, two, sensitive=sensitive), one, sensitive=sensitive) == at_once
    assert tighten(at_once, one, sensitive=sensitive) == at_once


@given(policies(), overlays, overlays, st.booleans())
def test_one_more_activation_never_loosens(policy: Policy, one: Overlay, two: Overlay, sensitive: bool) -> None:
    loose = tighten(policy, one, sensitive=sensitive)
    tight = tighten(policy, one.join(two), sensitive=sensitive)
    assert within(tight.retry.max_attempts, loose.retry.max_attempts)
    assert within(tight.budget.per_request.max_input_tokens, loose.budget.per_request.max_input_tokens)
    assert within(tight.budget.per_request.max_output_tokens, loose.budget.per_request.max_output_tokens)
    assert within(tight.budget.reserve_cap, loose.budget.reserve_cap)
    assert set(tight.tools.exclude) >= set(loose.tools.exclude)
    assert tight.shed_bp >= loose.shed_bp
    assert tight.stop >= loose.stop
    order = get_args(SensitiveAction).index
    assert order(tight.sensitive) >= order(loose.sensitive)
    allowed = {target.name: target for target in reachable(loose)}
    for target in reachable(tight):
        wider = allowed[target.name]
        assert within(target.max_context_tokens, wider.max_context_tokens)
        assert within(target.params.temperature, wider.params.temperature)
        assert within(target.params.max_output_tokens, wider.params.max_output_tokens)


@given(policies(), overlays)
def test_what_is_excluded_is_never_called(policy: Policy, overlay: Overlay) -> None:
    tight = tighten(policy, overlay, sensitive=False)
    for target in reachable(tight):
        assert target.name not in overlay.exclude_targets
        assert target.provider not in overlay.exclude_providers
    if tight.model is None:
        assert tight.stop or any(rung.type in {"template", "human_review"} for rung in tight.ladder.rungs)


def reachable(policy: Policy) -> list[PolicyTarget]:
    rungs = [rung.target for rung in policy.ladder.rungs if rung.target]
    return rungs + ([policy.model] if policy.model else [])


def within(tight: float | None, loose: float | None) -> bool:
    """Whether a limit is no wider than another, None being no limit."""
    return loose is None or (tight is not None and tight <= loose)
