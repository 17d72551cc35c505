"""Whether a message is really ours. What lies in our streams, or comes on our subjects, and is not, is absent."""

from typing import TypeVar

import msgspec

from brownout import wire
from controlplane.configuration.store import SigningKeys

T = TypeVar("T", wire.Envelope, wire.Manifest, wire.Heartbeat)


class Trust:
    """Knows every signing key that Postgres has, and those that one of them vouches for: a key made after the backup that
    Postgres was restored from is known from the copy of the chain in NATS."""

    def __init__(self, environment: str, keys: SigningKeys) -> None:
        self._environment = environment
        self.keys = keys
        self._verifier = wire.Verifier(environment, {})
        self._copies: list[wire.KeyChain] = []
        self.strange = 0
        """Messages that were not ours."""

    def learn(self, copy: bytes) -> None:
        """Takes what lies at `bow.<env>.snap.k`; what nobody vouches for in it stays unknown."""
        try:
            chain = msgspec.json.decode(copy, type=wire.KeyChain)
        except wire.UNREADABLE:
            self.strange += 1
            return
        self._copies = [chain]

    async def genuine(self, kind: wire.SignedKind, payload: bytes, signature: str) -> bool:
        """Raises UnavailableError when that cannot be said without Postgres."""
        try:
            return self._verified(kind, payload, signature)
        except wire.UnknownKeyError:
            await self._refresh()
        try:
            return self._verified(kind, payload, signature)
        except wire.UnknownKeyError:
            self.strange += 1
            return False

    async def find(self, kind: wire.SignedKind, payload: bytes, signature: str, shape: type[T]) -> T | None:
        """The message when it is genuine and of this environment, else None. Raises UnavailableError."""
        if not await self.genuine(kind, payload, signature):
            return None
        try:
            return wire.read(payload, shape)
        except wire.UNREADABLE:
            self.strange += 1
            return None

    def _verified(self, kind: wire.SignedKind, payload: bytes, signature: str) -> bool:
        good = self._verifier.verify(kind, payload, signature)
        self.strange += not good
        return good

    async def _refresh(self) -> None:
        chain = await self.keys.chain(self._environment)
        for link in chain.links:
            self._verifier.trust(link.kid, wire.public_key(link.pub))
        for copy in self._copies:
            try:
                wire.learn(self._verifier, copy)
            except ValueError:
                self.strange += 1
