"""Types for one environment, so that a typo in a key is a type error: what `brownout codegen` writes.

from myservice.brownout_types import typed

client = typed(Brownout.connect())
client.boolean("web-serach")   # error: not one of "web-search", …
"""

from collections.abc import Mapping

from brownout.model.resources import Flag, ResourceRef, Spec

_GETTERS = {"boolean": "bool", "string": "str", "integer": "int", "float": "float", "object": "dict[str, Any]"}
"""The client's value methods: their flag type and what they return."""

_HEADER = '''"""Keys of the environment {environment} at revision {revision}, written by `brownout codegen`. Do not edit."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar, cast, overload

from brownout import Brownout, Decision, Policy

T = TypeVar("T")
Context = Mapping[str, object]
'''

_FOOTER = '''

def typed(client: Brownout) -> TypedClient:
    """The same client, known by this environment's keys. It costs nothing at run time."""
    return cast(TypedClient, client)
'''


def generate(environment: str, revision: int, resources: Mapping[ResourceRef, Spec]) -> str:
    """Python source with a `typed(client)` for the flags and request classes of `resources`."""
    flags: dict[str, list[str]] = {}
    for ref, spec in sorted(resources.items()):
        if isinstance(spec, Flag):
            flags.setdefault(spec.type, []).append(ref.key)
    classes = sorted(ref.key for ref in resources if ref.kind == "request_class")
    aliases = [(_alias(type_), keys) for type_, keys in sorted(flags.items())] + [("RequestClass", classes)]
    parts = [_HEADER.format(environment=environment, revision=revision)]
    parts += [_literal(name, keys) for name, keys in aliases if keys]
    parts += ["\n\nclass TypedClient(Protocol):\n", *_methods(flags, classes), _FOOTER]
    return "".join(parts)


def _alias(type_: str) -> str:
    return type_.title().replace("_", "") + "Flag"


def _literal(name: str, keys: list[str]) -> str:
    lines = "".join(f'    "{key}",\n' for key in keys)
    return f"{name} = Literal[\n{lines}]\n"


def _methods(flags: Mapping[str, list[str]], classes: list[str]) -> list[str]:
    methods = [
        f"    def {getter}(self, key: {_alias(getter)}, context: Context = ..., default: {returns} = ...) -> {returns}: ...\n"
        for getter, returns in _GETTERS.items()
        if getter in flags
    ]
    decisions = [
        f"    def decide(self, key: {_alias(type_)}, context: Context = ..., default: {returns} = ...) -> Decision[{returns}]: ...\n"
        for type_, returns in ((type_, _GETTERS.get(type_, "Any")) for type_ in sorted(flags))
    ]
    methods += [f"    @overload\n{one}" for one in decisions] if len(decisions) > 1 else decisions
    if classes:
        methods.append("    def policy(self, request_class: RequestClass, context: Context = ...) -> Policy: ...\n")
    return methods or ["    pass\n"]
