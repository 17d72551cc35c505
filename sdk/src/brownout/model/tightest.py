"""Safe mode as another version wrote it: what this one cannot read never loosens it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from brownout.model.kinds import KINDS
from brownout.model.resources import Banner, Instant, SafeModeActivation, Scope, Spec

_S = TypeVar("_S", bound=Spec)

_INNER: dict[str, type[Spec]] = {"banner": Banner, "scope": Scope}


def decode_tightest(struct: type[_S], spec: bytes) -> _S:
    """A profile or an activation from its bytes, whatever version wrote it.

    Left out are fields that this version has not heard of, and of a profile the limits and entries that it cannot read:
    all others hold. A dimension of a scope that it cannot read covers everything. A choice that it does not know is the
    strictest that it does, and an end that it cannot read never comes.

    Raises:
        msgspec.MsgspecError: not JSON, or an activation without a readable profile and beginning.
    """
    try:
        return msgspec.json.decode(spec, type=struct)
    except msgspec.ValidationError:
        instead = next(kind.instead for kind in KINDS.values() if kind.struct is struct)
        return msgspec.convert(_readable_fields(struct, msgspec.json.decode(spec), instead), struct)


def _readable_fields(struct: type[Spec], content: Any, instead: Mapping[str, object]) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    if struct is SafeModeActivation and not reads(Instant, content.get("expires_at")):
        content = {**content, "expires_at": content.get("activated_at"), "on_expiry": "hold"}
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        name, value = field.name, content.get(field.encode_name)
        if not reads(field.type, value):
            if name in instead and (field.required or field.encode_name in content):
                value = instead[name]
            elif name in _INNER:
                value = _readable_fields(_INNER[name], value, instead)
            elif struct is not Scope:
                value = _readable_entries(field.type, value)
        if reads(field.type, value):
            known[name] = value
    return known


def _readable_entries(type_: Any, value: Any) -> Any:
    """The entries of a list or an object that can be read."""
    if isinstance(value, list):
        return [each for each in value if reads(type_, [each])]
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if reads(type_, {key: each})}
    return value


def reads(type_: Any, value: Any) -> bool:
    """Whether `value` is one of `type_` in this version."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True
