"""Two changes of one document, merged field by field: theirs where I changed nothing, mine where they did not. Pure.

Objects merge by member. Lists whose items carry an `id` (a flag's rules) merge by it; other lists are one field, since
no one can tell which place of theirs is which of mine.
"""

from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = Any


class _Missing(Enum):
    MISSING = 0


MISSING: Final = _Missing.MISSING
"""The member does not exist on this side."""


class Clash(NamedTuple):
    """A field that both changed, each to something else. A side without it has None."""

    pointer: str
    mine: Json
    theirs: Json


class Merged(NamedTuple):
    """`document` is None when the outcome is that it is deleted; where both changed a field, it has theirs unless mine
    was chosen. `clashes` are all of those, chosen or not."""

    document: Json
    clashes: tuple[Clash, ...]


def merge(before: Json, mine: Json, theirs: Json, *, keep_mine: Collection[str] = ()) -> Merged:
    """Merges two changes of `before`; None: it did not exist, or is deleted. `keep_mine`: pointers of clashes."""
    found, clashes = _merge(_Sides(*map(_or_missing, (before, mine, theirs))), "", keep_mine)
    return Merged(_or_none(found), clashes)


class _Sides(NamedTuple):
    before: Json
    mine: Json
    theirs: Json

    def member(self, name: str) -> "_Sides":
        return _Sides(*(side.get(name, MISSING) for side in self))

    def by_id(self) -> "_Sides":
        return _Sides(*({item["id"]: item for item in side} for side in self))


_Outcome: TypeAlias = tuple[Json, tuple[Clash, ...]]


def _merge(sides: _Sides, at: str, keep: Collection[str]) -> _Outcome:
    before, mine, theirs = sides
    if _same(mine, theirs) or _same(mine, before):
        return theirs, ()
    if _same(theirs, before):
        return mine, ()
    if all(isinstance(side, dict) for side in sides):
        return _merge_members(sides, (*theirs, *(name for name in mine if name not in theirs)), at, keep)
    if all(map(_has_ids, sides)) and (order := _order(sides.by_id())) is not None:
        merged, clashes = _merge_members(sides.by_id(), order, at, keep)
        return list(merged.values()), clashes
    clash = Clash(at, *map(_or_none, (mine, theirs)))
    return mine if at in keep else theirs, (clash,)


def _merge_members(sides: _Sides, names: Iterable[str], at: str, keep: Collection[str]) -> _Outcome:
    merged: dict[str, Json] = {}
    clashes: tuple[Clash, ...] = ()
    for name in names:
        found, more = _merge(sides.member(name), f"{at}/{_token(name)}", keep)
        clashes += more
        if found is not MISSING:
            merged[name] = found
    return merged, clashes


def _order(sides: _Sides) -> list[str] | None:
    """Which items there are, and their order. None: both changed that, or one removed what the other changed."""
    was, mine, theirs = sides
    if list(mine) == list(was):
        order = list(theirs)
    elif list(theirs) == list(was):
        order = list(mine)
    else:
        return None
    gone = was.keys() - set(order)
    kept = all(_same(side.get(name, was[name]), was[name]) for name in gone for side in (mine, theirs))
    return order if kept else None


def _has_ids(value: Json) -> bool:
    if not isinstance(value, list):
        return False
    ids = [item.get("id") if isinstance(item, dict) else None for item in value]
    return all(isinstance(one, str) for one in ids) and len(set(ids)) == len(ids)


def _same(one: Json, other: Json) -> bool:
    """JSON's equality: true is not 1, and the order of members says nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(type(one) is type(other) and one == other)


def _or_missing(side: Json) -> Json:
    return MISSING if side is None else side


def _or_none(side: Json) -> Json:
    return None if side is MISSING else side


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
