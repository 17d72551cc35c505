"""Coverage: what answers each request class in each failure mode, with and without safe mode. Pure.

Every combination of variants is composed by the SDK's own `assemble` and `tighten`, and led through its own ladder
(walk.py). A cell shows the worst of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice, product
from math import prod
from typing import NamedTuple

import msgspec

from brownout.evaluation.policy import Policy, assemble, tighten
from brownout.evaluation.safemode import Overlay
from brownout.model.operating import FailureMode
from brownout.model.resources import RequestClass, SafeModeProfile
from brownout.model.values import RungType, ToolPolicy
from controlplane.resilience.cell import GAPS, NONE, Cell, CellState
from controlplane.resilience.walk import BADNESS, Failing, Walks, shape_of, walks
from controlplane.resilience.world import World

MAX_COMBINATIONS = 1_000
"""Combinations of variants of one class that are walked. A class with more has cells that say `too_many`."""

GOVERNORS = ("model", "ladder", "budget", "tools")
"""The fields of a request class that decide what answers. A walk grants no retry."""


class _Place(NamedTuple):
    request_class: str
    mode: str
    profile: str


class _Case(NamedTuple):
    """One way in which a policy of a class can turn out."""

    variants: Mapping[str, str]
    policy: Policy
    walks: Walks


def coverage(
    world: World, *, now: datetime, profiles: Iterable[str] | None = None, classes: Iterable[str] | None = None
) -> list[Cell]:
    """The cells, in order of class, mode and profile.

    Args:
        now: decides which acceptances have ended.
        profiles: NONE and keys of profiles; None is all of them.
        classes: None is all of them.
    """
    overlays = {NONE: Overlay()} | {key: Overlay.of(profile) for key, profile in world.profiles.items()}
    wanted = overlays.keys() if profiles is None else overlays.keys() & set(profiles)
    found: list[Cell] = []
    for key in sorted(world.classes if classes is None else world.classes.keys() & set(classes)):
        modes = [(name, mode) for name, mode in world.modes.items() if not mode.classes or key in mode.classes]
        if not modes:
            continue
        composer = _Composer(world, key)
        cases = {profile: composer.cases(profile, overlays[profile]) for profile in overlays if profile in wanted}
        found += [
            _cell(_Place(key, name, profile), world.classes[key], mode, cases[profile], now)
            for name, mode in modes
            for profile in cases
        ]
    return found


def policies(world: World, key: str) -> list[Policy] | None:
    """The policies that a class can get in the normal state, those that answer alike once; None if there are too many."""
    cases = _Composer(world, key).cases(NONE, Overlay())
    return None if cases is None else [case.policy for case in cases]


def combinations(world: World, classes: Iterable[str]) -> int:
    """The policies that coverage composes for these classes in one state of safe mode, at most."""
    return sum(_combinations(world, key) for key in classes if key in world.classes)


def _combinations(world: World, key: str) -> int:
    names = (getattr(world.classes[key], field) for field in GOVERNORS)
    flags = (world.flags.get(name) for name in names if name)
    return min(prod(len(flag.variants) for flag in flags if flag is not None), MAX_COMBINATIONS)


Combination = tuple[tuple[str, object], ...]
"""A variant and its value for each of GOVERNORS; the variant is empty where the class names no flag."""


class _Composer:
    """The policies of one class, each combination of variants assembled once."""

    def __init__(self, world: World, key: str) -> None:
        self._world = world
        self._key = key
        self._spec = world.classes[key]
        self._owned = bool(self._spec.owner.strip())
        self._assembled: dict[tuple[str, ...], Policy] = {}

    def cases(self, profile: str, overlay: Overlay) -> list[_Case] | None:
        """Each combination of variants under a profile, once for each outcome; None if there are too many."""
        choices = [list(self._choices(field, self._world.profiles.get(profile))) for field in GOVERNORS]
        combinations = list(islice(product(*choices), MAX_COMBINATIONS + 1))
        if len(combinations) > MAX_COMBINATIONS:
            return None
        cases: dict[int, _Case] = {}
        for each in combinations:
            policy = tighten(self._policy(each), overlay, sensitive=self._spec.sensitive)
            found = walks(shape_of(policy, retrieval=self._spec.retrieval, owned=self._owned))
            if id(found) not in cases:
                variants = {field: name for field, (name, _) in zip(GOVERNORS, each, strict=True) if name}
                cases[id(found)] = _Case(variants, policy, found)
        return list(cases.values())

    def _policy(self, combination: Combination) -> Policy:
        names = tuple(name for name, _ in combination)
        if names not in self._assembled:
            values = {field: value for field, (name, value) in zip(GOVERNORS, combination, strict=True) if name}
            policy = assemble(self._key, self._spec, values, self._world.texts)
            if self._spec.tools is None:  # a policy without a tool policy allows every tool: this class calls none
                policy = msgspec.structs.replace(policy, tools=ToolPolicy(include=()))
            self._assembled[names] = policy
        return self._assembled[names]

    def _choices(self, field: str, profile: SafeModeProfile | None) -> Iterator[tuple[str, object]]:
        """The variants that a field's flag can serve under a profile."""
        key = getattr(self._spec, field)
        flag = self._world.flags.get(key) if key else None
        if flag is None:
            yield "", None
            return
        safe = profile is not None and ("*" in profile.serve_safe_variant or key in profile.serve_safe_variant)
        names = [flag.safe_variant] if safe and flag.safe_variant is not None else list(flag.variants)
        yield from ((name, flag.variants[name]) for name in names if name in flag.variants)


def _cell(place: _Place, spec: RequestClass, mode: FailureMode, cases: list[_Case] | None, now: datetime) -> Cell:
    found = _unaccepted(place, spec, mode, cases)
    taken = next((each for each in mode.accepted if each.request_class == place.request_class), None)
    if taken is None or (taken.until is not None and taken.until <= now) or found.state not in GAPS:
        return found
    return msgspec.structs.replace(found, accepted=taken.reason, accepted_until=taken.until)


def _unaccepted(place: _Place, spec: RequestClass, mode: FailureMode, cases: list[_Case] | None) -> Cell:
    """The worst of all cases and error classes."""
    key, name, profile = place
    if cases is None:
        return Cell(request_class=key, mode=name, profile=profile, state="too_many")
    failing = [Failing(error, mode.detect.reach) for error in mode.detect.errors]
    case, cause = max(((case, each) for case in cases for each in failing), key=_badness)
    answer = case.walks[cause]
    state: CellState = "not_possible" if answer is None else answer.state
    rung: RungType | None = None
    words = ""
    if answer is not None and answer.state != "nothing":
        rung, words = _words(case.policy, answer.rung)
        said = mode.say.user is None or mode.say.user in spec.notices or "*" in spec.notices
        if answer.state == "answered" and not said:
            state = "silent"
    return Cell(
        request_class=key, mode=name, profile=profile, state=state, rung=rung, answer=words, error=cause.error,
        variants=case.variants,
    )  # fmt: skip


def _badness(pair: tuple[_Case, Failing]) -> int:
    answer = pair[0].walks[pair[1]]
    return -1 if answer is None else BADNESS[answer.state]


def _words(policy: Policy, index: int) -> tuple[RungType, str]:
    """What answers: the rung's type, and its name."""
    if index < 0:
        return "model", policy.model.name if policy.model else ""
    each = policy.ladder.rungs[index]
    if each.target is not None:
        return "model", each.target.name
    return each.type, each.rung.template or each.rung.queue or ""
