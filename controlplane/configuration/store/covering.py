"""Coverage inside a commit: reads what it depends on, and compares before and after."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import structlog
from sqlalchemy import ARRAY, Text, bindparam, text

from brownout import wire
from brownout.model.resources import ResourceRef
from controlplane.configuration.store.values import Change
from controlplane.contract.kinds import alone
from controlplane.kit.database import Prepared, ReadConnection
from controlplane.resilience.drift import Drift, Step, concerns, drift
from controlplane.resilience.world import KINDS

log = structlog.get_logger(__name__)

_VIEW = Prepared(
    text(
        """
SELECT kind, key, spec FROM resource WHERE environment = :environment AND kind = ANY(:kinds)
UNION ALL
SELECT r.kind, r.key, r.spec FROM (
    SELECT to_key FROM reference
    WHERE environment = :environment AND from_kind = 'request_class' AND to_kind = 'flag'
    UNION
    SELECT * FROM unnest(:flags)
) named CROSS JOIN LATERAL (
    SELECT kind, key, spec FROM resource
    WHERE environment = :environment AND kind = 'flag' AND key = named.to_key OFFSET 0
) r
"""
    ).bindparams(
        bindparam("environment", type_=Text),
        bindparam("kinds", type_=ARRAY(Text)),
        bindparam("flags", type_=ARRAY(Text)),
    )
)
"""Everything that coverage depends on, and of the flags those that request classes name: an environment may have
thousands of others."""


def steps_of(changes: Sequence[Change]) -> list[Step]:
    """The changes as coverage takes them; none where safe mode is switched, which nothing may hold up."""
    if all(alone(_operation(change)) for change in changes):
        return []
    return [Step(change.ref, change.before, change.after) for change in changes]


def _operation(change: Change) -> wire.Operation:
    if change.after is None:
        return wire.Operation("del", change.kind, change.key)
    return wire.Operation("put", change.kind, change.key, msgspec.Raw(change.after))


async def drift_of(
    connection: ReadConnection, environment: str, named: Iterable[ResourceRef], changes: Sequence[Change], now: datetime
) -> Drift:
    """What `changes` do to coverage. Costs a round trip, and only where they can do anything.

    Args:
        named: what the new specs refer to.
    """
    steps = steps_of(changes)
    if not concerns(steps):
        return Drift()
    flags = {ref.key for ref in (*named, *(step.ref for step in steps)) if ref.kind == "flag"}
    present = await view(connection, environment, sorted(flags))
    try:
        return await asyncio.to_thread(drift, present, steps, now)
    except Exception:  # what a newer version wrote may be composed in ways that we do not know
        log.exception("coverage_not_compared", environment=environment)
        return Drift(lines=("warning: coverage was not compared; the control plane's log says why",))


async def view(connection: ReadConnection, environment: str, flags: Sequence[str]) -> dict[ResourceRef, bytes]:
    """What coverage depends on, with `flags` besides those that request classes name now."""
    kinds = sorted(KINDS - {"flag"})
    rows = await connection.fetch(_VIEW, {"environment": environment, "kinds": kinds, "flags": list(flags)})
    return {ResourceRef(each["kind"], each["key"]): each["spec"] for each in rows}
