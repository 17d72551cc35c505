"""SDKs that are ahead of the control plane: the only memory left when Postgres was restored and NATS was wiped.

A report counts only with the signed message that brought the SDK there, so nobody with an SDK key can force a fence.
"""

from collections.abc import Callable

import msgspec
import structlog

from brownout import wire
from controlplane.errors import UnavailableError
from controlplane.kit.buckets import Buckets
from controlplane.kit.clock import monotonic
from controlplane.kit.link import Heard
from controlplane.publish.parts import Position, Shared
from controlplane.publish.trust import Trust

log = structlog.get_logger(__name__)

QUEUE = "publish"

MOST = 2**53
"""No epoch and no revision is larger: an epoch is an instant in Unix seconds."""

CHECKS_AT_ONCE, CHECKS_PER_MINUTE = 1_000, 600
"""Proofs of one SDK key that are looked at: a fleet's all at once, and no more than this of somebody who makes them up."""


class Sightings:
    """Collects proven positions beyond `position()` until they are taken; calls `on_sighting` for each."""

    def __init__(
        self,
        environment: str,
        parts: Shared,
        position: Callable[[], Position | None],
        on_sighting: Callable[[], None],
        trust: Trust,
    ) -> None:
        self._environment = environment
        self._subject = wire.Subjects(environment).presence_all
        self._link = parts.link
        self._trust = trust
        self._position = position
        self._on_sighting = on_sighting
        self._seen: set[Position] = set()
        self._checks = Buckets(CHECKS_AT_ONCE, CHECKS_PER_MINUTE, monotonic)

    @property
    def pending(self) -> bool:
        return bool(self._seen)

    def take(self) -> frozenset[Position]:
        taken = frozenset(self._seen)
        self._seen.clear()
        return taken

    async def subscribe(self) -> None:
        self._subscription = await self._link.subscribe(self._subject, self._on_presence, queue=QUEUE)

    def unsubscribe(self) -> None:
        self._link.unsubscribe(self._subscription)

    async def _on_presence(self, message: Heard) -> None:
        try:
            presence = msgspec.json.decode(message.data, type=wire.Presence)
        except wire.UNREADABLE:
            return
        claimed = Position(presence.ep, presence.rev)
        known = self._position()
        if known is None or claimed <= known or not presence.proof or max(claimed) > MOST:
            return
        if not self._checks.take(message.subject.split(".")[2], 1):
            return
        try:
            proven = await self._proven(presence)
        except UnavailableError:
            return
        if proven is not None and known < proven <= claimed:
            log.info("sdk_ahead", environment=self._environment, subject=message.subject, at=claimed, proven=proven)
            self._seen.add(proven)
            self._on_sighting()

    async def _proven(self, presence: wire.Presence) -> Position | None:
        """Where the proof says that we were; below the claim when the claim's own envelope was too large to send."""
        said: wire.Envelope | wire.Manifest | None = None
        if presence.proof_kind == "log":
            said = await self._trust.find("log", presence.proof, presence.proof_sig, wire.Envelope)
        elif presence.proof_kind == "snapshot":
            said = await self._trust.find("snapshot", presence.proof, presence.proof_sig, wire.Manifest)
        return Position(said.ep, said.rev) if said else None
