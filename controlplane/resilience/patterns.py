"""The five resilience patterns: whether a request class has each, whatever its flags serve. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from brownout.evaluation.policy import Policy
from brownout.model.operating import Pattern, Requires
from brownout.model.resources import RequestClass
from controlplane.resilience.cell import Requirement
from controlplane.resilience.matrix import policies
from controlplane.resilience.world import World

PATTERNS: tuple[Pattern, ...] = get_args(Pattern)

FIELDS: Mapping[Requirement, str] = {
    "cached_responses": "ladder",
    "secondary_model": "ladder",
    "human_review": "ladder",
    "degraded_ui": "notices",
    "safe_mode": "tier",
    "other_provider": "ladder",
}
"""The field of a request class at which a missing pattern is mended."""

WORDS: Mapping[Requirement, str] = {
    "cached_responses": "a cache rung",
    "secondary_model": "a rung with another model",
    "human_review": "a human review rung and an owner",
    "degraded_ui": "a notice for every error (*)",
    "safe_mode": "a failure mode with a safe-mode profile",
    "other_provider": "a rung with a model at another provider",
}


def configured(world: World, key: str) -> dict[Requirement, bool]:
    """Whether each is there in every policy that the class can get. A class with too many combinations has none."""
    spec = world.classes[key]
    found = policies(world, key) or ()
    return {name: bool(found) and _HAS[name](world, key, spec, found) for name in _HAS}


def unmet(world: World, key: str) -> tuple[Requirement, ...]:
    """What the class's tier requires and the class does not have."""
    tier = world.tier_of(key)
    if tier is None:
        return ()
    have = configured(world, key)
    return tuple(name for name in required(tier.requires) if not have[name])


def required(requires: Requires) -> list[Requirement]:
    """What a tier asks of each class."""
    found: list[Requirement] = list(dict.fromkeys(requires.patterns))
    return [*found, "other_provider"] if requires.other_provider else found


def _in_each(test: Callable[[Policy], bool]) -> "_Check":
    return lambda world, key, spec, found: all(map(test, found))  # noqa: ARG005


def _has_rung(type_: str) -> Callable[[Policy], bool]:
    return lambda policy: any(rung.type == type_ for rung in policy.ladder.rungs)


def _other_model(policy: Policy) -> bool:
    return any(rung.target is not None for rung in policy.ladder.rungs)


def _other_provider(policy: Policy) -> bool:
    first = policy.model.provider if policy.model else None
    return any(rung.target is not None and rung.target.provider != first for rung in policy.ladder.rungs)


def _human_review(_world: World, _key: str, spec: RequestClass, found: Sequence[Policy]) -> bool:
    return bool(spec.owner.strip()) and all(map(_has_rung("human_review"), found))


def _degraded_ui(_world: World, _key: str, spec: RequestClass, _found: Sequence[Policy]) -> bool:
    return "*" in spec.notices


def _safe_mode(world: World, key: str, _spec: RequestClass, _found: Sequence[Policy]) -> bool:
    modes = (mode for mode in world.modes.values() if not mode.classes or key in mode.classes)
    return any(mode.profile in world.profiles for mode in modes)


_Check = Callable[[World, str, RequestClass, Sequence[Policy]], bool]
_HAS: Mapping[Requirement, _Check] = {
    "cached_responses": _in_each(_has_rung("cache")),
    "secondary_model": _in_each(_other_model),
    "human_review": _human_review,
    "degraded_ui": _degraded_ui,
    "safe_mode": _safe_mode,
    "other_provider": _in_each(_other_provider),
}
