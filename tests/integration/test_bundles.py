"""What `brownout export --bundle` writes is what `Brownout.offline` serves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brownout import Brownout, BundleError, Source
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.test_ofrep import FLAGS, put

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await opened.services.changes.commit(ROOT, "production", [put(*flag) for flag in FLAGS.items()], "the flags")
        yield opened


async def test_an_sdk_starts_from_a_bundle_that_its_keys_owner_signed(world: World, tmp_path: Path) -> None:
    token = await world.token({"production": ["editor"]})
    async with world.client(token) as http:
        answer = await http.get("/api/v1/environments/production/bundle")
        assert (await http.get("/api/v1/environments/staging/bundle")).status_code == 403
    file = tmp_path / "production.bundle"
    file.write_bytes(answer.content)
    key = (await world.access.keys.create(ROOT, "production", "web")).key
    with Brownout.offline(file, key=key) as client:
        assert client.boolean("chat") is True
        assert client.float("ratio", {"plan": "beta"}) == 3.0
        assert client.status.source is Source.BUNDLE
        assert client.status.revision == (await world.services.store.head("production")).revision
    foreign = (await world.access.keys.create(ROOT, "staging", "web")).key
    with pytest.raises(BundleError):
        Brownout.offline(file, key=foreign)


async def test_a_viewer_may_not_take_a_copy(world: World) -> None:
    async with world.client(await world.token({"production": ["viewer"]})) as http:
        assert (await http.get("/api/v1/environments/production/bundle")).status_code == 403
