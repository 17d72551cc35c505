"""Stored specs as pages, lists and evidence read them: a newer version may have written them (docs/adr/0100). Pure.

What is written back is read by `brownout.model.parse.decode` instead, which refuses what this version does not know.
"""

from typing import Any, TypeVar

import msgspec

from brownout.model.kinds import KINDS
from brownout.model.parse import decode, encode
from brownout.model.reading import UNREADABLE, read
from brownout.model.resources import ResourceRef, Spec
from controlplane.errors import NewerVersionError

NEWER = "Written by a newer version of Brownout"

S = TypeVar("S", bound=Spec)


def find_spec(raw: bytes | None, struct: type[S]) -> S | None:
    """The spec as far as this version understands it; None when there is none that it does."""
    if raw is None:
        return None
    try:
        spec = read(next(kind for kind, row in KINDS.items() if row.struct is struct), raw)
    except UNREADABLE:
        return None
    assert isinstance(spec, struct)
    return spec


def get_spec(ref: ResourceRef, raw: bytes, struct: type[S]) -> S:
    """The spec, for whoever acts on every word of it.

    Raises:
        NewerVersionError: it says more than this version knows.
    """
    try:
        spec = decode(ref.kind, raw)
    except UNREADABLE:
        raise NewerVersionError(
            f"a newer version of Brownout wrote the {ref.kind.replace('_', ' ')} {ref.key}, and this control plane cannot "
            "read it. Nothing was saved: use a control plane of that version"
        ) from None
    assert isinstance(spec, struct)
    return spec


def is_newer(kind: str, raw: bytes) -> bool:
    """Whether a spec says anything that this version does not know."""
    try:
        decode(kind, raw)
    except UNREADABLE:
        return True
    return False


def moved_on(before: bytes, after: Spec) -> bytes:
    """Canonical JSON of `before`, which a newer version wrote, with what `after` says otherwise than was read of it."""
    content: dict[str, Any] = msgspec.json.decode(before)
    read_of_it = find_spec(before, type(after))
    lean = msgspec.json.decode(encode(after))
    for field in msgspec.structs.fields(after):
        if read_of_it is None or getattr(after, field.name) != getattr(read_of_it, field.name):
            content.pop(field.encode_name, None)
            if field.encode_name in lean:
                content[field.encode_name] = lean[field.encode_name]
    return msgspec.json.encode(content, order="sorted")
