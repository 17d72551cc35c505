"""The blast radius of an activation: whom it touches, and what each policy is now and would be then. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate, policy
from brownout.evaluation.policy import Policy
from brownout.model.parse import encode
from brownout.model.resources import ResourceRef, SafeModeActivation, SafeModeProfile
from controlplane.configuration.changes import ACTIVATION
from controlplane.contract.specs import find_spec
from controlplane.safemode.members import example_member
from controlplane.safemode.shares import Context, has_splits, outcomes
from controlplane.safemode.values import BlastRadius, Effect, FullScope, TouchedClass, TouchedFlag
from controlplane.safemode.words import describe

PREVIEW = ResourceRef(ACTIVATION, "preview")
PROFILE = "safe_mode_profile"
MAX_COHORTS = 20
MAX_FLAGS = 100


class Weight(NamedTuple):
    """Which share of a request class's requests changes, goes to people in addition, and is turned away in addition."""

    touched: float = 0.0
    to_people: float = 0.0
    turned_away: float = 0.0


class Blast(NamedTuple):
    radius: BlastRadius
    weights: Mapping[str, Weight]
    """By request class; an upper bound where the scope has cohorts."""


def blast_radius(
    now: Compiled, spec: SafeModeActivation, at: datetime, profiles: Mapping[ResourceRef, bytes] | None = None
) -> Blast:
    """Compares the environment with the same environment under `spec`, and under `profiles` that are not there yet.

    `now` is the caller's alone meanwhile; what it compiles it keeps, so the next preview of the revision is cheap.
    """
    service = spec.scope.services[0] if spec.scope.services else ""
    then = now.with_safe_mode({**(profiles or {}), PREVIEW: encode(spec)})
    now.set_now(at)
    then.set_now(at)
    keys = sorted(ref.key for ref in now.resources if ref.kind == "request_class")
    cohorts = spec.scope.cohorts or sorted(ref.key for ref in now.resources if ref.kind == "cohort")[:MAX_COHORTS]
    members = {cohort: example_member(now, cohort) for cohort in cohorts}
    contexts: dict[str, Context] = {"": {}}
    contexts |= {cohort: member for cohort, member in members.items() if member is not None}
    comparison = _Comparison(now, then, service)
    touched = tuple(row for key in keys for row in comparison.rows(key, contexts, scoped=bool(spec.scope.cohorts)))
    flags = list(_flags(now, then, spec, contexts[next(reversed(contexts))] if spec.scope.cohorts else {}, service))
    radius = BlastRadius(
        revision=now.revision,
        profile=spec.profile,
        scope=FullScope.of(spec.scope),
        request_classes=touched,
        flags=tuple(flags[:MAX_FLAGS]),
        flags_touched=len(flags),
        untouched=tuple(sorted(set(keys) - {row.request_class for row in touched})),
        unknown=tuple(cohort for cohort, member in members.items() if member is None),
    )
    return Blast(radius, comparison.weights)


class _Comparison:
    def __init__(self, now: Compiled, then: Compiled, service: str) -> None:
        self._now = now
        self._then = then
        self._service = service
        self.weights: dict[str, Weight] = {}

    def rows(self, key: str, contexts: Mapping[str, Context], *, scoped: bool) -> Iterator[TouchedClass]:
        """What changes for anyone, for anonymous requests where a split decides, and for each cohort that it would be
        different for. `scoped`: only cohorts are in the scope, so they say how much is touched."""
        seen: set[tuple[tuple[tuple[Effect, ...], float], ...]] = set()
        for cohort, base in contexts.items():
            found, weight = self._outcomes(key, cohort, base)
            if scoped == bool(cohort):
                self.weights[key] = Weight(*map(max, weight, self.weights.get(key, Weight())))
            if found and tuple(found.items()) not in seen:
                seen.add(tuple(found.items()))
                yield from (TouchedClass(key, cohort, effects, share) for effects, share in found.items())
            if not cohort and has_splits(self._now, key, base):
                effects = _effects(*self._policies(key, base))
                if effects:
                    yield TouchedClass(key, cohort, effects, anonymous=True)

    def _outcomes(self, key: str, cohort: str, base: Context) -> tuple[dict[tuple[Effect, ...], float], Weight]:
        found: dict[tuple[Effect, ...], float] = {}
        touched = to_people = turned_away = 0.0
        for share, context in outcomes(self._now, key, base, (cohort,) if cohort else ()):
            before, after = self._policies(key, context)
            effects = _effects(before, after)
            if not effects:
                continue
            found[effects] = found.get(effects, 0.0) + share
            touched += share
            to_people += share * max(0.0, _to_people(after) - _to_people(before))
            turned_away += share * max(0.0, _turned_away(after) - _turned_away(before))
        rounded = {effects: round(share, 8) for effects, share in found.items()}
        return rounded, Weight(min(1.0, touched), min(1.0, to_people), min(1.0, turned_away))

    def _policies(self, key: str, context: Context) -> tuple[Policy, Policy]:
        return (
            policy(self._now, key, context, service=self._service),
            policy(self._then, key, context, service=self._service),
        )


def _effects(before: Policy, after: Policy) -> tuple[Effect, ...]:
    now, then = describe(before), describe(after)
    pairs = (Effect(name, now.get(name, ""), then.get(name, "")) for name in dict.fromkeys((*now, *then)))
    return tuple(pair for pair in pairs if pair.now != pair.then)


def _turned_away(found: Policy) -> float:
    return 1.0 if found.stop else found.shed_bp / 10_000


def _to_people(found: Policy) -> float:
    """Sensitive requests that people look at, and those whose ladder begins with a person for want of a model."""
    first = next((rung.type for rung in found.ladder.rungs if rung.type != "cache"), "")
    goes = found.sensitive == "human_review" or (found.model is None and first == "human_review")
    return 1.0 - _turned_away(found) if goes else 0.0


class _Safe(msgspec.Struct):
    safe_variant: str | None = None


def _flags(
    now: Compiled, then: Compiled, spec: SafeModeActivation, context: Context, service: str
) -> Iterator[TouchedFlag]:
    """Flags that would serve their safe variant when they are evaluated alone. What that is their spec says, so only
    what they serve now is evaluated."""
    profile = find_spec(then.resources.get(ResourceRef(PROFILE, spec.profile)), SafeModeProfile)
    listed = profile.serve_safe_variant if profile else ()
    if not listed or spec.scope.request_classes or spec.scope.providers:
        return
    reader = msgspec.json.Decoder(_Safe)
    for ref, flag in sorted(now.resources.items()):
        if ref.kind != "flag" or not ("*" in listed or ref.key in listed) or b'"safe_variant"' not in flag:
            continue
        try:
            safe = reader.decode(flag).safe_variant
        except msgspec.DecodeError:  # a newer version wrote it: it serves no variant at all
            continue
        before = evaluate(now, ref.key, context, default=None, service=service).variant
        if safe is not None and before != safe:
            yield TouchedFlag(ref.key, before or "", safe)
