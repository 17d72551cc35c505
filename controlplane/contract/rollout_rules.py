"""The rules that a rollout owns in its flag: what they should be, and what becomes of them when it finishes. Pure."""

from collections.abc import Set

from msgspec.structs import replace

from brownout.model.resources import Clause, Flag, Rollout, Rule, Serve, Share, Split, Stage
from brownout.wire.telemetry import parse_rollout_rule, rollout_rule
from controlplane.contract.reach import in_the_way

EVERYTHING_BP = 10_000

SERVING = frozenset({"running", "paused", "completed"})
"""States in which a rollout has rules in its flag."""


def owned(flag: Flag, key: str) -> tuple[Rule, ...]:
    """The flag's rules that belong to the rollout `key`."""
    return tuple(rule for rule in flag.rules if owner(rule) == key)


def expected(rollout: Rollout, key: str) -> tuple[Rule, ...]:
    """What the rollout's rules should be in the stage where it is; none unless its state is one of SERVING.

    A cohort that an earlier stage served more generously keeps that: a rollout never takes the treatment back from
    somebody by advancing.
    """
    progress = rollout.progress
    if progress.state not in SERVING or progress.stage >= len(rollout.stages):
        return ()
    stage = rollout.stages[progress.stage]
    kept: dict[str, tuple[int, Stage]] = {}
    for index, earlier in enumerate(rollout.stages[: progress.stage]):
        if earlier.cohort is not None and earlier.cohort != stage.cohort:
            kept[earlier.cohort] = (index, earlier)
    still = [
        _rule(rollout, key, index, earlier)
        for index, earlier in kept.values()
        if stage.cohort is not None or earlier.weight_bp > stage.weight_bp
    ]
    return (*still, _rule(rollout, key, progress.stage, stage))


def with_rules(flag: Flag, key: str, rules: tuple[Rule, ...]) -> Flag:
    """The flag with `rules` as the rollout's own, where they were; at first after all others, which keep winning."""
    before = [i for i, rule in enumerate(flag.rules) if owner(rule) == key]
    others = [rule for rule in flag.rules if owner(rule) != key]
    position = before[0] if before else len(others)
    return replace(flag, rules=(*others[:position], *rules, *others[position:]))


def owner(rule: Rule) -> str | None:
    """The key of the rollout that the rule belongs to; None when people own it."""
    named = parse_rollout_rule(rule.id)
    return named.rollout if named else None


def obstacle(flag: Flag, key: str, rollout: Rollout) -> tuple[int, Rule] | None:
    """The first stage, from the present one on, that would serve no one, and the rule that is in its way."""
    progress = rollout.progress
    for stage in range(progress.stage, len(rollout.stages)):
        there = replace(rollout, progress=replace(progress, state="running", stage=stage))
        rules = with_rules(flag, key, expected(there, key)).rules
        place = next(i for i in reversed(range(len(rules))) if owner(rules[i]) == key)
        others = (rule for rule in rules[:place] if owner(rule) != key)
        if (found := in_the_way(others, rules[place])) is not None:
            return stage, found
    return None


def finished(flag: Flag, key: str) -> Flag:
    """The flag without the completed rollout's own rules, serving the same units the same.

    A last stage for everyone becomes the default; one for a cohort, and what earlier stages left to cohorts, become
    ordinary rules."""
    taken = {rule.id for rule in flag.rules}
    rules: list[Rule] = []
    default = flag.default
    for rule in flag.rules:
        if owner(rule) != key:
            rules.append(rule)
            continue
        serve = _final(rule.serve)
        if not rule.when:
            default = serve
            continue
        name = _free(f"{key}-{rule.when[0].values[0]}", taken)
        taken.add(name)
        rules.append(Rule(id=name, serve=serve, when=rule.when))
    return replace(flag, rules=tuple(rules), default=default)


def behind(flag: Flag, key: str) -> tuple[str, ...]:
    """Ids of the rules that the rollout's rule for everyone keeps from being reached, and that would serve without it."""
    ids = [rule.id for rule in flag.rules]
    for index, rule in enumerate(flag.rules):
        if owner(rule) == key and not rule.when:
            return tuple(ids[index + 1 :])
    return ()


def _final(serve: Serve) -> Serve:
    """One variant for everyone is said plainly; a partial share keeps its split, so that nobody moves."""
    return serve.split[0].variant if isinstance(serve, Split) and len(serve.split) == 1 else serve


def _free(name: str, taken: Set[str]) -> str:
    names = (name[:100], *(f"{name[:96]}-{number}" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)


def _rule(rollout: Rollout, key: str, index: int, stage: Stage) -> Rule:
    """The treatment comes first in the split, so a growing stage never moves a unit out of it."""
    shares = [Share(rollout.treatment, stage.weight_bp), Share(rollout.control, EVERYTHING_BP - stage.weight_bp)]
    return Rule(
        id=rollout_rule(key, rollout.progress.run, index),
        when=(Clause("in_cohort", values=(stage.cohort,)),) if stage.cohort is not None else (),
        serve=Split(
            tuple(share for share in shares if share.weight_bp),
            by=rollout.unit,
            seed=f"rollout:{key}",
            fallback=rollout.control,
        ),
    )
