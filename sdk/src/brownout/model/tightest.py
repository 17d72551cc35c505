"""Safe mode as another version wrote it: what this one cannot read never loosens it."""

from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from brownout.model.resources import Banner, Instant, SafeModeActivation, Scope, Spec

_S = TypeVar("_S", bound=Spec)

_INSTEAD: dict[str, object] = {
    "sensitive": "stop", "level": "critical", "on_expiry": "hold", "reason": "?", "actor": "?"
}  # fmt: skip
"""The strictest choice that this version knows; a mark for a description that it cannot read."""

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
        return _tightest(struct, msgspec.json.decode(spec))


def _tightest(struct: type[_S], content: Any) -> _S:
    if not isinstance(content, dict):
        raise msgspec.ValidationError(f"expected an object, a {struct.__name__}")
    if struct is SafeModeActivation and not _reads(Instant, content.get("expires_at")):
        content = {**content, "expires_at": content.get("activated_at"), "on_expiry": "hold"}
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        name, value = field.name, content.get(field.encode_name)
        if _reads(field.type, value):
            known[name] = value
        elif name in _INSTEAD and (field.required or field.encode_name in content):
            known[name] = _INSTEAD[name]
        elif name in _INNER:
            with suppress(msgspec.ValidationError):
                known[name] = msgspec.to_builtins(_tightest(_INNER[name], value))
        elif struct is not Scope:
            with suppress(msgspec.ValidationError):
                known[name] = msgspec.to_builtins(msgspec.convert(_readable(field.type, value), field.type))
    return msgspec.convert(known, struct)


def _readable(type_: Any, value: Any) -> Any:
    """The entries of a list or an object that can be read."""
    if isinstance(value, list):
        return [each for each in value if _reads(type_, [each])]
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if _reads(type_, {key: each})}
    return value


def _reads(type_: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True
