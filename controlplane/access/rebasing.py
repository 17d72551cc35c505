"""A proposal on top of what others committed since: merged resource by resource, field by field. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from brownout.wire import Operation
from controlplane.configuration.merge import merge
from controlplane.configuration.store.values import ResourceDiff
from controlplane.errors import Fault, MergeConflictError

Side = Literal["mine", "theirs"]
"""`mine` is what is proposed, `theirs` what others committed."""


def rebased(
    ops: Sequence[Operation], theirs: Iterable[ResourceDiff], prefer: Side | None = None
) -> tuple[Operation, ...]:
    """The operations, with their changes and ours.

    Raises:
        MergeConflictError: both changed the same fields, and no side is preferred.
    """
    since = {(each.kind, each.key): each for each in theirs}
    faults: list[Fault] = []
    merged = tuple(
        op if (their := since.get((op.kind, op.key))) is None else _merged(op, their, f"/ops/{index}", prefer, faults)
        for index, op in enumerate(ops)
    )
    if faults:
        names = ", ".join(fault.pointer for fault in faults[:3])
        raise MergeConflictError(
            f"others changed the same: {names}. Nothing was saved; choose mine or theirs", tuple(faults)
        )
    return merged


def _merged(op: Operation, their: ResourceDiff, at: str, prefer: Side | None, faults: list[Fault]) -> Operation:
    sides = (_decoded(their.before), _decoded(op.spec), _decoded(their.after))
    clashes = merge(*sides).clashes
    if clashes and prefer is None:
        faults += (
            Fault("merge_conflict", "others changed this, too", f"{at}/spec{clash.pointer}") for clash in clashes
        )
    kept = {clash.pointer for clash in clashes} if prefer == "mine" else ()
    document = merge(*sides, keep_mine=kept).document
    if document is None:
        return Operation("del", op.kind, op.key)
    return Operation("put", op.kind, op.key, msgspec.Raw(msgspec.json.encode(document)))


def _decoded(spec: bytes | msgspec.Raw | msgspec.UnsetType | None) -> Any:
    return None if spec is None or isinstance(spec, msgspec.UnsetType) else msgspec.json.decode(spec)
