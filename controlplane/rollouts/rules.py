"""The rules that a rollout owns in its flag. Pure; nothing else of the flag is ever touched."""

from msgspec.structs import replace

from brownout.model.resources import Clause, Flag, Rollout, Rule, Share, Split, Stage
from brownout.wire.telemetry import parse_rollout_rule, rollout_rule

EVERYTHING_BP = 10_000


def owned(flag: Flag, key: str) -> tuple[Rule, ...]:
    """The flag's rules that belong to the rollout `key`."""
    return tuple(rule for rule in flag.rules if _owner(rule) == key)


def expected(rollout: Rollout, key: str) -> tuple[Rule, ...]:
    """What the rollout's rules should be in the stage where it is; none unless it serves the treatment to anybody.

    A cohort that an earlier stage served more generously keeps that: a rollout never takes the treatment back from
    somebody by advancing.
    """
    progress = rollout.progress
    if progress.state not in {"running", "paused", "completed"}:
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
    before = [i for i, rule in enumerate(flag.rules) if _owner(rule) == key]
    others = [rule for rule in flag.rules if _owner(rule) != key]
    position = before[0] if before else len(others)
    return replace(flag, rules=(*others[:position], *rules, *others[position:]))


def _owner(rule: Rule) -> str | None:
    named = parse_rollout_rule(rule.id)
    return named.rollout if named else None


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
