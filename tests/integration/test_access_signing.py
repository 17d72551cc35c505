import base64
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from brownout.wire import Verifier, learn
from controlplane.errors import ConflictError, InvalidInputError
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.test_access_approvals import flag

pytestmark = pytest.mark.anyio
P = "production"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def test_the_next_key_is_announced_before_it_signs_and_an_sdk_learns_it(world: World) -> None:
    keys, signing = world.services.signing_keys, world.access.signing
    first = await keys.current(P)
    sdk = Verifier(P, {first.kid: first.public})
    rotation = await signing.announce(ROOT, P, timedelta(minutes=5))
    assert (await keys.current(P)).kid == first.kid
    chain = await keys.chain(P)
    assert [(link.kid, link.by) for link in chain.links] == [(first.kid, ""), (rotation.next_kid, first.kid)]
    assert await signing.switch_due() == 0
    world.clock.move(timedelta(minutes=5))
    assert await signing.switch_due() == 1
    await world.services.changes.commit(ROOT, P, [flag("a")], "signed by the next key")
    [envelope] = await world.services.store.envelopes(P, 1, 1)
    assert envelope.signature.startswith(rotation.next_kid + ".")
    assert not sdk.knows(rotation.next_kid)
    assert learn(sdk, chain) == 1
    assert sdk.verify("log", envelope.payload, envelope.signature)
    assert (await world.services.store.verify_history(P)).broken is None


async def test_a_key_that_was_never_vouched_for_is_not_learned(world: World) -> None:
    first = await world.services.signing_keys.current(P)
    await world.access.signing.announce(ROOT, P, timedelta(minutes=5))
    chain = await world.services.signing_keys.chain("staging")
    sdk = Verifier(P, {first.kid: first.public})
    assert learn(sdk, chain) == 0
    assert base64.urlsafe_b64decode(chain.links[0].pub + "=") != first.public


async def test_one_at_a_time_and_never_in_a_hurry(world: World) -> None:
    with pytest.raises(InvalidInputError):
        await world.access.signing.announce(ROOT, P, timedelta(seconds=5))
    await world.access.signing.announce(ROOT, P, timedelta(minutes=5))
    with pytest.raises(ConflictError):
        await world.access.signing.announce(ROOT, P, timedelta(minutes=5))
