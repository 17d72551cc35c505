"""Health as one capability; opened last, for it watches all the others."""

from controlplane.health.watch import Health
from controlplane.parts import Parts


async def open_health(parts: Parts) -> Health:
    health = Health(
        parts.quick, parts.asking, parts.loops, clock=parts.clock, monotonic=parts.monotonic, notify=parts.notify
    )
    await health.ask()
    parts.run("health", health.run)
    return health
