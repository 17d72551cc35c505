"""Schema levels: which of a resource's fields, values and kinds an SDK of which version can read.

An instance reports its level with its presence. A writer asks here what a spec contains that a level cannot read.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

LEVEL = 1
"""What this version reads and writes. 1 is everything in 0.2.0; a release that adds something raises it by one."""


class Added(NamedTuple):
    """Something that a later level brought."""

    level: int
    kind: str
    path: tuple[str, ...] = ()
    """The field, from the spec's root; `*` stands for any key or index. Empty: the kind itself."""
    values: tuple[object, ...] = ()
    """Only these values of the field; empty: the field."""


ADDED: tuple[Added, ...] = ()
"""One row for each field, value and kind that came after level 1. `sdk/conformance/levels/1.json` lists what level 1 has."""


def beyond(level: int, kind: str, spec: bytes) -> list[tuple[int, str]]:
    """What of a spec a reader at `level` cannot read: pairs of the level that it takes and a JSON pointer into the spec.

    Empty for a spec that is not JSON: it is refused elsewhere.
    """
    rows = [row for row in ADDED if row.kind == kind and row.level > level]
    if not rows:
        return []
    try:
        content = msgspec.json.decode(spec)
    except msgspec.DecodeError:
        return []
    return [(row.level, pointer) for row in rows for pointer in _found(content, row.path, row.values, "")]


def _found(content: Any, path: tuple[str, ...], values: tuple[object, ...], pointer: str) -> Iterator[str]:
    if not path:
        if not values or content in values:
            yield pointer
        return
    for name, inner in _entries(content):
        if path[0] in ("*", name):
            yield from _found(inner, path[1:], values, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        yield from content.items()
    elif isinstance(content, list):
        yield from ((str(index), each) for index, each in enumerate(content))
