"""The blast radius of an activation: whom it touches, and what each policy is now and would be then. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate, policy
from brownout.model.parse import decode, encode
from brownout.model.resources import ResourceRef, SafeModeActivation, SafeModeProfile
from controlplane.configuration.changes import ACTIVATION
from controlplane.safemode.members import example_member
from controlplane.safemode.values import BlastRadius, Effect, FullScope, TouchedClass, TouchedFlag
from controlplane.safemode.words import describe

PREVIEW = ResourceRef(ACTIVATION, "preview")
MAX_COHORTS = 20


def blast_radius(
    now_resources: Mapping[ResourceRef, bytes], revision: int, spec: SafeModeActivation, at: datetime
) -> BlastRadius:
    """Compares the environment with the same environment under `spec`."""
    service = spec.scope.services[0] if spec.scope.services else ""
    now = Compiled.load("now", revision, now_resources, service=service)
    then = Compiled.load("then", revision, {**now_resources, PREVIEW: encode(spec)}, service=service)
    now.set_now(at)
    then.set_now(at)
    keys = sorted(ref.key for ref in now_resources if ref.kind == "request_class")
    cohorts = spec.scope.cohorts or sorted(ref.key for ref in now_resources if ref.kind == "cohort")[:MAX_COHORTS]
    members = {cohort: example_member(now, cohort) for cohort in cohorts}
    contexts: dict[str, dict[str, object]] = {"": {}}
    contexts |= {cohort: member for cohort, member in members.items() if member is not None}
    touched = tuple(row for key in keys for row in _touched(now, then, key, contexts))
    return BlastRadius(
        revision=revision,
        profile=spec.profile,
        scope=FullScope.of(spec.scope),
        request_classes=touched,
        flags=tuple(_flags(now, then, spec, contexts[next(reversed(contexts))] if spec.scope.cohorts else {})),
        untouched=tuple(sorted(set(keys) - {row.request_class for row in touched})),
        unknown=tuple(cohort for cohort, member in members.items() if member is None),
    )


def _touched(
    now: Compiled, then: Compiled, key: str, contexts: Mapping[str, dict[str, object]]
) -> Iterator[TouchedClass]:
    """A row for nobody in particular, and one for each cohort that it would be different for."""
    seen: set[tuple[Effect, ...]] = set()
    for cohort, context in contexts.items():
        before, after = describe(policy(now, key, context)), describe(policy(then, key, context))
        names = dict.fromkeys((*before, *after))
        pairs = (Effect(name, before.get(name, ""), after.get(name, "")) for name in names)
        effects = tuple(pair for pair in pairs if pair.now != pair.then)
        if effects and effects not in seen:
            seen.add(effects)
            yield TouchedClass(key, cohort, effects)


class _Safe(msgspec.Struct):
    safe_variant: str | None = None


def _flags(
    now: Compiled, then: Compiled, spec: SafeModeActivation, context: dict[str, object]
) -> Iterator[TouchedFlag]:
    raw = now.resources.get(ResourceRef("safe_mode_profile", spec.profile))
    profile = decode("safe_mode_profile", raw) if raw else None
    listed = profile.serve_safe_variant if isinstance(profile, SafeModeProfile) else ()
    reader = msgspec.json.Decoder(_Safe)
    for ref, flag in sorted(now.resources.items()):
        if ref.kind != "flag" or not ("*" in listed or ref.key in listed) or b'"safe_variant"' not in flag:
            continue
        safe = reader.decode(flag).safe_variant
        before = evaluate(now, ref.key, context, default=None).variant
        after = evaluate(then, ref.key, context, default=None).variant
        if safe is not None and before != after:
            yield TouchedFlag(ref.key, before or "", after or "")
