"""A flag of an LLM type evaluated alone, outside any policy, while safe mode applies: it serves nothing that the policy
would keep out. Compiled only while an activation is in force, so that nothing else pays for it."""

from collections.abc import Mapping, Sequence

from brownout.context import NOTHING, Context
from brownout.evaluation.decision import ErrorCode, Missing, Outcome
from brownout.evaluation.flag import CompiledFlag, Evaluate
from brownout.evaluation.policy import tighten_value
from brownout.evaluation.safemode import Activation, Overlay, join
from brownout.evaluation.source import Membership, Program
from brownout.model.frozen import FrozenDict
from brownout.model.resources import FlagValue
from brownout.model.values import ModelRoute


def under_safe_mode(
    flag: CompiledFlag, activations: Sequence[Activation], cohorts: Mapping[str, Membership]
) -> Evaluate:
    """`flag.run` under `activations`: those in force here that name no request class. `cohorts` are those they name."""
    program = Program()
    always = sum(1 << n for n, each in enumerate(activations) if not each.spec.scope.cohorts)
    program.line(f"active = {program.constant(always)}")
    for cohort, contains in cohorts.items():
        bits = sum(1 << n for n, each in enumerate(activations) if cohort in each.spec.scope.cohorts)
        mask = program.constant(bits)
        asked = f"{program.constant(contains)}(context) is True"
        program.line(f"if active & {mask} != {mask} and {asked}: active |= {mask}")
    served = program.constant(_Served(flag, activations))
    program.line(f"return {served}[{program.constant(flag.run)}(context), active]")

    def recover(context: Context | None) -> Outcome:
        return run(NOTHING) if context is None else flag.invalid()

    run: Evaluate = program.build(recover)
    return run


class _Served(dict[tuple[Outcome, int], Outcome]):
    """What is served instead of an outcome of the flag, while the activations of these bits apply."""

    def __init__(self, flag: CompiledFlag, activations: Sequence[Activation]) -> None:
        super().__init__()
        self._flag = flag
        self._activations = activations

    def __missing__(self, key: tuple[Outcome, int]) -> Outcome:
        plain, active = key
        provider = _provider(plain)
        applied = [each for n, each in enumerate(self._activations) if active >> n & 1 and each.at_provider(provider)]
        return self.setdefault(key, _serve(self._flag, plain, applied) if applied else plain)


def _provider(plain: Outcome) -> str | None:
    route = plain.value
    primary = route.targets.get(route.primary) if isinstance(route, ModelRoute) else None
    return primary.provider if primary else None


def _serve(flag: CompiledFlag, plain: Outcome, applied: Sequence[Activation]) -> Outcome:
    """The safe variant when a profile lists the flag, or when the flag's own choice is excluded and the safe variant is
    not; else what is left of the flag's choice; else the caller's default."""
    overlay = join(activation.overlay for activation in applied)
    cause = next((each.key for each in applied if flag.safe_variant is not None and each.covers(flag.key)), None)
    if cause is not None:
        plain = flag.cached_safe_outcome(cause)
    elif (
        plain.error is None
        and flag.safe_variant is not None
        and _is_excluded(plain.value, overlay)
        and not _is_excluded(flag.values[flag.safe_variant], overlay)
    ):
        plain = flag.cached_safe_outcome(_first_excluding(plain.value, applied))
    if plain.error is not None or isinstance(plain.value, Missing):
        return plain
    value = tighten_value(plain.value, overlay)
    if value == plain.value:
        return plain
    by = plain.metadata.get("safe_mode", _cause(plain.value, applied))
    if value is None:
        return flag.variation(plain, None, ErrorCode.GENERAL, FrozenDict(safe_mode=by, excluded=True))
    return flag.variation(plain, value, None, FrozenDict({**plain.metadata, "safe_mode": by, "tightened": True}))


def _is_excluded(value: object, overlay: Overlay) -> bool:
    """Whether a route's primary target may not be called."""
    if not isinstance(value, ModelRoute) or value.primary not in value.targets:
        return False
    return overlay.excludes(value.primary, value.targets[value.primary].provider)


def _first_excluding(value: object, applied: Sequence[Activation]) -> str:
    return next((each.key for each in applied if _is_excluded(value, each.overlay)), applied[0].key)


def _cause(value: FlagValue, applied: Sequence[Activation]) -> str:
    """The first activation that changes `value`; the first of all where only several together do."""
    changing = (each.key for each in applied if tighten_value(value, each.overlay) != value)
    return next(changing, applied[0].key)
