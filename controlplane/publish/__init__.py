"""From the revision log in Postgres to NATS: docs/adr/0003-transport.md."""

from controlplane.publish.parts import Pace, Position, Shared
from controlplane.publish.publisher import Counters, Published, PublisherHealth
from controlplane.publish.service import PublisherService

__all__ = ["Counters", "Pace", "Position", "Published", "PublisherHealth", "PublisherService", "Shared"]
