"""What the built-in profiles say about themselves follows from what they do."""

import re
from collections.abc import Callable

import pytest

from brownout.evaluation.policy import Policy, PolicyLadder, PolicyRung, PolicyTarget, tighten
from brownout.evaluation.safemode import Overlay
from brownout.model.resources import SafeModeProfile
from brownout.model.values import Rung
from controlplane.contract.outages import outage_keys, outage_profile
from controlplane.safemode.profiles import STANDARD
from controlplane.web.safe_mode.words import profile_words

SHORT = 1_000
PROMISES: dict[str, Callable[[SafeModeProfile], bool]] = {
    "no tools": lambda p: "*" in p.exclude_tools,
    "no model answers and no tools run": lambda p: "*" in p.exclude_providers and "*" in p.exclude_tools,
    "no model answers": lambda p: "*" in p.exclude_providers,
    "cold and short answers": lambda p: (
        p.max_temperature is not None
        and p.max_temperature <= 0.2
        and p.max_output_tokens is not None
        and p.max_output_tokens <= SHORT
    ),
    "sensitive requests to people": lambda p: p.sensitive == "human_review",
    "sensitive requests go to people": lambda p: p.sensitive == "human_review",
    "other requests get a template or a person when their ladder has one": lambda p: "*" in p.exclude_providers,
    "else they stop": lambda p: "*" in p.exclude_providers,
    "sheddable requests are turned away": lambda p: p.shed_bp.get("sheddable") == 10_000,
    "half of sheddable plus as well": lambda p: p.shed_bp.get("sheddable_plus") == 5_000,
    "and nothing is tried twice": lambda p: p.max_attempts == 1,
    "nothing is sent to anthropic": lambda p: p.exclude_providers == ("anthropic",),
    "temperature ≤ 0.1": lambda p: p.max_temperature == 0.1,
    "context ≤ 8 k tokens": lambda p: p.max_context_tokens == 8_000,
    "output ≤ 512 tokens": lambda p: p.max_output_tokens == 512,
    "sensitive → a person": lambda p: p.sensitive == "human_review",
    "safe variants": lambda p: p.serve_safe_variant == ("*",),
    "1 attempt": lambda p: p.max_attempts == 1,
    "sheddable 100 % turned away": lambda p: p.shed_bp.get("sheddable") == 10_000,
    "sheddable plus 50 % turned away": lambda p: p.shed_bp.get("sheddable_plus") == 5_000,
    "without anthropic": lambda p: p.exclude_providers == ("anthropic",),
}
PURPOSE = re.compile(r"(: |, )for (a|an|lost) .*$")
"""What a profile is for: it promises nothing."""
PROFILES = {**STANDARD, outage_keys(["Anthropic"])[0]: outage_profile(["Anthropic"])}


def promises(profile: SafeModeProfile) -> list[str]:
    said = PURPOSE.sub("", profile.description.rstrip("."))
    parts = [*re.split(r"\. |; |, ", said), *profile_words(profile).replace("\xa0", " ").split(" · ")]
    return [part.strip().rstrip(".").lower() for part in parts]


@pytest.mark.parametrize("key", PROFILES)
def test_every_promise_follows_from_a_field(key: str) -> None:
    for promise in promises(PROFILES[key]):
        assert promise in PROMISES, f"say how the fields keep it: {promise!r}"
        assert PROMISES[promise](PROFILES[key]), promise


@pytest.mark.parametrize("key", PROFILES)
def test_every_field_is_named_in_the_words(key: str) -> None:
    """A limit that the words leave out would surprise the person who switches it on."""
    profile, said = PROFILES[key], promises(PROFILES[key])
    for field in ("exclude_tools", "exclude_providers", "max_temperature", "max_context_tokens", "max_output_tokens",
                  "max_attempts", "serve_safe_variant", "shed_bp"):  # fmt: skip
        unset = SafeModeProfile(**{name: getattr(profile, name) for name in profile.__struct_fields__ if name != field})
        if unset != profile:
            assert any(not PROMISES[promise](unset) for promise in said), field


RUNGS = {"cache": Rung("cache"), "template": Rung("template", template="sorry"), "human": Rung("human_review")}


def reply(*rungs: str) -> Policy:
    return Policy(
        "reply",
        model=PolicyTarget("main", "openai", "big"),
        ladder=PolicyLadder(
            (
                PolicyRung(Rung("model", target="spare"), PolicyTarget("spare", "anthropic", "mid")),
                *(PolicyRung(RUNGS[rung]) for rung in rungs),
            )
        ),
    )


@pytest.mark.parametrize(
    ("rungs", "left", "stops"),
    [
        (("cache", "template", "human"), ["template", "human_review"], False),
        (("human",), ["human_review"], False),
        (("cache",), [], True),
        ((), [], True),
    ],
)
def test_humans_only_reaches_people_and_no_model(rungs: tuple[str, ...], left: list[str], stops: bool) -> None:
    overlay = Overlay.of(STANDARD["humans-only"])
    found = tighten(reply(*rungs), overlay, sensitive=False)
    assert (found.model, [rung.type for rung in found.ladder.rungs], found.stop) == (None, left, stops)
    assert found.banner == STANDARD["humans-only"].banner
    sensitive = tighten(reply(*rungs), overlay, sensitive=True)
    assert (sensitive.sensitive, sensitive.model) == ("human_review", None)


def test_every_target_is_excluded_by_a_star_as_well() -> None:
    found = tighten(reply("human"), Overlay(exclude_targets=frozenset({"*"})), sensitive=False)
    assert (found.model, [rung.type for rung in found.ladder.rungs]) == (None, ["human_review"])
