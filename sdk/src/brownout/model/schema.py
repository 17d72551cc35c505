"""The part of JSON Schema that object flags may use. No `pattern`, no `$ref`: nothing that stalls or loops.

Keywords mean what JSON Schema 2020-12 says; a keyword that is not here is refused, never ignored.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from brownout.model.faults import Fault, pointer

if TYPE_CHECKING:
    from brownout.model.resources import Json

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_SIZES = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_NOTES = {"$schema", "title", "description", "default", "examples"}


def schema_faults(schema: "Json", at: str) -> Iterator[Fault]:
    """Why `schema` is not one that this module understands."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield Fault("wrong_type", "a schema is an object or a boolean", at)
        return
    for word, operand in schema.items():
        here = pointer(at, word)
        if word == "properties" and isinstance(operand, dict):
            for name, inner in operand.items():
                yield from schema_faults(inner, pointer(here, name))
        elif word in {"items", "additionalProperties"}:
            yield from schema_faults(operand, here)
        elif word in {"anyOf", "allOf"} and isinstance(operand, list) and operand:
            for index, inner in enumerate(operand):
                yield from schema_faults(inner, pointer(here, index))
        elif not _understood(word, operand):
            yield Fault("invalid_value", f"{word!r} is not understood here", here)


def _understood(word: str, operand: "Json") -> bool:
    number = isinstance(operand, int | float) and not isinstance(operand, bool)
    match word:
        case "type":
            names = operand if isinstance(operand, list) else [operand]
            return bool(names) and all(isinstance(name, str) and name in _TYPES for name in names)
        case "required":
            return isinstance(operand, list) and all(isinstance(name, str) for name in operand)
        case "enum":
            return isinstance(operand, list)
        case "const":
            return True
        case _:
            return word in _NOTES or (number and (word in _BOUNDS or (word in _SIZES and isinstance(operand, int))))


def value_faults(schema: "Json", value: "Json", at: str) -> Iterator[Fault]:
    """Where `value` breaks `schema`, which has no faults itself."""
    if schema is False:
        yield Fault("invalid_value", "the schema allows nothing here", at)
    if not isinstance(schema, dict):
        return
    names = schema.get("type", [])
    expected = names if isinstance(names, list) else [names]
    if expected and not any(_is(value, str(name)) for name in expected):
        yield Fault("wrong_type", f"expected {' or '.join(map(str, expected))}", at)
        return
    if "const" in schema and not _same(value, schema["const"]):
        yield Fault("invalid_value", f"expected {schema['const']!r}", at)
    options = schema.get("enum")
    if isinstance(options, list) and not any(_same(value, option) for option in options):
        yield Fault("invalid_value", f"expected one of {options!r}", at)
    alternatives = schema.get("anyOf")
    if isinstance(alternatives, list) and all(any(value_faults(inner, value, at)) for inner in alternatives):
        yield Fault("invalid_value", "fits none of the alternatives", at)
    together = schema.get("allOf")
    for inner in together if isinstance(together, list) else []:
        yield from value_faults(inner, value, at)
    yield from _size_faults(schema, value, at)
    if isinstance(value, dict):
        yield from _object_faults(schema, value, at)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from value_faults(schema["items"], item, pointer(at, index))


def _object_faults(schema: dict[str, "Json"], value: dict[str, "Json"], at: str) -> Iterator[Fault]:
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else []:
        if name not in value:
            yield Fault("missing_field", f"{name!r} is required", pointer(at, str(name)))
    for name, item in value.items():
        yield from value_faults(known.get(name, schema.get("additionalProperties", True)), item, pointer(at, name))


def _size_faults(schema: dict[str, "Json"], value: "Json", at: str) -> Iterator[Fault]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        measures = [("minimum", "maximum", value)]
    elif isinstance(value, str):
        measures = [("minLength", "maxLength", len(value))]
    elif isinstance(value, list):
        measures = [("minItems", "maxItems", len(value))]
    elif isinstance(value, dict):
        measures = [("minProperties", "maxProperties", len(value))]
    else:
        measures = []
    for least, most, measure in measures:
        low, high = schema.get(least), schema.get(most)
        if isinstance(low, int | float) and measure < low:
            yield Fault("invalid_value", f"{least} is {low}", at)
        if isinstance(high, int | float) and measure > high:
            yield Fault("invalid_value", f"{most} is {high}", at)
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if least == "minimum" and isinstance(above, int | float) and measure <= above:
            yield Fault("invalid_value", f"must be more than {above}", at)
        if least == "minimum" and isinstance(below, int | float) and measure >= below:
            yield Fault("invalid_value", f"must be less than {below}", at)


def _is(value: "Json", name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer())


def _same(one: "Json", other: "Json") -> bool:
    """Equality as JSON has it: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
