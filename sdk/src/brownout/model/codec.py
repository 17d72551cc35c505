"""Specs as bytes: canonical when written, quick when read. What comes from outside goes through brownout.parse."""

from functools import cache
from typing import Any

import msgspec

from brownout.model.kinds import KINDS
from brownout.model.resources import VALUE_TYPES, Flag, Spec


def decode(kind: str, spec: bytes) -> Spec:
    """The spec in bytes that `encode` wrote: fast, for what was checked (and signed) before.

    Raises:
        msgspec.ValidationError, KeyError: a newer control plane wrote what this version does not know.
    """
    return with_typed_values(msgspec.json.decode(spec, type=KINDS[kind].struct))


def encode(spec: Spec) -> bytes:
    """Canonical JSON: sorted keys, no defaults, no spaces; equal specs give equal bytes."""
    return msgspec.json.encode(_without_defaults(spec), order="sorted")


def _without_defaults(value: Any) -> Any:
    """`value` with the very default in each field that equals it: msgspec leaves out only what is identical."""
    if isinstance(value, msgspec.Struct):
        lean = {}
        for name, default in _defaults(type(value)):
            now = getattr(value, name)
            then = _without_defaults(now)
            if type(then) is type(default) and then == default:
                then = default
            if then is not now:
                lean[name] = then
        return msgspec.structs.replace(value, **lean) if lean else value
    if isinstance(value, tuple):
        return tuple(map(_without_defaults, value))
    if isinstance(value, dict):
        return {key: _without_defaults(inner) for key, inner in value.items()}
    return value


@cache
def _defaults(struct: type[msgspec.Struct]) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in msgspec.structs.fields(struct))


def with_typed_values(spec: Spec) -> Spec:
    """A flag's variant values as its type's own structs (and a float flag's whole numbers as floats)."""
    if not isinstance(spec, Flag) or spec.type in {"boolean", "string", "integer", "object"}:
        return spec
    typed = {name: msgspec.convert(value, VALUE_TYPES[spec.type]) for name, value in spec.variants.items()}
    return msgspec.structs.replace(spec, variants=typed)
