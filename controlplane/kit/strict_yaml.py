"""YAML as we accept it: the JSON data model, no duplicate keys, no anchors, no tags, no surprises.

`no` is text and `2024-01-31` is text: only what JSON would understand is anything else. A JSON document is read as JSON,
so that its numbers and escapes mean the same under either name. Values are built from libyaml's events, never by its
composer: that one recurses in C, and 100,000 brackets end the process.
"""

import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, NoReturn

import msgspec
import yaml

from brownout.model.faults import pointer
from controlplane.errors import Fault, InvalidInputError
from controlplane.kit.strict_json import MAX_DEPTH, check_json

MAX_DIGITS = 400
"""Of a number; longer ones are only slow to refuse."""

_FLOAT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")

_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], object]], ...] = (
    (re.compile(r"true|false"), lambda text: text == "true"),
    (re.compile(r"null|~|"), lambda _: None),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), int),
    (_FLOAT, float),
)
"""What an unquoted scalar may be besides text: JSON's literals, and YAML's ways to write null and a positive sign."""


class _Dumper(yaml.CSafeDumper):
    """Quotes what `load_yaml` would take for a number: YAML 1.1, which PyYAML writes, has other ones."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{_FLOAT.pattern})\Z"), list("-+0123456789"))


def load_yaml(raw: bytes) -> object:
    """Plain data.

    Raises:
        InvalidInputError: not such YAML; the message names line and column.
    """
    if raw.lstrip()[:1] in _JSON_BEGINS and (document := _read_json(raw)) is not None:
        return document
    try:
        events = yaml.parse(raw, Loader=yaml.CSafeLoader)
        next(events)  # the stream's start
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        value = _value(next(events), events, "", 1)
        next(events)  # the document's end
        if not isinstance(extra := next(events), yaml.StreamEndEvent):
            _refuse(extra, "invalid_yaml", "one document is enough", "")
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        what = _where(mark) + (getattr(error, "problem", None) or str(error))
        raise InvalidInputError(what, (Fault("invalid_yaml", what),)) from None
    return value


_JSON_BEGINS = {b"{", b"[", b'"'}


def _read_json(raw: bytes) -> object:
    """None when it is not JSON, or too deep to be looked at as such: YAML's own reader says where."""
    faults = check_json(raw)
    if any(fault.code in {"invalid_json", "too_deep"} for fault in faults):
        return None
    if faults:
        raise InvalidInputError(faults[0].message, faults)
    return msgspec.json.decode(raw)


def dump_yaml(data: object) -> bytes:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, encoding="utf-8")


def _value(event: Any, events: Iterator[Any], at: str, depth: int) -> object:
    """The value that begins with `event`; takes the rest of it from `events`."""
    if event.anchor is not None:  # small files that mean huge ones begin with these
        _refuse(event, "invalid_yaml", "anchors and aliases are not accepted", at)
    if event.tag is not None:
        _refuse(event, "invalid_yaml", f"tags are not accepted: {event.tag}", at)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, at)
    if depth > MAX_DEPTH:
        _refuse(event, "too_deep", f"nested more than {MAX_DEPTH} levels", at)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[object] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(event, events, pointer(at, len(items)), depth + 1))
        return items
    found: dict[str, object] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _value(event, events, at, depth + 1)
        if not isinstance(key, str):
            _refuse(event, "wrong_type", f"the key {key!r:.100} is not text", at)
        if key in found:
            _refuse(event, "duplicate_key", f"the key {key!r} stands twice", pointer(at, key))
        found[key] = _value(next(events), events, pointer(at, key), depth + 1)
    return found


def _scalar(event: Any, at: str) -> object:
    text: str = event.value
    plain = event.implicit[0]
    for pattern, read in _PLAIN if plain else ():
        if pattern.fullmatch(text):
            if len(text) > MAX_DIGITS:
                _refuse(event, "invalid_value", f"a number of {len(text):,} digits", at)
            value = read(text)
            if isinstance(value, float) and not isfinite(value):
                _refuse(event, "not_finite", "not a finite number", at)
            return value
    return text


def _refuse(event: Any, code: str, message: str, at: str) -> NoReturn:
    said = _where(event.start_mark) + message
    raise InvalidInputError(said, (Fault(code, said, at),))


def _where(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
