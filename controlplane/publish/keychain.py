"""The copy of an environment's key chain that SDKs read when they meet a signature by a key they do not know."""

import msgspec

from brownout import wire
from controlplane.configuration.store import SigningKeys
from controlplane.kit.jetstream import JetStream, Message
from controlplane.publish.trust import Trust

TIMEOUT_S = 1.0


class KeyChainCopy:
    """Kept at `bow.<env>.snap.k`. Not signed as a whole: each link is vouched for by an earlier key."""

    def __init__(self, environment: str, jetstream: JetStream, keys: SigningKeys, trust: Trust) -> None:
        self._environment = environment
        self._subjects = wire.Subjects(environment)
        self._jetstream = jetstream
        self._keys = keys
        self._trust = trust
        self._published: frozenset[str] = frozenset()

    async def ensure(self, signature: str) -> None:
        """Makes sure, before a message goes out, that an SDK can learn the key which signed it."""
        if signature.partition(".")[0] not in self._published:
            await self.refresh()

    async def refresh(self) -> None:
        """Publishes the chain unless NATS has it already."""
        chain = await self._keys.chain(self._environment)
        payload = msgspec.json.encode(chain)
        found = await self._jetstream.find_last(self._subjects.snapshot_stream, self._subjects.keys)
        if found is None or found.data != payload:
            if found is not None:
                self._trust.learn(found.data)
            await self._jetstream.publish_one(Message(self._subjects.keys, payload, {}), TIMEOUT_S)
        self._published = frozenset(link.kid for link in chain.links)
