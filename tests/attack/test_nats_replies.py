"""One message with a key of *staging*: where it asks to be answered means nothing outside of staging."""

import msgspec
import pytest

from brownout import wire
from brownout.telemetry.counters import Telemetry
from brownout.wire.leases import encode_request
from tests.attack.world import PRODUCTION, STAGING, Raw, World, until

pytestmark = pytest.mark.anyio

P, S = wire.Subjects(PRODUCTION), wire.Subjects(STAGING)
ELSEWHERE = [
    P.manifest, P.log_write, P.keys, P.chunk("s", 0), P.log, P.heartbeat, S.log_write, S.manifest,
    P.inbox("victim") + ".x", P.presence("0" * 16, "victim"), P.telemetry("0" * 16, "victim"),
    P.acknowledgement("0" * 16, "victim"), P.lease("0" * 16, "victim"), P.lease_request("0" * 16, "victim"),
    "bow_budget.day.0.production.x.y", "$JS.API.STREAM.DELETE.BO_BUDGET_day", "$JS.API.DIRECT.GET.BO_BUDGET_day",
    f"$JS.API.STREAM.DELETE.{P.log_stream}", f"$JS.API.STREAM.DELETE.{P.snapshot_stream}",
    f"$JS.API.STREAM.PURGE.{P.snapshot_stream}", f"$JS.API.STREAM.DELETE.{S.log_stream}",
    f"$JS.API.DIRECT.GET.{P.log_stream}", "$JS.API.STREAM.NAMES", "$JS.API.INFO",
    "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.AUTH", "$SYS.REQ.ACCOUNT.PING.CONNZ", "_INBOX.x", "x" * 4000,
]  # fmt: skip
"""Subjects of others, and of the servers, that an answer might be sent to."""


def telemetry(name: str) -> bytes:
    counted = Telemetry(name, "evil")
    counted.track("event")
    said = counted.message(final=True)
    assert said is not None
    return said


async def spies(world: World) -> list[Raw]:
    """Instances of production at every node, and the control plane's own account."""
    made = []
    for node in range(len(world.nodes)):
        spy = await world.enter(PRODUCTION, f"spy-{node}", node=node)
        await spy.listen(P.log, P.heartbeat, P.inbox(spy.name) + ".>", P.acknowledgement(spy.fingerprint, spy.name))
        made.append(spy)
    return made


async def attack(world: World, raw: Raw, reply: str) -> None:
    """By everything that is ever answered."""
    said = telemetry(raw.name)
    await raw.publish(raw.subjects.telemetry(raw.fingerprint, raw.name), said, reply=reply)
    await raw.publish(raw.subjects.presence(raw.fingerprint, raw.name), b"{}", reply=reply)
    await raw.publish(raw.subjects.lease_request(raw.fingerprint, raw.name), encode_request(1, ()), reply=reply)
    for stream in (S.log_stream, S.snapshot_stream):
        for prefix in ("$JS.API", "$JS.hub.API"):
            for body in (b'{"seq":1}', b'{"seq":99999}', b"nonsense", b'{"seq":1,"batch":500,"next_by_subj":">"}'):
                await raw.publish(f"{prefix}.DIRECT.GET.{stream}", body, reply=reply)


async def test_a_reply_subject_reaches_nothing_outside_of_its_environment(world: World) -> None:
    before = await world.streams()
    watching = await spies(world)
    raw = await world.enter(STAGING, "evil", node=len(world.nodes) - 1)
    for reply in ELSEWHERE:
        await attack(world, raw, reply)
    await raw.flush()
    received = world.services.telemetry.ingest.received
    await until(lambda: world.services.telemetry.ingest.received >= min(received, len(ELSEWHERE)))
    await world.services.telemetry.ingest.flush()
    assert await world.streams() == before
    for spy in watching:
        await spy.flush()
        genuine = {wire.SIGNATURE_HEADER}
        assert all(message.subject == P.heartbeat and genuine <= set(message.headers or {}) for message in spy.heard)
        assert not [message for message in spy.heard if b'"env":"staging"' in message.data]
    assert world.sdks[PRODUCTION].status.counters.bad_signatures == 0
    await world.must_be_sound()
    for each in (*watching, raw):
        await each.close()


async def test_the_last_telemetry_of_an_instance_is_acknowledged_to_it_and_nobody_else(world: World) -> None:
    raw = await world.enter(STAGING, "mine")
    neighbour = await world.enter(STAGING, "neighbour")
    mine = S.acknowledgement(raw.fingerprint, raw.name)
    await raw.listen(mine)
    await neighbour.listen(mine)
    assert any("permissions violation" in each for each in neighbour.refusals)
    await raw.publish(raw.subjects.telemetry(raw.fingerprint, raw.name), telemetry(raw.name), reply=P.heartbeat)
    await until(lambda: [message.data for message in raw.heard] == [b"+"])
    assert not neighbour.heard
    await raw.close()
    await neighbour.close()


async def test_what_the_control_plane_hears_has_no_reply_in_it() -> None:
    from controlplane.kit.link import Heard, acknowledgement_of

    assert set(Heard.__slots__) == {"subject", "data", "signature", "asks", "_client"}
    assert acknowledgement_of("bot.staging.k.i.m") == "bo.staging.ack.k.i"


HEADERS = [
    {"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-Expected-Stream": P.log_stream},
    {"Nats-Expected-Last-Sequence": "0"}, {"Nats-Expected-Last-Subject-Sequence": "0"}, {"Nats-Msg-Id": "1:1"},
    {"Nats-Trace-Dest": P.log_write}, {"Nats-Trace-Dest": P.manifest, "Nats-Trace-Only": "true"},
    {"Nats-TTL": "1s"}, {"Nats-Incr": "1"}, {"Nats-Marker-Reason": "Purge"}, {"Status": "503"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": P.manifest}, {"Nats-Batch-Id": "b", "Nats-Batch-Commit": "1"},
    {wire.SIGNATURE_HEADER: "k." + "A" * 88}, {"X" * 5000: "y"},
]  # fmt: skip


async def test_headers_that_mean_something_to_the_server_change_no_stream(world: World) -> None:
    before = await world.streams()
    raw = await world.enter(STAGING, "evil")
    for headers in HEADERS:
        for subject in (
            S.presence(raw.fingerprint, raw.name), S.telemetry(raw.fingerprint, raw.name), S.log_write, S.manifest,
            P.log_write, P.manifest, S.log, f"$JS.API.DIRECT.GET.{S.log_stream}",
        ):  # fmt: skip
            await raw.publish(subject, msgspec.json.encode({}), headers=headers, reply=P.manifest)
    await raw.flush()
    assert await world.streams() == before
    await world.must_be_sound()
    await raw.close()


async def test_nobody_joins_the_queues_in_which_replicas_share_messages(world: World) -> None:
    thief, victim = await world.enter(STAGING, "thief"), await world.enter(STAGING, "victim")
    for queue in ("telemetry", "publish", "brownout-authd-0", "brownout-authd-1"):
        for subject in ("bot.*.*.*.m", "bot.*.*.*.p", "bot.>", S.presence_all, S.telemetry_all, "$SYS.REQ.USER.AUTH"):
            thief.refusals.clear()
            await thief.listen(subject, queue=queue)
            await until(lambda: any("permissions violation" in each for each in thief.refusals))
    received = world.services.telemetry.ingest.received
    for _ in range(50):
        await victim.publish(S.telemetry(victim.fingerprint, victim.name), b"{}")
    await until(lambda: world.services.telemetry.ingest.received >= received + 50)
    assert not thief.heard
    await thief.close()
    await victim.close()
