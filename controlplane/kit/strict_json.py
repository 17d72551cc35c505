"""JSON bodies as we accept them: the SDK's strict reader, and our structs from what it passed."""

import re
from typing import TypeVar

import msgspec

from brownout.model import strict_json as strictjson
from brownout.model.faults import InvalidResource
from controlplane.errors import Fault, InvalidInputError

T = TypeVar("T")

MAX_DEPTH = strictjson.MAX_DEPTH + 3
"""Of a commit or a document, in which specs stand three levels down; each spec is measured again by itself."""

_AT = re.compile(r" - at `\$(.*)`$")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*?)`")


def check_json(raw: bytes) -> tuple[Fault, ...]:
    """What is wrong with `raw` as JSON: duplicate keys, NaN, depth, …; empty when it is fine."""
    try:
        strictjson.read(raw, max_bytes=len(raw), max_depth=MAX_DEPTH)
    except InvalidResource as error:
        return tuple(Fault(fault.code, fault.message, fault.pointer) for fault in error.faults)
    return ()


def read_struct(raw: bytes, struct: type[T]) -> T:
    """`raw`, already checked, as `struct`; unlike Litestar's own reading, `msgspec.Raw` fields stay as sent.

    Raises:
        InvalidInputError: with a pointer to what does not fit.
    """
    try:
        return msgspec.json.decode(raw, type=struct)
    except msgspec.DecodeError as error:
        text = str(error)
        at = _AT.search(text)
        pointer = pointer_of(at[1]) if at else ""
        code = "wrong_type" if ", got `" in text else "invalid_value"
        if field := _FIELD.match(text):
            code = "missing_field" if "missing" in field[1] else "unknown_field"
            pointer += f"/{field[2]}"
        fault = Fault(code, _AT.sub("", text), pointer)
        raise InvalidInputError(fault.message, (fault,)) from None


def pointer_of(path: str) -> str:
    """msgspec's `.ops[0].kind` as the JSON pointer `/ops/0/kind`."""
    return re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", path).replace(".", "/")
