import pytest

from brownout import wire
from controlplane.configuration.store import SigningKeys, Store
from controlplane.errors import NotFoundError
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.secret_box import SecretKeyError
from tests.integration.resources import cohort, put
from tests.support import rotate

pytestmark = pytest.mark.anyio

WORDS = {"author": "mara", "message": "try"}


async def test_an_environment_keeps_its_key_over_a_restart(
    store: Store, signing_keys: SigningKeys, database: Database
) -> None:
    first = await signing_keys.current("production")
    again = await SigningKeys(database, SystemClock(), "a secret of the tests, long enough to be one").current(
        "production"
    )
    assert (first.kid, first.public) == (again.kid, again.public)
    await store.create_environment("staging", "Staging")
    assert (await signing_keys.current("staging")).public != first.public


async def test_a_rotated_key_signs_what_follows_and_is_vouched_for_by_the_one_before(
    store: Store, signing_keys: SigningKeys
) -> None:
    pinned = await signing_keys.current("production")
    await store.commit("production", [put(cohort("a"))], **WORDS)
    for _ in range(2):
        await rotate(signing_keys, "production")
    await store.commit("production", [put(cohort("b"))], **WORDS)
    old, new = await store.envelopes("production", 0, 10)
    verifier = wire.Verifier("production", {pinned.kid: pinned.public})
    assert verifier.verify("log", old.payload, old.signature)
    with pytest.raises(wire.UnknownKeyError):
        verifier.verify("log", new.payload, new.signature)
    chain = await signing_keys.chain("production")
    assert wire.learn(verifier, chain) == 2
    assert verifier.verify("log", new.payload, new.signature)
    assert (await store.verify_history("production")).broken is None


async def test_private_keys_open_only_with_the_secret_they_were_sealed_with(store: Store, database: Database) -> None:
    other = SigningKeys(database, SystemClock(), "another secret, just as long as the first")
    with pytest.raises(SecretKeyError):
        await other.current("production")
    with pytest.raises(NotFoundError):
        await other.current("nowhere")
