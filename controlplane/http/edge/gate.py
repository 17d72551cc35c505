"""How many connections there may be, from where, and how long each may take over what it sends and reads."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
from prometheus_client import Counter as Total
from prometheus_client import Gauge

from controlplane.kit.addresses import Network, is_trusted, network
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat
from controlplane.kit.clock import Monotonic, monotonic

log = structlog.get_logger(__name__)

KNOWN_FOR_S = 3600.0
MAX_KNOWN = 10_000

OPEN = Gauge("brownout_http_connections", "Open HTTP connections.")
REFUSED = Total("brownout_http_connections_refused_total", "Connections refused, by the limit they met.", ["limit"])
ENDED = Total("brownout_http_connections_ended_total", "Connections ended because the client was slow.", ["why"])


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds are those of a monotonic clock; sizes are bytes."""

    connections: int = 4_000
    per_address: int = 250
    """From one IPv4 address or one IPv6 /64."""
    header_s: float = 10.0
    """For the whole header section, from the connection or from the first byte of the next request."""
    body_s: float = 10.0
    """For the body; each `min_rate` bytes of it that have arrived give one second more."""
    read_s: float = 30.0
    """Within this time a client that answers wait for reads `min_rate` bytes a second of them, on average."""
    linger_s: float = 2.0
    """How long we go on receiving a body that was answered before it ended, so that the client reads the answer."""
    min_rate: int = 1_000

    @property
    def reserved(self) -> int:
        """Kept for trusted proxies and for addresses from which somebody has signed in."""
        return max(1, self.connections // 10)

    @property
    def look_every_s(self) -> float:
        return min(1.0, self.header_s / 4, self.body_s / 4, self.read_s / 4, self.linger_s / 4)


class Connection(Protocol):
    """What the gate watches."""

    def overdue(self, now: float) -> str:
        """Why it has to end, one of a closed set of words; empty when all is well."""
        ...

    def end(self, why: str) -> None: ...


class Gate:
    """`admit` and `leave` each connection; `run` ends the slow ones."""

    def __init__(self, limits: Limits, trusted: Sequence[Network], monotonic: Monotonic = monotonic) -> None:
        self.limits = limits
        self._trusted = trusted
        self.now = monotonic
        self._open: dict[Connection, str] = {}
        self._by_network: Counter[str] = Counter()
        self.watching: Counter[str] = Counter()
        """Event streams by principal (controlplane/http/streams.py)."""
        self._known: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def trusts(self, address: str) -> bool:
        return is_trusted(address, self._trusted)

    def know(self, address: str) -> None:
        """Somebody has shown a valid credential from here: there is room for them when it is full for others."""
        if self.trusts(address):
            return
        place = network(address)
        self._known[place] = self.now()
        self._known.move_to_end(place)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def admit(self, connection: Connection, address: str) -> str:
        """Lets `connection` in and returns an empty string, or returns the limit that it meets.

        A trusted proxy stands for many clients, so the limit for each address does not apply to it.
        """
        place, trusted = network(address), self.trusts(address)
        limit = ""
        room = self.limits.connections - (0 if trusted or self._is_known(place) else self.limits.reserved)
        if len(self._open) >= room:
            limit = "connections"
        elif not trusted and self._by_network[place] >= self.limits.per_address:
            limit = "per_address"
        if limit:
            REFUSED.labels(limit).inc()
            log.warning("connection_refused", limit=limit, address=place, open=len(self._open))
            return limit
        self._open[connection] = place
        self._by_network[place] += 1
        OPEN.set(len(self._open))
        return ""

    def leave(self, connection: Connection) -> None:
        place = self._open.pop(connection, None)
        if place is None:
            return
        self._by_network[place] -= 1
        if not self._by_network[place]:
            del self._by_network[place]
        OPEN.set(len(self._open))

    async def run(self) -> None:
        """Looks at every connection, for ever."""
        while True:
            beat("gate", self.limits.look_every_s)
            await asyncio.sleep(self.limits.look_every_s)
            self.look()

    def look(self) -> None:
        now = self.now()
        turn = Turn("gate")
        for connection in [*self._open]:
            with turn.item(self._open.get(connection, "")):
                if why := connection.overdue(now):
                    ENDED.labels(why).inc()
                    log.info("connection_ended", why=why, address=self._open.get(connection, ""))
                    connection.end(why)

    def _is_known(self, place: str) -> bool:
        return self.now() - self._known.get(place, float("-inf")) < KNOWN_FOR_S
