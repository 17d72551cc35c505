"""Values that no page of ours sends: the console refuses them or shows them, and never breaks."""

import pytest

from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio

VALUES = ("", "abc", "1" * 30, "NaN", "-1", "\u0661", "²")


async def test_a_duration_that_is_none_breaks_no_page_of_safe_mode(database_url: str) -> None:
    async with open_world(database_url) as world, world.client(await world.token({"*": ["admin"]})) as client:
        for value in VALUES:
            radius = await client.get("/e/production/safe-mode/radius", params={"for_s": value})
            asked = await client.post("/e/production/safe-mode/activate", data={"for_s": value, "profile": "nothing"})
            assert (value, radius.status_code < 500, asked.status_code < 500) == (value, True, True)
