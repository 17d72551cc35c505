"""YAML as we accept it: the JSON data model, no duplicate keys, no anchors, no surprises.

`no` is text and `2024-01-31` is text: only what JSON would understand is anything else.
"""

import re
from typing import Any

import yaml

from controlplane.errors import Fault, InvalidInputError


class _Loader(yaml.CSafeLoader):
    """The safe loader with fewer implicit types. They are a subset of YAML 1.1's: what we dump, we read back."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape

    def get_single_node(self) -> Any:
        """A node reached twice is an alias: small files that mean huge ones begin with these."""
        root = super().get_single_node()
        seen: set[int] = set()
        queue = [root] if root is not None else []
        while queue:
            node = queue.pop()
            if id(node) in seen:
                raise yaml.constructor.ConstructorError(None, None, "aliases are not accepted", node.start_mark)
            seen.add(id(node))
            for child in node.value if isinstance(node, yaml.CollectionNode) else ():
                queue += child if isinstance(child, tuple) else (child,)
        return root

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]*(?:e[-+][0-9]+)?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), [c.strip("\0") for c in _first]
    )


def load_yaml(raw: bytes) -> object:
    """Plain data.

    Raises:
        InvalidInputError: not such YAML; the message names line and column.
    """
    try:
        return yaml.load(raw, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error)
        code = "duplicate_key" if "stands twice" in what else "invalid_yaml"
        raise InvalidInputError(f"{where}{what}", (Fault(code, f"{where}{what}"),)) from None


def dump_yaml(data: object) -> bytes:
    return yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120, encoding="utf-8")
