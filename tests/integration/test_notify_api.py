"""Channels, teams, subscriptions and events over HTTP; who may do what; and events in the transaction of their cause."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from controlplane.configuration.store import Store
from controlplane.kit.database import Database
from controlplane.notify.senders.message import Message, Sent
from controlplane.safemode.expiry import Expiry
from controlplane.safemode.request import ActivationRequest
from controlplane.settings import Secret
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.notifying import SECRET
from tests.integration.resources import put

pytestmark = pytest.mark.anyio

P = "production"


class Recorder:
    """A sender that takes everything, or refuses what it is told to."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.sent = Sent()

    async def send(self, config: bytes, message: Message) -> Sent:
        assert b"hooks.example.com" in config
        self.taken.append(message)
        return self.sent


@pytest.fixture(scope="module")
async def shared(module_database_url: str) -> AsyncIterator[World]:
    async with open_world(module_database_url) as opened:
        profile = put(("safe_mode_profile", "calm", {"max_attempts": 1}))
        await opened.services.changes.commit(ROOT, P, [profile], "a profile")
        yield opened


@pytest.fixture
async def world(shared: World) -> World:
    """Without channels, events and activations of the tests before, and without senders that reach for the network."""
    for active in await shared.services.safe_mode.active(ROOT, P):
        await shared.services.safe_mode.lift(ROOT, P, active.key, "over")
    senders(shared)
    async with shared.services.database.writing() as connection:
        for table in ("subscription", "event", "channel", "team"):  # TRUNCATE would wait for the world's own deliveries
            await connection.execute(text(f"DELETE FROM {table}"))
    return shared


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"*": ["admin"]})) as client:
        yield client


async def add_channel(client: httpx.AsyncClient, key: str = "ops", **more: Any) -> httpx.Response:
    config = {"url": "https://hooks.example.com/very-secret"}
    return await client.put(f"/api/v1/channels/{key}", json={"kind": "slack", "config": config, **more})


async def subscribe(client: httpx.AsyncClient, key: str = "all", **more: Any) -> httpx.Response:
    return await client.put(f"/api/v1/subscriptions/{key}", json={"channels": ["ops"], **more})


def senders(world: World) -> Recorder:
    recorder = Recorder()
    dispatcher = world.services.notifications.events._writer._send_now.__self__  # type: ignore[attr-defined]
    dispatcher._senders = {"slack": recorder}
    world.dispatcher = dispatcher  # type: ignore[attr-defined]
    return recorder


DUE = """
SELECT count(*) FROM delivery JOIN channel ON channel.key = delivery.channel
WHERE ended_at IS NULL AND next_at <= :now AND paused_at IS NULL
"""


async def deliver(world: World) -> None:
    """Until nothing is due; the world's own loop delivers beside us."""
    async with asyncio.timeout(30):
        while True:
            await world.dispatcher.deliver_one()  # type: ignore[attr-defined]
            async with world.services.database.reading() as connection:
                found = await connection.execute(text(DUE), {"now": world.clock.now()})
                if not found.scalar_one():
                    return


async def kinds(client: httpx.AsyncClient, **query: Any) -> list[str]:
    found = (await client.get("/api/v1/events", params=query)).json()["items"]
    return [each["kind"] for each in found]


async def test_a_channel_is_sealed_shown_without_its_secret_tested_paused_and_replayed(
    world: World, admin: httpx.AsyncClient
) -> None:
    recorder = senders(world)
    assert (await admin.put("/api/v1/teams/sre", json={"name": "SRE", "contact": "+49 30 1"})).json()["key"] == "sre"
    made = await add_channel(admin, team="sre")
    assert made.status_code == 200
    assert (made.json()["target"], made.json()["state"]) == ("hooks.example.com", "untested")
    assert "very-secret" not in made.text
    async with world.services.database.reading() as connection:
        sealed = (await connection.execute(text("SELECT sealed FROM channel"))).scalar_one()
    assert b"very-secret" not in sealed

    tested = (await admin.post("/api/v1/channels/ops/test")).json()
    await deliver(world)
    shown = (await admin.get(f"/api/v1/events/{tested['id']}")).json()
    assert [(sent["channel"], sent["state"]) for sent in shown["deliveries"]] == [("ops", "delivered")]
    assert recorder.taken[0].title == "Test of the channel ops"
    assert (await admin.get("/api/v1/channels/ops")).json()["state"] == "working"

    await subscribe(admin, kinds=["fleet"])
    paused = await admin.post("/api/v1/channels/ops/pause", json={"reason": "maintenance"})
    assert paused.json()["state"] == "paused"
    assert (await admin.post("/api/v1/channels/ops/test")).status_code == 409
    await world.services.notifications.events._writer.tell("instances_lag", {"environment": P})
    await deliver(world)
    assert len(recorder.taken) == 1
    assert (await admin.get("/api/v1/channels")).json()["items"][0]["waiting"] == 1
    await admin.post("/api/v1/channels/ops/resume", json={"skip": True})
    await deliver(world)
    assert len(recorder.taken) == 1
    assert (await admin.post("/api/v1/channels/ops/replay", json={"since_s": 3600})).json()["events"] == 2
    await deliver(world)
    assert [each.type for each in recorder.taken] == ["channel_test", "channel_test", "instances_lag"]

    assert (await admin.delete("/api/v1/channels/ops")).status_code == 409, "a subscription names it"
    assert (await admin.delete("/api/v1/teams/sre")).status_code == 409, "a channel belongs to it"
    for path in ("subscriptions/all", "channels/ops", "teams/sre"):
        assert (await admin.delete(f"/api/v1/{path}")).status_code == 204
        assert (await admin.delete(f"/api/v1/{path}")).status_code == 404
    audited = [line.entry.target for line in await world.access.audit.list_events(ROOT) if line.entry.target]
    assert {"channel ops leads to hooks.example.com", "channel ops paused", "channel ops deleted"} <= set(audited)
    assert "very-secret" not in str(audited)


async def test_what_is_wrong_is_named_with_a_pointer(world: World, admin: httpx.AsyncClient) -> None:
    await add_channel(admin)
    for path, body, pointer in (
        ("channels/Bad Key", {"kind": "slack", "config": {"url": "https://x.example"}}, "/key"),
        ("channels/x", {"kind": "slack", "config": {"url": "javascript:alert(1)"}}, "/config/url"),
        ("channels/x", {"kind": "slack", "config": {"url": "https://x.example"}, "team": "nobody"}, "/team"),
        ("channels/x", {"kind": "inbox", "config": {}}, "/kind"),
        ("subscriptions/x", {"channels": ["ops", "nowhere"]}, "/channels/1"),
        ("subscriptions/x", {"channels": []}, "/channels"),
        ("subscriptions/x", {"channels": ["ops"], "kinds": ["fleet", "weather"]}, "/kinds/1"),
        ("subscriptions/x", {"channels": ["ops"], "severity": "loud"}, "/severity"),
        ("subscriptions/x", {"channels": ["ops"], "environments": ["a\0"]}, "/environments/0"),
        ("teams/x", {"name": ""}, "/name"),
    ):
        refused = await admin.put(f"/api/v1/{path}", json=body)
        assert refused.status_code == 422, path
        assert [fault["pointer"] for fault in refused.json()["faults"]] == [pointer]
    assert (await add_channel(admin, "alert-webhook")).status_code == 409, "the settings make that one"
    assert (await admin.post("/api/v1/channels/ops/replay", json={"since_s": 10**12})).status_code == 422
    assert (await admin.get(f"/api/v1/events/{2**70}")).status_code == 404


async def test_events_are_written_with_their_cause_or_not_at_all(
    world: World, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_channel(admin)
    await subscribe(admin, severity="notice")
    services = world.services
    on = await services.safe_mode.activate(ROOT, P, ActivationRequest(profile="calm", reason="outage", for_s=600))
    event = (await admin.get("/api/v1/events", params={"kind": "safe_mode"})).json()["items"][0]
    assert event["data"]["revision"] == f"r{on.commit.revision}"
    assert event["title"] == "Safe mode calm is on in production for everything"
    assert [sent["channel"] for sent in event["deliveries"]] == ["ops"]

    async def refuse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(services.changes._rule, "record", refuse)
    with pytest.raises(ZeroDivisionError):
        await services.safe_mode.lift(ROOT, P, on.key, "over")
    assert await kinds(admin, kind="safe_mode") == ["safe_mode_on"], "what was undone is told to no one"


async def test_an_activation_past_its_end_is_told_once_by_all_replicas(world: World, admin: httpx.AsyncClient) -> None:
    services = world.services
    request = ActivationRequest(profile="calm", reason="outage", for_s=60, on_expiry="hold")
    await services.safe_mode.activate(ROOT, P, request)
    world.clock.move(timedelta(minutes=5))
    notify = services.notifications.events._writer.tell
    for _ in range(3):
        await Expiry(services.store, services.changes, world.clock, notify).tick()
    assert await kinds(admin, kind="safe_mode_overdue") == ["safe_mode_overdue"]


async def test_a_page_is_acknowledged_once_by_its_link_and_everyone_hears_who_has_it(
    world: World, admin: httpx.AsyncClient
) -> None:
    recorder = senders(world)
    await add_channel(admin)
    await subscribe(admin, severity="page")
    await world.services.safe_mode.activate(ROOT, P, ActivationRequest(profile="calm", reason="outage", for_s=600))
    await deliver(world)
    (page,) = recorder.taken
    path = page.ack_link.removeprefix(world.services.settings.url)
    async with world.client() as anybody:
        shown = await anybody.get(path)
        assert shown.status_code == 200
        assert "Safe mode calm is on in production" in shown.text
        assert await kinds(admin, unacknowledged=True, kind="safe_mode") == ["safe_mode_on"], (
            "reading the link acknowledges nothing"
        )
        done = await anybody.post(path)
        assert done.status_code == 200
        again = await anybody.post(path)
        assert "already" in again.text.lower() or "acknowledged" in again.text.lower()
        assert (await anybody.get(path + "x")).status_code == 404
        world.clock.move(timedelta(days=8))
        assert (await anybody.get(path)).status_code == 404
    await deliver(world)
    first, second = (each for each in recorder.taken if each.type != "channel_test")  # a week has passed
    assert (first.action, second.action) == ("trigger", "acknowledge")
    assert first.dedupe == second.dedupe
    assert await kinds(admin, unacknowledged=True, kind="safe_mode") == []
    event = (await admin.get("/api/v1/events", params={"kind": "safe_mode_on"})).json()["items"][0]
    assert event["acknowledged_by"] == "link sent to ops"


async def test_an_acknowledged_page_goes_to_no_further_channel(world: World, admin: httpx.AsyncClient) -> None:
    recorder = senders(world)
    for key in ("ops", "phone"):
        await add_channel(admin, key)
    await subscribe(admin, channels=["ops", "phone"], severity="page")
    recorder.sent = Sent("status 503", fault="later")
    await world.services.safe_mode.activate(ROOT, P, ActivationRequest(profile="calm", reason="outage", for_s=600))
    await deliver(world)
    event = (await admin.get("/api/v1/events", params={"kind": "safe_mode_on"})).json()["items"][0]["id"]
    assert (await admin.post(f"/api/v1/events/{event}/ack")).status_code == 200
    world.clock.move(timedelta(minutes=2))
    await world.dispatcher.house.keep()  # type: ignore[attr-defined]
    shown = (await admin.get(f"/api/v1/events/{event}")).json()
    assert [(sent["channel"], sent["state"]) for sent in shown["deliveries"]] == [("ops", "skipped")]


async def test_a_page_that_is_acknowledged_while_it_is_being_sent_goes_no_further(
    world: World, admin: httpx.AsyncClient
) -> None:
    recorder = senders(world)

    class Slow:
        """The acknowledgement comes before its answer, which is no."""

        async def send(self, config: bytes, message: Message) -> Sent:
            await recorder.send(config, message)
            if message.type == "break_glass":
                (event,) = (await admin.get("/api/v1/events", params={"kind": "break_glass"})).json()["items"]
                await admin.post(f"/api/v1/events/{event['id']}/ack")
                return Sent("status 410", fault="channel")
            return Sent()

    world.dispatcher._senders = {"slack": Slow()}  # type: ignore[attr-defined]
    for key in ("ops", "phone"):
        await add_channel(admin, key)
    await subscribe(admin, channels=["ops", "phone"], severity="page", kinds=["break_glass"])
    await world.services.notifications.events._writer.tell("break_glass", {"environment": P})
    await deliver(world)
    world.clock.move(timedelta(minutes=2))
    await world.dispatcher.house.keep()  # type: ignore[attr-defined]
    (event,) = (await admin.get("/api/v1/events", params={"kind": "break_glass"})).json()["items"]
    assert [(sent["channel"], sent["state"]) for sent in event["deliveries"]] == [("ops", "skipped")]


async def test_a_channel_is_deleted_when_no_delivery_of_it_is_under_way(world: World, admin: httpx.AsyncClient) -> None:
    recorder, refused, sent = senders(world), [], asyncio.Event()

    class Slow:
        async def send(self, config: bytes, message: Message) -> Sent:
            refused.append(await admin.delete("/api/v1/channels/ops"))
            sent.set()
            return await recorder.send(config, message)

    world.dispatcher._senders = {"slack": Slow()}  # type: ignore[attr-defined]
    await add_channel(admin)
    await admin.post("/api/v1/channels/ops/test")
    await deliver(world)
    await sent.wait()  # perhaps by the world's own loop
    assert [each.status_code for each in refused] == [409]
    assert "try again in half a minute" in refused[0].text
    assert (await admin.get("/api/v1/channels/ops")).json()["state"] == "paused"
    async with world.services.database.transaction() as connection:  # returns when the sending one has let go of it
        await connection.execute(text("SELECT id FROM delivery FOR UPDATE"))
    assert (await admin.delete("/api/v1/channels/ops")).status_code == 204


async def test_an_acknowledgement_does_not_name_a_restricted_event(world: World, admin: httpx.AsyncClient) -> None:
    await world.services.notifications.events._writer.tell("passkey_counter_went_back", {"person": "mara"})
    (event,) = (await admin.get("/api/v1/events", params={"kind": "passkey_counter_went_back"})).json()["items"]
    assert (await admin.post(f"/api/v1/events/{event['id']}/ack")).status_code == 200
    async with world.client(await world.token({P: ["viewer"]})) as viewer:
        told = await viewer.get("/api/v1/events", params={"kind": "acknowledged"})
    assert "that only readers of the audit log can see" in told.json()["items"][0]["title"]
    assert "mara" not in told.text


async def test_readers_see_what_they_may_and_only_administrators_silence_a_channel(
    world: World, admin: httpx.AsyncClient
) -> None:
    await add_channel(admin)
    tell = world.services.notifications.events._writer.tell
    await tell("instances_lag", {"environment": P})
    await tell("instances_lag", {"environment": "staging"})
    await tell("passkey_counter_went_back", {"person": "mara"})
    assert await kinds(admin, kind="fleet") == ["instances_lag"] * 2
    assert await kinds(admin, kind="passkey_counter_went_back") == ["passkey_counter_went_back"]
    async with world.client(await world.token({"staging": ["viewer"]})) as viewer:
        (seen,) = (await viewer.get("/api/v1/events", params={"kind": "fleet"})).json()["items"]
        assert seen["environment"] == "staging"
        assert await kinds(viewer, kind="access") == [], "who may not read the audit log does not read it here"
        assert (await viewer.get("/api/v1/events", params={"environment": P})).status_code == 403
        other = next(
            e
            for e in (await admin.get("/api/v1/events", params={"kind": "fleet"})).json()["items"]
            if e["environment"] == P
        )
        assert (await viewer.get(f"/api/v1/events/{other['id']}")).status_code == 404
        assert (await viewer.post(f"/api/v1/events/{seen['id']}/ack")).status_code == 403
    async with world.client(await world.token({P: ["admin"]})) as local:
        assert (await add_channel(local, "mine")).status_code == 403, "a channel hears of every environment"
        assert (await local.post("/api/v1/channels/ops/pause", json={"reason": "quiet"})).status_code == 403


async def test_the_webhook_of_the_settings_is_a_channel(database_url: str) -> None:
    settings = {"alert_webhook": Secret("http://127.0.0.1:9/hook"), "alert_webhook_secret": Secret(SECRET)}
    async with (
        open_world(database_url, **settings) as world,
        world.client(await world.token({"*": ["admin"]})) as admin,
    ):
        (channel,) = (await admin.get("/api/v1/channels")).json()["items"]
        assert (channel["key"], channel["kind"], channel["target"]) == ("alert-webhook", "builtin", "127.0.0.1")
        (subscription,) = (await admin.get("/api/v1/subscriptions")).json()["items"]
        assert subscription["severity"] == "warning"
        await admin.delete("/api/v1/subscriptions/alert-webhook")
    async with (
        open_world(database_url, **settings) as world,
        world.client(await world.token({"*": ["admin"]})) as admin,
    ):
        assert (await admin.get("/api/v1/subscriptions")).json()["items"] == [], "who deleted it meant it"
    async with open_world(database_url) as world, world.client(await world.token({"*": ["admin"]})) as admin:
        assert (await admin.get("/api/v1/channels")).json()["items"][0]["state"] == "paused"


async def test_the_audit_log_tells_in_its_own_transaction(database: Database, store: Store) -> None:
    from controlplane.access.audit import Audit
    from controlplane.access.values import Event
    from tests.integration.notifying import Desk

    desk = Desk(database)
    writer = desk.replica().writer
    audit = Audit(database, desk.clock, writer.audited)
    await audit.note(Event.KEY_REVOKED, ROOT, environment=P, target="beta", reason="leaked")
    await audit.note(Event.DENIED, ROOT, environment=P, outcome="refused")
    assert await desk.value("SELECT string_agg(kind, ' ') FROM event") == "key_revoked"
    assert await desk.value("SELECT count(*) FROM audit") == 2


async def test_every_page_and_healthz_say_that_a_channel_fails(world: World, admin: httpx.AsyncClient) -> None:
    await add_channel(admin)

    async def look(set_to: str) -> tuple[str, dict[str, str]]:
        async with world.services.database.writing() as connection:
            await connection.execute(text(f"UPDATE channel SET last_error = 'status 503', announced_at = {set_to}"))
        await world.services.health.ask()
        await world.services.health.look()
        page = await admin.get("/e/production/history")
        checks = (await admin.get("/healthz")).json()
        return page.text, {check["name"]: check["reason"] for check in checks}

    page, checks = await look("now()")
    assert 'href="/e/production/notifications/channels"><span>Notifications <b>fail</b>' in page
    assert checks["channels"] == "the channel ops takes nothing: status 503"
    page, checks = await look("NULL")
    assert '<span id="notify-chip" hidden>' in page
    assert checks["channels"] == ""
