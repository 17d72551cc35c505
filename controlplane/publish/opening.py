"""Publishing as one capability."""

from controlplane.parts import Parts
from controlplane.publish.parts import Pace, Shared
from controlplane.publish.service import PublisherService


def open_publisher(parts: Parts, pace: Pace | None = None) -> PublisherService:
    pace = pace or Pace(replicas=parts.settings.nats_replicas, heartbeat_s=parts.settings.heartbeat_s)
    shared = Shared(parts.database, parts.store, parts.signing_keys, parts.link, parts.clock)
    publisher = PublisherService(shared, pace)
    parts.run("publisher", publisher.run)
    parts.quick.append(publisher.probe)
    return publisher
