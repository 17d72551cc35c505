"""What must be true between resources: references, and that what is named fits."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from brownout.model.faults import Fault
from brownout.model.kinds import kind_of
from brownout.model.references import Resources
from brownout.model.resources import ResourceRef, Spec


def references(spec: Spec) -> frozenset[ResourceRef]:
    """Every resource that `spec` names; the dependants index is this, turned around."""
    return frozenset(ref for _, ref in kind_of(spec).references(spec))


def check(resources: Resources, touched: Iterable[ResourceRef], *, now: datetime | None = None) -> tuple[Fault, ...]:
    """Faults between resources, for `touched` alone: what changed and what refers to it (one step is enough).

    `resources` is the environment as it would be; a touched ref that is missing from it was deleted. Given
    `now`, a touched activation that has already expired is a fault too.
    """
    found: list[Fault] = []
    for ref in dict.fromkeys(touched):
        spec = resources.get(ref)
        if spec is not None:
            found += [
                msgspec.structs.replace(fault, kind=ref.kind, key=ref.key) for fault in _faults(resources, spec, now)
            ]
    return tuple(found)


def _faults(resources: Resources, spec: Spec, now: datetime | None) -> Iterator[Fault]:
    row = kind_of(spec)
    for at, ref in row.references(spec):
        if ref not in resources:
            yield Fault("unknown_reference", f"there is no {ref.kind} {ref.key!r}", at)
    yield from row.fits(resources, spec, now)
