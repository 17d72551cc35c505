"""JSON from outside, read more strictly than usual: one meaning, bounded size and depth.

What the standard reader lets pass (duplicate keys, NaN, `1e999`, lone surrogates) two readers may
understand differently, so it is refused where it enters and never signed.
"""

import json
from math import isfinite
from typing import Any

from brownout.model.faults import Fault, InvalidResource, pointer

MAX_BYTES = 1_000_000
MAX_DEPTH = 100


class _Duplicated(dict[str, Any]):
    """An object in which `key` stood twice."""

    key = ""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Duplicated(found)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            marked.key = key
        seen.add(key)
    return marked


def read(text: bytes | str, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Plain Python data of one JSON document.

    Raises:
        InvalidResource: with every fault found.
    """
    size = len(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise InvalidResource((Fault("too_large", f"{size:,} bytes; at most {max_bytes:,} are allowed"),))
    try:
        tree = json.loads(text, object_pairs_hook=_pairs, parse_constant=float)
    except RecursionError:
        raise InvalidResource((Fault("too_deep", f"nested more than {max_depth} levels"),)) from None
    except ValueError as error:  # also: not UTF-8, an integer of thousands of digits
        raise InvalidResource((Fault("invalid_json", f"not JSON: {error}"),)) from None
    _refuse(tree, max_depth)
    return tree


def plain(tree: object) -> Any:
    """The same for data that was parsed elsewhere (YAML, a form): anything JSON cannot carry is refused.

    Raises:
        InvalidResource: with every fault found.
    """
    _refuse(tree, MAX_DEPTH)
    try:
        text = json.dumps(tree, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidResource((Fault("wrong_type", f"not JSON: {error}"),)) from None
    return read(text)


def _refuse(tree: object, max_depth: int) -> None:
    faults: list[Fault] = []
    _inspect(tree, "", max_depth, faults)
    if faults:
        raise InvalidResource(tuple(faults))


def _inspect(node: object, at: str, levels: int, faults: list[Fault]) -> None:
    """`levels` may still be opened."""
    match node:
        case dict():
            if levels < 1:
                faults.append(Fault("too_deep", f"nested more than {at.count('/')} levels", at))
                return
            if isinstance(node, _Duplicated):
                faults.append(Fault("duplicate_key", f"{node.key!r} stands twice", pointer(at, node.key)))
            for key, value in node.items():
                if not isinstance(key, str):
                    faults.append(Fault("wrong_type", "an object's keys are strings", at))
                    continue
                _inspect(key, at, levels - 1, faults)
                _inspect(value, pointer(at, key), levels - 1, faults)
        case list() | tuple():
            if levels < 1:
                faults.append(Fault("too_deep", f"nested more than {at.count('/')} levels", at))
                return
            for index, value in enumerate(node):
                _inspect(value, pointer(at, index), levels - 1, faults)
        case str():
            if not node.isascii() and any("\ud800" <= char <= "\udfff" for char in node):
                faults.append(Fault("invalid_value", "half a surrogate pair is not text", at))
        case float() if not isfinite(node):
            faults.append(Fault("not_finite", "not a finite number, so not JSON", at))
        case int() if not -(2**63) <= node < 2**63:
            faults.append(Fault("invalid_value", "an integer has at most 64 bits", at))
