"""docs/api.md tells of every route there is, and of no other."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.contract.kinds import edited
from tests.integration.accessing import open_world

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def told() -> Iterator[tuple[str, str]]:
    """Method and path of every row, `{resources}` once for each kind."""
    base = ""
    for line in PAGE.read_text().splitlines():
        if header := re.match(r"\| below `(\S+)` \|", line):
            base = header[1]
        elif row := re.match(r"\| `([A-Z, ]+) (/\S*)` \|", line):
            path = base + row[2].rstrip("/")
            for segment in (row.path for row in edited().values()) if "{resources}" in path else ("",):
                yield from ((method, path.replace("{resources}", segment)) for method in row[1].split(", "))


async def test_every_route_is_on_the_page_once(database_url: str) -> None:
    async with open_world(database_url) as world, world.client() as anybody:
        paths = (await anybody.get("/api/openapi.json")).json()["paths"]
    served = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/api/v1")
    }
    rows = list(told())
    assert sorted(served - set(rows)) == []
    assert sorted(set(rows) - served) == []
    assert len(rows) == len(set(rows))
    assert len(rows) > 100
