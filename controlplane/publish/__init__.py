"""From the revision log in Postgres to NATS: docs/adr/0003-transport.md."""

from controlplane.publish.parts import Pace, Parts, Position
from controlplane.publish.publisher import Counters, Published, PublisherHealth
from controlplane.publish.service import PublisherService

__all__ = ["Counters", "Pace", "Parts", "Position", "Published", "PublisherHealth", "PublisherService"]
