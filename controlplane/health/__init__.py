"""Whether everything works, and since when it does not: /healthz, metrics, console and alerts read the same checks."""

from controlplane.health.values import Check, Probe
from controlplane.health.watch import Health

__all__ = ["Check", "Health", "Probe"]
