"""From JSON to specs. A spec that parses is sound in itself; brownout.check looks beyond it."""

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from brownout.model import strict_json as strictjson
from brownout.model.codec import decode as decode  # noqa: PLC0414 - one import for who reads and writes specs
from brownout.model.codec import encode as encode  # noqa: PLC0414
from brownout.model.codec import with_typed_values
from brownout.model.faults import Fault, FaultCode, InvalidResource, pointer
from brownout.model.kinds import KINDS, Kind
from brownout.model.resources import KEY_PATTERN, NOT_BLANK, VALUE_TYPES, Flag, Spec

_KEY = re.compile(KEY_PATTERN)
_KEY_IN_WORDS = "a key is 1 to 100 of a-z 0-9 . _ - and starts with a letter or digit"
_PATTERNS_IN_WORDS = {repr(KEY_PATTERN): _KEY_IN_WORDS, repr(NOT_BLANK): "must not be blank"}


def parse(kind: str, key: str, spec: bytes | str | Mapping[str, Any]) -> Spec:
    """The checked spec of one resource, from JSON text or from plain data.

    Raises:
        InvalidResource: with as many faults as could be found.
    """
    faults: list[Fault] = []
    parsed = None
    if not _KEY.match(key):
        faults.append(Fault("invalid_key", _KEY_IN_WORDS))
    if (row := KINDS.get(kind)) is None:
        faults.append(Fault("unknown_kind", f"unknown kind {kind!r}; known: {', '.join(KINDS)}"))
    else:
        try:
            parsed = _parse(row, spec)
        except InvalidResource as error:
            faults += error.faults
    if parsed is None or faults:
        raise InvalidResource(tuple(msgspec.structs.replace(fault, kind=kind, key=key) for fault in faults))
    return parsed


def _parse(row: Kind, spec: bytes | str | Mapping[str, Any]) -> Spec:
    tree = strictjson.read(spec) if isinstance(spec, bytes | str) else strictjson.plain(spec)
    try:
        parsed = msgspec.convert(tree, row.struct)
    except msgspec.ValidationError:
        raise InvalidResource(tuple(_shape_faults(row.struct, tree, ""))) from None
    faults = list(_value_faults(parsed)) if isinstance(parsed, Flag) else []
    if not faults:
        parsed = with_typed_values(parsed)
        faults = list(row.sound(parsed))
    if faults:
        raise InvalidResource(tuple(faults))
    return parsed


def _value_faults(flag: Flag) -> Iterator[Fault]:
    for name, value in flag.variants.items():
        yield from _shape_faults(VALUE_TYPES[flag.type], value, pointer("/variants", name))


def _shape_faults(expected: Any, value: object, at: str) -> Iterator[Fault]:
    """Where `value` departs from the annotation `expected`; finds every place, where msgspec stops at the first."""
    origin = get_origin(expected)
    if origin is Annotated:
        base = get_args(expected)[0]
        inner = list(_shape_faults(base, value, at))
        yield from inner or _leaf_faults(expected, value, at)
    elif origin in {Union, UnionType}:
        structs = [option for option in get_args(expected) if _is_struct(option)]
        if isinstance(value, dict) and structs:
            yield from _shape_faults(structs[0], value, at)
        else:
            yield from _leaf_faults(expected, value, at)
    elif origin is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _shape_faults(get_args(expected)[0], item, pointer(at, index))
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _leaf_faults(get_args(expected)[0], key, pointer(at, key))
            yield from _shape_faults(get_args(expected)[1], item, pointer(at, key))
    elif _is_struct(expected) and isinstance(value, dict):
        yield from _struct_faults(expected, value, at)
    else:
        yield from _leaf_faults(expected, value, at)


def _struct_faults(struct: type[msgspec.Struct], value: dict[str, object], at: str) -> Iterator[Fault]:
    hints = get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name in value.keys() - fields.keys():
        known = ", ".join(sorted(fields))
        yield Fault("unknown_field", f"unknown field {name!r}; known: {known}", pointer(at, name))
    for name, field in fields.items():
        if name in value:
            yield from _shape_faults(hints[field.name], value[name], pointer(at, name))
        elif field.required:
            yield Fault("missing_field", f"{name!r} is required", pointer(at, name))


def _leaf_faults(expected: Any, value: object, at: str) -> Iterator[Fault]:
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at ")[0]
        code: FaultCode = "wrong_type" if ", got `" in message else "invalid_value"
        yield Fault(code, _PATTERNS_IN_WORDS.get(message.partition(" matching regex ")[2], message), at)


def _is_struct(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, msgspec.Struct)
