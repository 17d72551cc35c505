"""Budget windows as one capability."""

from collections.abc import Callable

from controlplane.budgets.counters import Counters
from controlplane.budgets.leases import QUEUE, SUBJECT, Leases
from controlplane.budgets.limits import Limits
from controlplane.budgets.service import Budgets
from controlplane.kit.jetstream import JetStream
from controlplane.parts import Parts


async def open_budgets(
    parts: Parts, on_commit: Callable[[Callable[[str], None]], None], fleet: Callable[[str], int]
) -> Budgets:
    """`on_commit(watcher)`: the watcher is told of every environment with a commit. `fleet` counts live instances."""
    limits = Limits(parts.store, monotonic=parts.monotonic)
    counters = Counters(JetStream(parts.link), parts.settings.nats_replicas, monotonic=parts.monotonic)
    leases = Leases(
        limits, counters, parts.clock, fleet, key_share_bp=parts.settings.budget_key_share_bp, monotonic=parts.monotonic
    )
    on_commit(limits.changed)
    await parts.link.subscribe(SUBJECT, leases.receive, queue=QUEUE)
    parts.run("budgets", leases.run)
    budgets = Budgets(parts.store, limits, counters, leases, parts.clock)
    parts.quick.append(budgets.probe)
    return budgets
