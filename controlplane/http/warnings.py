"""What is said of operations that are allowed, and may still not do what their author expects."""

from collections.abc import Sequence

from brownout.wire import Operation
from controlplane.access.actor import Actor
from controlplane.services import Services


async def warnings_of(services: Services, actor: Actor, environment: str, ops: Sequence[Operation]) -> tuple[str, ...]:
    """Names that match nothing, and instances that cannot read what `ops` put."""
    spelling = await services.safe_mode_warnings.of_operations(actor, environment, ops)
    return (*spelling, *services.changes.readers.warnings(environment, ops))
