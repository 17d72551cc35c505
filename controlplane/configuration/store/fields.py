"""Which fields of a resource changed. Pure."""

from collections.abc import Iterator
from typing import Any, TypeGuard

import msgspec

from controlplane.configuration.store.values import Change, FieldChange

_ABSENT = object()


def field_changes(change: Change) -> tuple[FieldChange, ...]:
    """The smallest parts that differ, by JSON pointer, in order of the document; one at "" when the resource is new
    or gone. List items that carry an `id` are followed by it, wherever they moved."""
    return compare(change.before, change.after)


def compare(before: bytes | None, after: bytes | None) -> tuple[FieldChange, ...]:
    """`field_changes` of any two JSON texts."""
    return tuple(_compare("", _decoded(before), _decoded(after)))


def _compare(at: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if before is _ABSENT or after is _ABSENT:
        yield FieldChange(at, _encoded(before), _encoded(after))
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _compare(f"{at}/{_escaped(name)}", before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif _have_ids(before) and _have_ids(after):
        yield from _compare_by_id(at, before, after)
    elif before != after or type(before) is not type(after):
        yield FieldChange(at, _encoded(before), _encoded(after))


def _compare_by_id(at: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[FieldChange]:
    """Pointers are into `after`; for an item that is gone, into `before`."""
    old = {item["id"]: item for item in before}
    new = {item["id"]: item for item in after}
    for index, item in enumerate(before):
        if item["id"] not in new:
            yield FieldChange(f"{at}/{index}", _encoded(item), None)
    for index, item in enumerate(after):
        yield from _compare(f"{at}/{index}", old.get(item["id"], _ABSENT), item)
    order = ([name for name in old if name in new], [name for name in new if name in old])
    if order[0] != order[1]:
        yield FieldChange(at, _encoded(order[0]), _encoded(order[1]))


def _have_ids(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    if not isinstance(value, list) or not value:
        return False
    ids = [item.get("id") if isinstance(item, dict) else None for item in value]
    return all(isinstance(name, str) for name in ids) and len(set(ids)) == len(ids)


def _decoded(spec: bytes | None) -> Any:
    return _ABSENT if spec is None else msgspec.json.decode(spec)


def _encoded(value: Any) -> bytes | None:
    return None if value is _ABSENT else msgspec.json.encode(value)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
