"""The fields and closed values of every spec, as `1.json` lists those of schema level 1.

`python -m sdk.conformance.levels` writes the list. After the first release it only grows by a level, in
`brownout.model.levels`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from brownout.model.kinds import KINDS
from brownout.model.resources import VALUE_TYPES

LEVEL_1 = Path(__file__).parent / "1.json"

_READ = [name for name, kind in KINDS.items() if not kind.plane]
"""The kinds whose content reaches SDKs."""

Fields = dict[str, dict[str, list[str]]]
"""By struct, by field: its values where the field is closed, else nothing."""


def fields_now() -> Fields:
    found: Fields = {"kinds": {kind: [] for kind in sorted(_READ)}}
    roots = [*(KINDS[kind].struct for kind in _READ), *(t for t in VALUE_TYPES.values() if _is_struct(t))]
    for root in roots:
        _walk(types.type_info(root), found)
    return dict(sorted(found.items()))


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _walk(type_: Any, found: Fields) -> None:
    for inner in _parts(type_):
        if isinstance(inner, types.StructType):
            name = inner.cls.__name__
            if name in found:
                continue
            found[name] = {
                each.encode_name: sorted(str(value) for value in _closed(each.type)) for each in inner.fields
            }
            for each in inner.fields:
                _walk(each.type, found)


def _closed(type_: Any) -> Iterator[object]:
    for inner in _parts(type_):
        if isinstance(inner, types.LiteralType):
            yield from inner.values
        elif isinstance(inner, types.EnumType):
            yield from (each.value for each in inner.cls)


def _parts(type_: Any) -> Iterator[Any]:
    """The type and what it is made of, without looking into structs."""
    yield type_
    inside = [getattr(type_, name, None) for name in ("type", "item_type", "key_type", "value_type")]
    inside += [*getattr(type_, "types", ()), *(getattr(type_, "item_types", None) or ())]
    for inner in inside:
        if isinstance(inner, types.Type):
            yield from _parts(inner)
