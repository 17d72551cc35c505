"""Whether a change only makes things safer (ADR 0096). Pure.

Two kinds of change are: a rollout paused or moved back to its control, and a resource put back to an earlier state that
was approved. Neither may loosen a limit, an exclusion or a permission, for any context.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from brownout.model.parse import decode
from brownout.model.resources import (
    Cohort,
    Flag,
    RequestClass,
    ResourceRef,
    ResponseTemplate,
    Rollout,
    Rule,
    SafeModeProfile,
    Serve,
    Spec,
)
from brownout.wire.telemetry import parse_rollout_rule
from controlplane.configuration.store.values import Change
from controlplane.configuration.tightness import profile_loosens, value_loosens

KINDS = frozenset({"flag", "rollout", "safe_mode_profile", "response_template", "request_class", "cohort"})
"""A change of any other kind is never only safer."""

MOVES = {
    "paused": frozenset({"running"}),
    "rolled_back": frozenset({"running", "paused", "completed"}),
    "aborted": frozenset({"draft", "running", "paused"}),
}
"""The states towards control, and those that a rollout may come from."""


def objections(changes: Sequence[Change], approved: Collection[ResourceRef]) -> list[str]:
    """Why these changes are not only safer; empty when they are.

    Args:
        approved: the resources that become exactly what they were in an earlier, approved commit.
    """
    back = {change.key for change in changes if change.kind == "rollout" and _moves_back(change)}
    return [f"{change.kind.replace('_', ' ')} {change.key} {why}" for change in changes
            for why in _objections(change, back, change.ref in approved)]  # fmt: skip


def _objections(change: Change, back: Collection[str], approved: bool) -> Iterator[str]:
    if change.before is None or change.after is None:
        yield "appears" if change.before is None else "disappears"
        return
    before, after = decode(change.kind, change.before), decode(change.kind, change.after)
    match before, after:
        case Rollout(), Rollout():
            if not _moves_towards_control(before, after):
                yield "does not move towards its control"
        case Flag(), Flag():
            yield from _flag(before, after, back, approved)
        case SafeModeProfile(), SafeModeProfile():
            yield from _unless(approved)
            yield from profile_loosens(before, after)
        case ResponseTemplate(), ResponseTemplate():
            yield from _unless(approved)
        case (RequestClass(), RequestClass()) | (Cohort(), Cohort()):
            if _without_words(before) != _without_words(after):
                yield "decides differently what others name"
        case _:
            yield "is of a kind that is never only safer"


def _unless(approved: bool) -> Iterator[str]:
    if not approved:
        yield "was never approved like this"


def _without_words(spec: Spec) -> Spec:
    assert isinstance(spec, RequestClass | Cohort)
    return replace(spec, description="", owner="")


def _moves_back(change: Change) -> bool:
    """Whether the rollout gives up its rules."""
    if change.before is None or change.after is None:
        return False
    before, after = decode("rollout", change.before), decode("rollout", change.after)
    assert isinstance(before, Rollout)
    assert isinstance(after, Rollout)
    return _moves_towards_control(before, after) and after.progress.state != "paused"


def _moves_towards_control(before: Rollout, after: Rollout) -> bool:
    was, now = before.progress, after.progress
    if replace(after, progress=was) != before or (was.run, was.stage) != (now.run, now.stage):
        return False
    return was.state in MOVES.get(now.state, frozenset())


def _flag(before: Flag, after: Flag, back: Collection[str], approved: bool) -> Iterator[str]:
    if before.type != after.type:
        yield "changes its type"
        return
    gone = [rule for rule in before.rules if _owner(rule) in back]
    left = tuple(rule for rule in before.rules if _owner(rule) not in back)
    if replace(before, rules=left) == after:
        yield from _removed(before, after, gone)
        return
    yield from _unless(approved)
    if [rule for rule in left if _owner(rule)] != [rule for rule in after.rules if _owner(rule)]:
        yield "changes rules that a rollout owns"
    yield from _safe_variant(before, after)
    if not gone and _targeting(before) == _targeting(after):
        pairs = [(name, name) for name in _reachable(after)]
    else:
        pairs = [(was, now) for was in _reachable(before) for now in _reachable(after)]
    yield from _compare(before, after, pairs, same_target=False)


def _removed(before: Flag, after: Flag, gone: Sequence[Rule]) -> Iterator[str]:
    """Whoever a rollout's rule served gets what stands behind it. A target's own limits go with the target."""
    served = {name for rule in gone for name in _served(rule.serve)}
    yield from _compare(before, after, [(was, now) for was in served for now in _reachable(after)], same_target=True)


def _compare(before: Flag, after: Flag, pairs: Sequence[tuple[str, str]], *, same_target: bool) -> Iterator[str]:
    for was, now in sorted(set(pairs)):
        if was not in before.variants or now not in after.variants:
            yield "names a variant that does not exist"
            continue
        for why in value_loosens(before.variants[was], after.variants[now], same_target=same_target):
            yield f"{why} ({was} → {now})"


def _safe_variant(before: Flag, after: Flag) -> Iterator[str]:
    """What safe mode serves instead, whatever the rules say."""
    if before.safe_variant is None:
        return
    if after.safe_variant is None:
        yield "loses its safe variant"
    elif before.variants.get(before.safe_variant) != after.variants.get(after.safe_variant):
        yield "changes its safe variant"


def _targeting(flag: Flag) -> tuple[object, ...]:
    return flag.rules, flag.default, flag.off_variant, flag.enabled, flag.safe_variant


def _reachable(flag: Flag) -> frozenset[str]:
    """Every variant that some context can get, and a few more."""
    names = {name for serve in (flag.default, *(rule.serve for rule in flag.rules)) for name in _served(serve)}
    return frozenset({*names, flag.off_variant, *filter(None, [flag.safe_variant])})


def _served(serve: Serve) -> Iterator[str]:
    if isinstance(serve, str):
        yield serve
        return
    yield from (share.variant for share in serve.split)
    if serve.fallback is not None:
        yield serve.fallback


def _owner(rule: Rule) -> str | None:
    named = parse_rollout_rule(rule.id)
    return named.rollout if named else None
