"""A signed copy of an environment that an SDK can start from without a network: `brownout export --bundle`."""

import asyncio

import msgspec

from brownout import wire
from brownout.wire import bundle
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration import snapshot as packed
from controlplane.configuration.store import SigningKeys, Store
from controlplane.kit.clock import Clock


class Bundles:
    def __init__(self, store: Store, keys: SigningKeys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    async def export(self, actor: Actor, environment: str) -> bytes:
        """The head, in the format of brownout.bundle: activations included, since an SDK must obey them too."""
        authorize(actor, Action.EXPORT, environment)
        state = await self._store.state(environment)
        chunks = await asyncio.to_thread(packed.pack, state)
        head = state.head
        now_ms = int(self._clock.now().timestamp() * 1000)
        manifest = packed.manifest(head, chunks, sid=f"{head.epoch}-{head.revision}-bundle", seq=0)
        beat = wire.Heartbeat(1, environment, head.epoch, head.revision, now_ms)
        key = await self._keys.current(environment)

        def signed(kind: wire.SignedKind, message: msgspec.Struct) -> bundle.Signed:
            payload = msgspec.json.encode(message)
            return bundle.Signed(payload, key.sign(kind, environment, payload))

        return bundle.pack(
            bundle.Bundle(
                environment=environment,
                manifest=signed("snapshot", manifest),
                chunks=chunks,
                keys=msgspec.json.encode(await self._keys.chain(environment)),
                head=signed("heartbeat", beat),
            )
        )
