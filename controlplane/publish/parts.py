"""What every publisher of a process shares."""

from typing import NamedTuple

from controlplane.configuration.store import SigningKeys, Store
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.link import Link


class Shared(NamedTuple):
    database: Database
    store: Store
    keys: SigningKeys
    link: Link
    clock: Clock


class Pace(NamedTuple):
    """`replicas` of each stream in the NATS cluster; the rest in seconds."""

    replicas: int = 1
    poll_s: float = 1.0
    heartbeat_s: float = 5.0
    settings_s: float = 30.0
    """How often the streams' settings and the key chain are compared."""


class Position(NamedTuple):
    """Ordered: a newer epoch is ahead whatever its revision."""

    epoch: int
    revision: int
