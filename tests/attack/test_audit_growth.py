"""Who may do nothing cannot fill the audit log, and what they tried stands in it all the same."""

from collections.abc import AsyncIterator

import pytest

from controlplane.access.values import AuditLine, Event
from controlplane.http.guard import MAX_DENIALS
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


async def lines(world: World, event: Event) -> list[AuditLine]:
    found = await world.access.audit.list_events(ROOT, limit=500, event=event)
    return [line for line in reversed(found) if line.entry.outcome == "refused"]


async def test_a_viewers_denials_are_counted(world: World) -> None:
    eve = await world.token({"*": ["viewer"]}, "eve")
    async with world.client(eve) as client:
        for number in range(200):
            assert (await client.put(f"/api/v1/environments/production/flags/f{number}", json={})).status_code == 403
        (first,) = await lines(world, Event.DENIED)
        assert first.entry.target == "PUT /api/v1/environments/production/flags/f0"
        for number in range(200):
            assert (await client.put(f"/api/v1/environments/made-up-{number}/flags/f", json={})).status_code == 403
    await world.access.audit.write_counted(every=True)
    found = await lines(world, Event.DENIED)
    assert len(found) <= MAX_DENIALS + 1 + 2
    assert (
        sum(1 for line in found if "more" not in line.entry.detail)
        + sum(int(line.entry.detail.get("more", 0)) for line in found)
        == 400
    ), "every one of them is in the log"
    assert {line.entry.actor for line in found} == {"eve"}
    assert (await world.access.audit.verify(ROOT)).broken_at is None


async def test_strangers_guesses_are_counted(world: World) -> None:
    await world.person("ada@example.com", {"*": ["admin"]})
    statuses = set()
    for number in range(120):
        async with world.client(address=f"198.51.{number % 200}.{number % 250 + 1}") as client:
            body = {"email": f"nobody-{number}@example.com", "password": "a guess that fails"}
            statuses.add((await client.post("/api/v1/session", json=body)).status_code)
    async with world.client(address="203.0.113.9") as client:
        body = {"email": "ada@example.com", "password": "a guess that fails"}
        assert (await client.post("/api/v1/session", json=body)).status_code == 401
    assert statuses == {401}
    found = await lines(world, Event.SIGN_IN)
    assert len(found) <= 60 + 2
    assert found[-1].entry.actor == "ada@example.com", "a flood of strangers hides nobody's account"


async def test_a_refusal_that_postgres_cannot_store_as_it_is_takes_no_other_with_it(world: World) -> None:
    audit = world.access.audit
    for reason in ("a\0b", "a\0b", "plain", "plain"):
        await audit.refused(Event.DENIED, ROOT, [], target=f"t\0{reason}", reason=reason)
    await audit.write_counted(every=True)
    found = await lines(world, Event.DENIED)
    assert [line.entry.reason.replace("\ufffd", "_") for line in found] == [
        "a_b", "plain", "a_b (1 more times)", "plain (1 more times)"
    ]  # fmt: skip


async def test_a_restart_writes_what_was_counted(database_url: str) -> None:
    from controlplane.app import open_services

    async with open_world(database_url) as world:
        async with open_services(world.services.settings, world.clock) as replica:
            actor = await world.person("eve@example.com", {})
            for _ in range(3):
                await replica.access.audit.refused(Event.DENIED, actor, (), reason="may not edit")
        found = await lines(world, Event.DENIED)
    assert [line.entry.detail.get("more") for line in found] == [None, 2]
