"""Small pieces of prose."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from brownout.model.resources import Serve, Split
from controlplane.configuration.store.values import FieldChange
from controlplane.contract.effects import NAMES_SHOWN
from controlplane.contract.effects import listed as listed  # noqa: PLC0414 - prose comes from here

MAX_VALUE = 60


def either(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or 4 more`."""
    return listed(names).replace(" and ", " or ")


def kind_word(kind: str) -> str:
    return kind.replace("_", " ")


def served(serve: Serve) -> str:
    """`big`, or `5% big / 95% small`."""
    if isinstance(serve, Split):
        return " / ".join(f"{share.weight_bp / 100:g}% {share.variant}" for share in serve.split)
    return serve


def shown(value: Any) -> str:
    """A JSON value, short."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            text = value
        case list() if value and all(isinstance(item, str) for item in value):
            text = listed(value)
        case list() | dict() if not value:
            return "none"
        case _:
            text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def changed_fields(fields: Iterable[FieldChange]) -> str:
    """`max_temperature 0.1 → 0.2, banner text none → We are slow`."""
    parts = list(map(_changed, fields))
    return ", ".join(parts[:NAMES_SHOWN]) + (
        f" and {len(parts) - NAMES_SHOWN} more" if len(parts) > NAMES_SHOWN else ""
    )


def _changed(field: FieldChange) -> str:
    """Two long values may differ only beyond what is shown of them."""
    before, after = _side(field, field.before), _side(field, field.after)
    return f"{_name(field.pointer)} {f'{before} → {after}' if before != after else 'changed'}"


def _name(pointer: str) -> str:
    return pointer.strip("/").replace("/", " ").replace("~1", "/").replace("~0", "~") or "everything"


def _side(field: FieldChange, encoded: bytes | None) -> str:
    """A default is not written: a boolean that is absent on one side is the opposite of the other."""
    if encoded is None:
        return {b"true": "no", b"false": "yes"}.get(field.before or field.after or b"", "none")
    return shown(msgspec.json.decode(encoded))
