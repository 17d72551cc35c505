"""BROWNOUT_SECRET_KEY is changed while everything that it sealed goes on opening."""

import asyncio
from functools import partial

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from controlplane.access.factors import app_vault
from controlplane.access.sso import sso_vault
from controlplane.cli import app
from controlplane.configuration.store import SigningKeys
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from controlplane.kit.resealing import Resealing, SealStatus
from controlplane.kit.secret_box import SecretKeyError
from controlplane.settings import Secret
from tests.attack.signing_in import Visitor, visitor
from tests.integration.accessing import ROOT, open_world
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

OLD, NEW = SECRET_KEY, "n" * 40
NONE = {
    "signing keys": SealStatus(2, 0, 0),
    "keys of authenticator apps": SealStatus(1, 0, 0),
    "sign-ins at the identity provider": SealStatus(),
}


async def resealing(database: Database, *keys: str) -> Resealing:
    return Resealing(database, (SigningKeys(database, SystemClock(), keys).vault, app_vault(keys), sso_vault(keys)))


async def test_what_an_old_key_sealed_is_sealed_again_and_the_old_key_is_not_needed_any_more(database_url: str) -> None:
    async with open_world(database_url) as world:
        mara = await visitor(world, "mara@example.com", {"*": ["admin"]})
        await mara.set_up_app()
        key, at = mara.key, world.clock.instant
    database = Database(database_url, pool_size=1)
    try:
        assert await (await resealing(database, OLD)).status() == NONE
        both = await resealing(database, NEW, OLD)
        assert {name: each.previous for name, each in (await both.status()).items()} == {
            "signing keys": 2, "keys of authenticator apps": 1, "sign-ins at the identity provider": 0,
        }  # fmt: skip
        with pytest.raises(SecretKeyError, match="2 of the signing keys, 1 of the keys of authenticator apps"):
            await (await resealing(database, NEW)).check()
        assert await both.reseal() == 3
        assert await both.reseal() == 0
        await (await resealing(database, NEW)).check()
        assert await (await resealing(database, NEW)).status() == NONE
        with pytest.raises(SecretKeyError):
            await (await resealing(database, OLD)).check()
    finally:
        await database.close()
    async with open_world(database_url, secret_key=Secret(NEW)) as world:
        world.clock.instant = at
        again = Visitor(world)
        again.key = key
        await again.sign_in("mara@example.com")
        assert (await again.send("POST", "/session/second-factor", {"code": again.code()})).status_code == 201
        chain = await world.services.signing_keys.chain("production")
        assert (await world.services.signing_keys.current("production")).kid == chain.links[-1].kid
        await world.access.keys.create(ROOT, "production", "still pins a key")


async def test_a_start_without_the_needed_key_says_so_in_one_sentence(database_url: str) -> None:
    async with open_world(database_url):
        pass
    with pytest.raises(SecretKeyError) as refused:
        async with open_world(database_url, secret_key=Secret(NEW)):
            pass
    assert refused.value.message == (
        "neither BROWNOUT_SECRET_KEY nor BROWNOUT_SECRET_KEY_PREVIOUS opens 2 of the signing keys in this database: "
        "add the key that sealed them to BROWNOUT_SECRET_KEY_PREVIOUS"
    )
    async with open_world(database_url, secret_key=Secret(NEW), secret_key_previous=Secret(f"{'x' * 32}\n{OLD}")):
        pass


async def test_a_secret_that_changed_meanwhile_is_not_overwritten(database_url: str) -> None:
    async with open_world(database_url):
        pass
    database = Database(database_url, pool_size=1)
    try:
        vault = SigningKeys(database, SystemClock(), (NEW, OLD)).vault
        async with database.reading() as connection:
            stale = (await vault.read(connection))[0]
        async with database.transaction() as connection:
            await vault.replace(connection, stale, b"newer")
            await vault.replace(connection, stale, b"late")
            kept = await connection.sql.scalar(
                text("SELECT sealed FROM signing_key WHERE kid = :kid"), {"kid": stale.key[1]}
            )
        assert kept == b"newer"
    finally:
        await database.close()


async def test_the_command_line_rotates_and_says_what_is_still_needed(
    database_url: str,
) -> None:
    async with open_world(database_url):
        pass

    async def run(*words: str, **keys: str) -> tuple[int, str]:
        told = {"BROWNOUT_DATABASE_URL": database_url, **{f"BROWNOUT_{name}": key for name, key in keys.items()}}
        result = await asyncio.to_thread(partial(CliRunner().invoke, app, ["secret", *words], env=told))
        return result.exit_code, " ".join(result.output.split())

    lost = await run("status", SECRET_KEY=NEW)
    assert (lost[0], "add theirs to BROWNOUT_SECRET_KEY_PREVIOUS" in lost[1]) == (1, True)
    assert "is still needed" in (await run("status", SECRET_KEY=NEW, SECRET_KEY_PREVIOUS=OLD))[1]
    assert "no previous key is needed" in (await run("rotate", SECRET_KEY=NEW, SECRET_KEY_PREVIOUS=OLD))[1]
    assert (await run("status", SECRET_KEY=NEW))[0] == 0
