"""Coverage: what answers each request class in each failure mode, with and without safe mode. Pure.

Every combination of variants is composed by the SDK's own `assemble` and `tighten`, and led through its own ladder
(walk.py). A cell shows the worst of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice, product
from typing import Literal, NamedTuple

import msgspec

from brownout.evaluation.policy import Policy, assemble, tighten
from brownout.evaluation.safemode import Overlay
from brownout.model.operating import FailureMode
from brownout.model.resources import RequestClass, SafeModeProfile
from brownout.model.values import ErrorClass, RungType, ToolPolicy
from controlplane.resilience.walk import Failing, Walks, shape_of, walks
from controlplane.resilience.world import World

MAX_COMBINATIONS = 1_000
"""Combinations of variants of one class that are walked. A class with more has cells that say `too_many`."""

NONE = ""
"""The profile of the normal state."""

GOVERNORS = ("model", "ladder", "budget", "tools", "retry")

CellState = Literal["not_possible", "answered", "silent", "raw", "nothing", "too_many"]
_WORST: tuple[CellState, ...] = ("not_possible", "answered", "silent", "raw", "nothing", "too_many")
GAPS = frozenset({"silent", "raw", "nothing", "too_many"})


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What answers one request class in one failure mode.

    `profile` is the safe-mode profile in force, empty for none. `rung` and `answer` say what answers: a model by its
    target, a template by its key, a person by the queue. `error` and `variants` are those of the worst case.
    """

    request_class: str
    mode: str
    profile: str = NONE
    state: CellState
    rung: RungType | None = None
    answer: str = ""
    error: ErrorClass | None = None
    variants: Mapping[str, str] = {}
    accepted: str = ""
    """Why the gap is acceptable; empty if no one has said so."""
    accepted_until: datetime | None = None

    @property
    def is_gap(self) -> bool:
        """Whether users get nothing, a failure as it is, or an answer without the notice that the mode asks for."""
        return self.state in GAPS and not self.accepted

    @property
    def place(self) -> tuple[str, str, str]:
        return self.request_class, self.mode, self.profile


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
    asked = [key for key in overlays if profiles is None or key in set(profiles)]
    found: list[Cell] = []
    for key in sorted(world.classes if classes is None else world.classes.keys() & set(classes)):
        spec = world.classes[key]
        modes = [(name, mode) for name, mode in world.modes.items() if not mode.classes or key in mode.classes]
        if not modes:
            continue
        cases = {profile: _cases(world, key, spec, profile, overlays[profile]) for profile in asked}
        found += [
            _cell(_Place(key, name, profile), spec, mode, cases[profile], now)
            for name, mode in modes
            for profile in asked
        ]
    return found


def policies(world: World, key: str) -> list[Policy] | None:
    """The policies that a class can get in the normal state, those that answer alike once; None if there are too many."""
    cases = _cases(world, key, world.classes[key], NONE, Overlay())
    return None if cases is None else [case.policy for case in cases]


def _cases(world: World, key: str, spec: RequestClass, profile: str, overlay: Overlay) -> list[_Case] | None:
    """Each combination of variants under a profile, once for each outcome; None if there are too many."""
    choices = [list(_choices(world, spec, field, world.profiles.get(profile))) for field in GOVERNORS]
    combinations = list(islice(product(*choices), MAX_COMBINATIONS + 1))
    if len(combinations) > MAX_COMBINATIONS:
        return None
    cases: dict[int, _Case] = {}
    for combination in combinations:
        chosen = dict(zip(GOVERNORS, combination, strict=True))
        values = {field: value for field, (name, value) in chosen.items() if name}
        policy = tighten(assemble(key, spec, values, world.texts), overlay, sensitive=spec.sensitive)
        if spec.tools is None:  # a policy without a tool policy allows every tool, but this class calls none
            policy = msgspec.structs.replace(policy, tools=ToolPolicy(include=()))
        found = walks(shape_of(policy, retrieval=spec.retrieval, owned=bool(spec.owner.strip())))
        variants = {field: name for field, (name, _) in chosen.items() if name}
        cases.setdefault(id(found), _Case(variants, policy, found))
    return list(cases.values())


def _choices(
    world: World, spec: RequestClass, field: str, profile: SafeModeProfile | None
) -> Iterator[tuple[str, object]]:
    """The variants that a field's flag can serve under a profile. Equal ones for this purpose are given once."""
    key = getattr(spec, field)
    flag = world.flags.get(key) if key else None
    if flag is None:
        yield "", None
        return
    safe = profile is not None and ("*" in profile.serve_safe_variant or key in profile.serve_safe_variant)
    names = [flag.safe_variant] if safe and flag.safe_variant is not None else list(flag.variants)
    if field == "retry":  # no retry is granted in a walk
        names = names[:1]
    yield from ((name, flag.variants[name]) for name in names if name in flag.variants)


def _cell(place: _Place, spec: RequestClass, mode: FailureMode, cases: list[_Case] | None, now: datetime) -> Cell:
    if cases is None:
        worst = _made(place, "too_many")
    else:
        said = mode.say.user is None or mode.say.user in spec.notices or "*" in spec.notices
        failing = [Failing(error, mode.detect.reach) for error in mode.detect.errors]
        cells = (_case_cell(place, case, each, said=said) for case in cases for each in failing)
        worst = max(cells, key=lambda cell: _WORST.index(cell.state), default=_made(place, "not_possible"))
    taken = next((each for each in mode.accepted if each.request_class == place.request_class), None)
    if taken is None or (taken.until is not None and taken.until <= now) or worst.state not in GAPS:
        return worst
    return msgspec.structs.replace(worst, accepted=taken.reason, accepted_until=taken.until)


def _case_cell(place: _Place, case: _Case, failing: Failing, *, said: bool) -> Cell:
    answer = case.walks[failing]
    state: CellState = "not_possible" if answer is None else answer.state
    rung: RungType | None = None
    words = ""
    if answer is not None and answer.state != "nothing":
        rung, words = _words(case.policy, answer.rung)
        if answer.state == "answered" and not said:
            state = "silent"
    made = _made(place, state)
    return msgspec.structs.replace(made, rung=rung, answer=words, error=failing.error, variants=case.variants)


def _made(place: _Place, state: CellState) -> Cell:
    return Cell(request_class=place.request_class, mode=place.mode, profile=place.profile, state=state)


def _words(policy: Policy, index: int) -> tuple[RungType, str]:
    """What answers: the rung's type, and its name."""
    if index < 0:
        return "model", policy.model.name if policy.model else ""
    each = policy.ladder.rungs[index]
    if each.target is not None:
        return "model", each.target.name
    return each.type, each.rung.template or each.rung.queue or ""
