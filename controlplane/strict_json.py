"""JSON as we accept it: no duplicate keys, no NaN or Infinity, at most 100 levels, no invalid UTF-8 (RFC 8259, I-JSON)."""

import json
import re
from collections.abc import Iterator

from controlplane.errors import Fault

MAX_DEPTH = 100
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class _Duplicate:
    """Stands in the parsed tree for an object that says one key twice."""

    def __init__(self, key: str) -> None:
        self.key = key


class _NotANumber:
    pass


def check_json(raw: bytes) -> tuple[Fault, ...]:
    """What is wrong with `raw` as JSON; empty when it is fine. Depth is judged before anything is parsed."""
    if depth(raw) > MAX_DEPTH:
        return (Fault("too_deep", f"nested deeper than {MAX_DEPTH} levels"),)
    try:
        tree = json.loads(raw, object_pairs_hook=_object, parse_constant=lambda _: _NotANumber())
    except UnicodeDecodeError:
        return (Fault("not_json", "not UTF-8"),)
    except ValueError as error:
        return (Fault("not_json", f"not JSON: {error}"),)
    return tuple(_faults(tree, ""))


def depth(raw: bytes) -> int:
    """How deep brackets nest outside strings; linear, no recursion."""
    deepest = now = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        now += 1 if bracket in b"[{" else -1
        deepest = max(deepest, now)
    return deepest


def _object(pairs: list[tuple[str, object]]) -> object:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Duplicate(key)
        seen.add(key)
    return made


def _faults(node: object, pointer: str) -> Iterator[Fault]:
    if isinstance(node, _Duplicate):
        yield Fault("duplicate_key", f"the key {node.key!r} stands twice", f"{pointer}/{_escape(node.key)}")
    elif isinstance(node, _NotANumber):
        yield Fault("not_json", "NaN and Infinity are not JSON", pointer)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _faults(value, f"{pointer}/{_escape(key)}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _faults(value, f"{pointer}/{index}")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
