"""Which outcomes the splits behind a request class have, how large each is, and a request that gets it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import NamedTuple

from brownout.evaluation.bucketing import BUCKETS, bucket
from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.references import GOVERNORS
from brownout.model.resources import Flag, RequestClass, ResourceRef, Split
from controlplane.contract.specs import find_spec

TRIES = 120_000
"""Units to try: one basis point has one in 10,000."""
MAX_OUTCOMES = 50
_UNIT = "preview-0"

Context = Mapping[str, object]
Hashed = tuple[str, tuple[int, ...]]
"""A seed, and the buckets at which an outcome begins."""


class Outcome(NamedTuple):
    """A request that `share` of all requests are like."""

    share: float
    context: Context


def outcomes(compiled: Compiled, request_class: str, base: Context, member: Sequence[str] = ()) -> tuple[Outcome, ...]:
    """The outcomes of the class's splits for requests like `base`, the largest first; without splits, one.

    `member` are cohorts that `base` belongs to, and so each outcome's request does. At most MAX_OUTCOMES, each of half a
    basis point at least.
    """
    by: dict[str, dict[str, set[int]]] = {}
    for split, seed in _splits(compiled, request_class, base):
        edges = by.setdefault(split.by, {}).setdefault(seed, {0, BUCKETS})
        at = 0
        for share in split.split:
            at += share.weight_bp
            edges.add(at)
    if not by:
        return (Outcome(1.0, base),)
    found = [Outcome(1.0, base)]
    for attribute, seeds in sorted(by.items()):
        hashed = tuple((seed, tuple(sorted(edges))) for seed, edges in sorted(seeds.items()))
        grown = [
            Outcome(each.share * share, _with(each.context, attribute, unit))
            for each in found
            for unit, share in _units(hashed)
        ]
        found = sorted(grown, key=lambda each: -each.share)[:MAX_OUTCOMES]
    fitting = [each for each in found if all(compiled.cohort(key).contains(each.context) for key in member)]
    if not fitting:  # the cohort's members are named one by one
        return (Outcome(1.0, base),)
    return tuple(fitting)


def has_splits(compiled: Compiled, request_class: str, base: Context) -> bool:
    return any(_splits(compiled, request_class, base))


def _splits(compiled: Compiled, request_class: str, base: Context) -> Iterator[tuple[Split, str]]:
    """The splits that decide for a request like `base`, and what each hashes with."""
    spec = find_spec(compiled.resources.get(ResourceRef("request_class", request_class)), RequestClass)
    if spec is None:
        return
    for key in filter(None, (getattr(spec, field) for field in GOVERNORS)):
        raw = compiled.resources.get(ResourceRef("flag", key))
        if raw is None or b'"split"' not in raw:
            continue
        flag = find_spec(raw, Flag)
        if flag is None:
            continue
        rule = evaluate(
            compiled, key, _with(base, "targeting_key", base.get("targeting_key", _UNIT)), default=None
        ).rule
        serve = next((each.serve for each in flag.rules if each.id == rule), flag.default)
        if flag.enabled and isinstance(serve, Split):
            yield serve, serve.seed or key


@lru_cache(maxsize=512)
def _units(hashed: tuple[Hashed, ...]) -> tuple[tuple[str, float], ...]:
    """Seeds hash independently, so an outcome's share is the product of its parts'."""
    parts = [[(low, high) for low, high in pairwise(edges) if low < high] for _, edges in hashed]
    wanted = {
        ranges: share
        for ranges in _largest(parts)
        if (share := prod((high - low) / BUCKETS for low, high in ranges)) * BUCKETS >= 0.5
    }
    found: dict[tuple[tuple[int, int], ...], str] = {}
    for n in range(TRIES):
        if len(found) == len(wanted):
            break
        unit = f"preview-{n}"
        at = [bucket(seed, unit) for seed, _ in hashed]
        ranges = tuple(
            next(each for each in options if each[0] <= place < each[1])
            for options, place in zip(parts, at, strict=True)
        )
        if ranges in wanted:
            found.setdefault(ranges, unit)
    return tuple((unit, wanted[ranges]) for ranges, unit in found.items())


def _largest(parts: list[list[tuple[int, int]]]) -> list[tuple[tuple[int, int], ...]]:
    """Combinations of one range of each part: the largest ranges first, so that a bound leaves out the rarest."""
    kept: list[tuple[tuple[int, int], ...]] = [()]
    for options in parts:
        grown = [(*before, option) for before in kept for option in options]
        kept = sorted(grown, key=lambda ranges: -prod(high - low for low, high in ranges))[:MAX_OUTCOMES]
    return kept


def _with(context: Context, path: str, value: object) -> dict[str, object]:
    """`context` with the attribute at `path`, e.g. `user.id`."""
    name, _, rest = path.partition(".")
    inner = context.get(name)
    new = _with(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value
    return {**context, name: new}
