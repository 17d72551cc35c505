"""What a write was made from. The commit's own transaction compares it with what is there (ADR 0095). Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.errors import AlreadyExistsError, ChangedMeanwhileError

Expected: TypeAlias = int | tuple[int, ...] | None
"""The environment's revision that a write is based on; of several, any."""

Bases: TypeAlias = Mapping[ResourceRef, int]
"""The revision that last changed each resource when the writer read it, or one of the two below."""

ABSENT = 0
"""It did not exist: this write creates it."""

PRESENT = -1
"""It existed, in whatever form."""


def is_expected(expected: Expected, head: int) -> bool:
    if expected is None:
        return True
    return head in expected if isinstance(expected, tuple) else head == expected


def newest(expected: Expected) -> int:
    return max(expected, default=0) if isinstance(expected, tuple) else expected or 0


def compare(bases: Bases, revisions: Mapping[ResourceRef, int]) -> None:
    """Raises AlreadyExistsError or ChangedMeanwhileError unless every resource is still what its writer read."""
    for ref, base in bases.items():
        now = revisions.get(ref, ABSENT)
        if base == now or (base == PRESENT and now != ABSENT):
            continue
        if base == ABSENT:
            raise AlreadyExistsError(ref)
        raise ChangedMeanwhileError(ref, base, now)
