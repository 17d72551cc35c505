"""Specs as bytes: canonical when written, quick when read. What comes from outside goes through brownout.parse."""

import msgspec

from brownout.model import KINDS, VALUE_TYPES, Flag, Spec


def decode(kind: str, spec: bytes) -> Spec:
    """The spec in bytes that `encode` wrote: fast, for what was checked (and signed) before.

    Raises:
        msgspec.ValidationError, KeyError: a newer control plane wrote what this version does not know.
    """
    return with_typed_values(msgspec.json.decode(spec, type=KINDS[kind]))


def encode(spec: Spec) -> bytes:
    """Canonical JSON: sorted keys, no defaults, no spaces; equal specs give equal bytes."""
    return msgspec.json.encode(spec, order="sorted")


def with_typed_values(spec: Spec) -> Spec:
    """A flag's variant values as its type's own structs (and a float flag's whole numbers as floats)."""
    if not isinstance(spec, Flag) or spec.type in {"boolean", "string", "integer", "object"}:
        return spec
    typed = {name: msgspec.convert(value, VALUE_TYPES[spec.type]) for name, value in spec.variants.items()}
    return msgspec.structs.replace(spec, variants=typed)
