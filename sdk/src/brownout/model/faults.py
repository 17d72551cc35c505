"""What is wrong with a resource: coded values with a JSON pointer; prose is for people only."""

from typing import Literal

import msgspec

FaultCode = Literal[
    "duplicate",
    "duplicate_key",
    "expired",
    "invalid_json",
    "invalid_key",
    "invalid_value",
    "missing_field",
    "missing_price",
    "missing_target",
    "not_finite",
    "over_window",
    "owned",
    "split_sum",
    "too_deep",
    "too_large",
    "unknown_field",
    "unknown_kind",
    "unknown_reference",
    "unknown_variant",
    "unreachable",
    "wrong_reference_type",
    "wrong_type",
]
"""Closed: a client may switch on it."""


class Fault(msgspec.Struct, frozen=True):
    """One reason to refuse. `pointer` is an RFC 6901 JSON pointer into the spec of (`kind`, `key`)."""

    code: FaultCode
    message: str
    pointer: str = ""
    kind: str = ""
    key: str = ""


class InvalidResource(ValueError):  # noqa: N818 - the word that every caller reads
    """A spec was refused; `faults` holds at least one reason."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults))
        self.faults = faults


def pointer(base: str, *steps: str | int) -> str:
    """`base` extended by `steps`, escaped as RFC 6901 asks."""
    return base + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
