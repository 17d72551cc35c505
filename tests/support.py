"""Constants and small helpers that fixtures and tests share."""

import asyncio

from brownout.wire.telemetry import TelemetryMessage, encode
from controlplane.configuration.store import SigningKey, SigningKeys
from controlplane.kit.link import Link
from controlplane.telemetry.boundary import Speaker
from controlplane.telemetry.ingest import Ingest

SECRET_KEY = "a secret of the tests, long enough to be one"


def take(ingest: Ingest, environment: str, message: TelemetryMessage, key: str = "key") -> None:
    """Hands over `message` as if an instance had sent it with the SDK key of that fingerprint."""
    ingest.take(Speaker(environment, key, message.instance), encode(message))


async def rotate(keys: SigningKeys, environment: str) -> SigningKey:
    """Makes a new key, vouched for by the present one; the next commit is signed with it, without an overlap."""
    present = await keys.current(environment)
    async with keys._database.transaction() as connection:
        made = await keys.create(connection, environment, keys._clock.now(), by=present)
        await keys.sign_with(connection, environment, made.kid)
    return made


async def connected(link: Link) -> None:
    """Waits until there is a connection to NATS."""
    async with asyncio.timeout(10):
        while not link.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
