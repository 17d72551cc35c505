"""Where a fault is, in what its sender sent.

The store points at operations (`/ops/3/key`) and into resources (`/flag/web-search/rules/0`). Somebody who sent one
resource, a document or a request for safe mode sent neither: whoever makes the operations says where each came from.
A resource that broke without being sent (a flag that names a deleted cohort) keeps its address in the environment.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from brownout.wire import Operation
from controlplane.errors import Fault, InvalidInputError


class Layout(NamedTuple):
    """Where an operation's address (its op, kind, key) and its spec stand; `{rest}` goes on from there."""

    address: str
    spec: str


RESOURCE = Layout("{rest}", "{rest}")
"""The body is the spec, the key is in the path: `/key`, `/rules/0/serve`."""

OPERATIONS = Layout("/ops/{index}{rest}", "/ops/{index}/spec{rest}")
DOCUMENT = Layout("/resources/{kind}/{key}", "/resources/{kind}/{key}{rest}")
MEMBER = Layout("{rest}", "/spec{rest}")
"""The body's member `spec` is the spec."""


@contextmanager
def pointing_into(layout: Layout, ops: Sequence[Operation]) -> Iterator[None]:
    """Faults raised within point into what `ops` were made from."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(error.message, relocated(error.faults, layout, ops)) from None


def relocated(faults: Sequence[Fault], layout: Layout, ops: Sequence[Operation]) -> tuple[Fault, ...]:
    return tuple(msgspec.structs.replace(fault, pointer=_relocated(fault.pointer, layout, ops)) for fault in faults)


def _relocated(pointer: str, layout: Layout, ops: Sequence[Operation]) -> str:
    _, first, second, *deeper = *pointer.split("/", 3), "", ""
    rest = "/" + deeper[0] if deeper[0] else ""
    if first == "ops" and second.isdigit():
        op = ops[int(second)]
        return layout.address.format(index=second, kind=op.kind, key=op.key, rest=rest)
    for index, op in enumerate(ops):
        if (op.kind, op.key) == (first, second):
            return layout.spec.format(index=index, kind=op.kind, key=op.key, rest=rest)
    return pointer
