"""What adds a pattern to a request class: the smallest change that makes its check pass. Pure.

A generator never invents what only people know: a target, an owner. It says what is missing instead.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from brownout.model.operating import FailureMode, Pattern
from brownout.model.parse import encode
from brownout.model.resources import Flag, RequestClass, Spec
from brownout.model.values import ErrorClass, FallbackLadder, ModelRoute, Rung
from brownout.wire import Operation
from controlplane.errors import ConflictError, Fault, InvalidInputError
from controlplane.resilience.patterns import configured
from controlplane.resilience.world import World

CACHE_S = 600
NOTICE = "We have a technical problem, so this answer may be shorter than usual."
TO_PEOPLE: tuple[ErrorClass, ...] = ("refusal", "content_filter", "filter_unavailable", "tool_error")
"""What a person can mend and a retry cannot."""


def generate(world: World, key: str, pattern: Pattern) -> tuple[Operation, ...]:
    """The operations that give the class the pattern.

    Raises:
        ConflictError: it has it.
        InvalidInputError: something is missing that only people know.
    """
    if configured(world, key)[pattern]:
        raise ConflictError(f"{key} has the pattern {pattern.replace('_', ' ')} already")
    return _GENERATORS[pattern](world, key, world.classes[key])


def _cached_responses(world: World, key: str, spec: RequestClass) -> tuple[Operation, ...]:
    return _with_rung(world, key, spec, "cache", lambda _: Rung("cache", max_age_s=CACHE_S))


def _secondary_model(world: World, key: str, spec: RequestClass) -> tuple[Operation, ...]:
    flag = world.flags.get(spec.model)
    routes = [value for value in flag.variants.values() if isinstance(value, ModelRoute)] if flag else []
    shared = [name for name in routes[0].targets if all(name in route.targets for route in routes)] if routes else []
    primaries = {route.primary for route in routes}
    providers = {route.targets[route.primary].provider for route in routes if route.primary in route.targets}
    spare = [name for name in shared if name not in primaries]
    spare.sort(key=lambda name: routes[0].targets[name].provider in providers)  # another provider first
    if not spare:
        raise _lacks(
            f"every variant of the route {spec.model} needs a second target of the same name",
            f"/flag/{spec.model}/variants",
        )
    return _with_rung(world, key, spec, "model", lambda _: Rung("model", target=spare[0]))


def _human_review(world: World, key: str, spec: RequestClass) -> tuple[Operation, ...]:
    if not spec.owner.strip():
        raise _lacks(f"{key} needs an owner, who answers for what people decide", f"/request_class/{key}/owner")
    return _with_rung(world, key, spec, "human_review", lambda _: Rung("human_review", queue=key, on=TO_PEOPLE))


def _degraded_ui(_world: World, key: str, spec: RequestClass) -> tuple[Operation, ...]:
    return (_put("request_class", key, replace(spec, notices={**spec.notices, "*": NOTICE})),)


def _safe_mode(world: World, key: str, _spec: RequestClass) -> tuple[Operation, ...]:
    modes = {name: mode for name, mode in world.modes.items() if not mode.classes or key in mode.classes}
    if not world.profiles or not modes:
        what = "safe-mode profile" if modes else "failure mode"
        raise _lacks(f"there is no {what} for {key}", f"/request_class/{key}")
    profile = "contain" if "contain" in world.profiles else min(world.profiles)
    name = "provider-outage" if "provider-outage" in modes else min(modes)
    mode: FailureMode = modes[name]
    return (_put("failure_mode", name, replace(mode, profile=profile)),)


def _with_rung(
    world: World, key: str, spec: RequestClass, type_: str, rung: Callable[[FallbackLadder], Rung]
) -> tuple[Operation, ...]:
    """Adds a rung to every variant of the ladder that has none of its type; makes the ladder if there is none."""
    if spec.ladder is None:
        name = f"{key}-ladder"[:100]
        if name in world.flags:
            raise _lacks(
                f"{key} names no ladder, and the flag {name} is something else", f"/request_class/{key}/ladder"
            )
        ladder = FallbackLadder((rung(FallbackLadder()),))
        made = Flag("fallback_ladder", {"standard": ladder}, "standard", "standard", owner=spec.owner)
        return _put("flag", name, made), _put("request_class", key, replace(spec, ladder=name))
    flag = world.flags.get(spec.ladder)
    if flag is None:
        raise _lacks(f"this version cannot read the ladder {spec.ladder}", f"/flag/{spec.ladder}")
    variants: dict[str, Any] = {}
    for name, value in flag.variants.items():
        assert isinstance(value, FallbackLadder)
        there = any(_is(each, type_, world, spec) for each in value.rungs)
        variants[name] = value if there else replace(value, rungs=_inserted(value.rungs, rung(value)))
    return (_put("flag", spec.ladder, replace(flag, variants=variants)),)


def _is(rung: Rung, type_: str, world: World, spec: RequestClass) -> bool:
    """A model rung counts if its target is no route's own model."""
    if rung.type != type_ or type_ != "model":
        return rung.type == type_
    flag = world.flags[spec.model]
    return all(isinstance(route, ModelRoute) and route.primary != rung.target for route in flag.variants.values())


def _inserted(rungs: Sequence[Rung], new: Rung) -> tuple[Rung, ...]:
    """Models come first, what always answers last: a rung after that would never be reached."""
    at = next(
        (
            index
            for index, each in enumerate(rungs)
            if (each.always_succeeds and not each.on) or (new.type == "model" and each.type != "model")
        ),
        len(rungs),
    )
    return (*rungs[:at], new, *rungs[at:])


def _put(kind: str, key: str, spec: Spec) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(encode(spec)))


def _lacks(why: str, pointer: str) -> InvalidInputError:
    return InvalidInputError(why, (Fault("missing", why, pointer),))


_GENERATORS: Mapping[Pattern, Callable[[World, str, RequestClass], tuple[Operation, ...]]] = {
    "cached_responses": _cached_responses,
    "secondary_model": _secondary_model,
    "human_review": _human_review,
    "degraded_ui": _degraded_ui,
    "safe_mode": _safe_mode,
}
