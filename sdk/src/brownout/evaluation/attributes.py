"""Reading a context, which anyone may have filled with anything. Called by generated code (brownout.program).

Each reader returns None for what is missing or of another JSON type: the clause is then unknown, which is false
even when negated. What JSON cannot carry at all, or no honest caller sends, raises InvalidContext: the
evaluation then gives the caller's default. Types are compared by `type`, never by `==` or `isinstance`, so
a hostile object's own methods are not asked.
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, TypeAlias

from brownout.context import Context
from brownout.model.operators import Version, instant, version

MAX_TEXT = 1_000_000
MAX_ITEMS = 10_000

Kinds: TypeAlias = tuple[frozenset[str], frozenset[float], frozenset[bool]]
"""Operands apart by kind, because Python takes True for 1: texts, numbers, booleans."""

_ARRAYS = (list, tuple, set, frozenset)


class InvalidContext(ValueError):  # noqa: N818 - the error code's name
    """The context holds what JSON cannot carry, or is out of all proportion."""


def dotted(context: Context, name: str, steps: tuple[str, ...]) -> object:
    """The attribute at a dotted path. A key spelled with the dots wins over the nested one."""
    flat = context.get(name)
    if flat is not None:
        return flat
    node: Any = context
    for step in steps:
        if type(node) is not dict and not issubclass(type(node), Mapping):
            return None
        node = node.get(step)
    return node


def text(value: Any) -> str | None:
    kind = type(value)
    if issubclass(kind, str):
        plain = str.__str__(value)
        if len(plain) > MAX_TEXT:
            raise InvalidContext
        return plain
    other = _scalar(value)
    return None if other is None else text(other)


def number(value: Any) -> int | float | None:
    kind = type(value)
    if issubclass(kind, float):
        plain = float.__float__(value)
        if isfinite(plain):
            return plain
        raise InvalidContext
    if issubclass(kind, int) and kind is not bool:
        return int.__int__(value)
    other = _scalar(value)
    return None if other is None else number(other)


def unit(value: Any) -> str | None:
    """What a split hashes or a cohort lists: text that is not empty, or an integer in decimal."""
    kind = type(value)
    if issubclass(kind, int) and kind is not bool:
        return int.__repr__(value)
    if issubclass(kind, str):
        return text(value) or None
    other = _scalar(value)
    return None if other is None else unit(other)


def moment(value: Any) -> datetime | None:
    """An instant with a zone: RFC 3339 text, or a datetime."""
    if issubclass(type(value), datetime):
        return value if value.tzinfo is not None else None
    plain = text(value)
    return None if plain is None else instant(plain)


def release(value: Any) -> Version | None:
    plain = text(value)
    return None if plain is None else version(plain)


def member(value: Any, kinds: Kinds) -> bool | None:
    """Whether a scalar is among operands of its own kind; None when no operand is of its kind."""
    texts, numbers, booleans = kinds
    if type(value) is bool:
        return value in booleans if booleans else None
    if issubclass(type(value), str):
        plain = text(value)
        return plain in texts if texts else None
    if issubclass(type(value), int | float):
        known = number(value)
        return known in numbers if numbers else None
    other = _scalar(value)
    return None if other is None else member(other, kinds)


def contains(value: Any, kinds: Kinds) -> bool | None:
    """Whether a text holds one of the operands, or an array has one of them as an element."""
    for array in _ARRAYS:
        if issubclass(type(value), array):
            if array.__len__(value) > MAX_ITEMS:
                raise InvalidContext
            found = [member(item, kinds) for item in array.__iter__(value)]
            return True in found
    plain = text(value)
    if plain is None or not kinds[0]:
        return None
    return any(part in plain for part in kinds[0])


def kinds_of(values: tuple[str | int | float | bool, ...]) -> Kinds:
    return (
        frozenset(sys.intern(value) for value in values if isinstance(value, str)),
        frozenset(value for value in values if isinstance(value, int | float) and not isinstance(value, bool)),
        frozenset(value for value in values if isinstance(value, bool)),
    )


def _scalar(value: Any) -> str | int | float | bool | None:
    """The JSON scalar that a UUID, a Decimal or an enum's member stands for; None for what JSON has already.

    By name, so that neither module is loaded for it: whoever passes one has loaded it.

    Raises:
        InvalidContext: JSON cannot carry it.
    """
    kind = type(value)
    if value is None or kind is bool or issubclass(kind, (str, int, dict, *_ARRAYS, Mapping)):
        return None
    if issubclass(kind, float) and isfinite(float.__float__(value)):
        return None
    if issubclass(kind, Enum):
        inner = value._value_
        return inner if type(inner) in {str, int, float, bool} else None
    match f"{kind.__module__}.{kind.__qualname__}":
        case "uuid.UUID":
            return str(value)
        case "decimal.Decimal" if value.is_finite():
            return int(value) if value == value.to_integral_value() else float(value)
    raise InvalidContext
