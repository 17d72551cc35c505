"""Specs as an instance or a page reads them, whatever version wrote them (docs/adr/0100).

What is read here is never written back: it may lack what only a newer version knows. `brownout.model.codec.decode` reads
for writers, and refuses what it does not know.
"""

from typing import Any

import msgspec

from brownout.model.codec import decode, with_typed_values
from brownout.model.kinds import KINDS, Kind
from brownout.model.resources import Spec
from brownout.model.tightest import decode_tightest, reads

ABOUT = "about_"
"""The names of fields that only describe a resource begin so, from version 0.2.0 on: every reader may leave them out."""

_DESCRIPTIONS = ("description", "owner", "tags")

UNREADABLE = (msgspec.MsgspecError, KeyError, ValueError, RecursionError)
"""What `read` raises for a resource that this version has to refuse."""


def read(kind: str, spec: bytes) -> Spec:
    """The spec as far as this version understands it; what it does with the rest is said by the row of the kind.

    Raises:
        KeyError: this version does not know the kind.
        msgspec.MsgspecError: nothing may be decided by this resource: see `Kind.newer`.
    """
    row = KINDS[kind]
    if row.newer == "tighten":
        return decode_tightest(row.struct, spec)
    try:
        return decode(kind, spec)
    except msgspec.ValidationError:
        content = msgspec.json.decode(spec)
        if not isinstance(content, dict):
            raise
        return with_typed_values(msgspec.convert(_understood(row, content), row.struct))


def _understood(row: Kind, content: dict[str, Any]) -> dict[str, Any]:
    """What of `content` decides, in words that this version knows. What it must not ignore stays, to be refused."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(row.struct)}
    kept: dict[str, Any] = {}
    for name, value in content.items():
        if name not in fields:
            if row.newer != "ignore" and not name.startswith(ABOUT):
                kept[name] = value
        elif reads(fields[name].type, value):
            kept[name] = value
        elif name not in _DESCRIPTIONS:
            kept[name] = row.instead.get(name, value)
    return kept
