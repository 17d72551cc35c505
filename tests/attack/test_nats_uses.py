"""A key that is for one thing does that, and is no use for the other."""

import asyncio

import pytest

from brownout import Brownout, wire
from controlplane.access.traffic import PLACES, ROWS, KeyUse, account, patterns, permissions
from tests.attack.test_nats_replies import telemetry
from tests.attack.world import PRODUCTION, ROOT, World, until

pytestmark = pytest.mark.anyio
P = wire.Subjects(PRODUCTION)


@pytest.fixture(params=["one"])
def nodes(request: pytest.FixtureRequest) -> object:
    return request.getfixturevalue(request.param)


async def key_for(world: World, use: KeyUse) -> str:
    world.keys[use] = (await world.services.access.keys.create(ROOT, PRODUCTION, use, uses=[use])).key
    return world.keys[use]


async def test_a_key_for_evaluating_follows_the_configuration_and_reports_nothing(world: World) -> None:
    key = await key_for(world, KeyUse.EVALUATE)
    sdk = Brownout.connect(world.nodes[0].url, key=key, environment=PRODUCTION, service="quiet", disk=False)
    await until(lambda: sdk.status.sync == "LIVE")
    revision = await world.commit(PRODUCTION)
    await until(lambda: sdk.status.revision == revision)
    raw = await world.enter(PRODUCTION, "raw", uses=KeyUse.EVALUATE)
    for subject in (P.presence(raw.fingerprint, raw.name), P.telemetry(raw.fingerprint, raw.name)):
        raw.refusals.clear()
        await raw.publish(subject, telemetry(raw.name))
        await raw.flush()
        await until(lambda: any("permissions violation" in each for each in raw.refusals))
    seen = world.services.telemetry.fleet.instances(ROOT, PRODUCTION, limit=100)
    assert "quiet" not in {each.service for each in seen}
    assert "permissions" not in sdk.status.last_error
    await asyncio.to_thread(sdk.close)
    await raw.close()


async def test_a_key_for_reporting_reports_and_reads_nothing(world: World) -> None:
    await key_for(world, KeyUse.REPORT)
    raw = await world.enter(PRODUCTION, "raw", uses=KeyUse.REPORT)
    await raw.listen(P.acknowledgement(raw.fingerprint, raw.name))
    await raw.publish(P.telemetry(raw.fingerprint, raw.name), telemetry(raw.name), reply="x")
    await until(lambda: [message.data for message in raw.heard] == [b"+"])
    for subject in (P.log, P.heartbeat, P.inbox(raw.name) + ".>"):
        raw.refusals.clear()
        await raw.listen(subject)
        await until(lambda: any("permissions violation" in each for each in raw.refusals))
    for stream in (P.log_stream, P.snapshot_stream):
        raw.refusals.clear()
        await raw.publish(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":1}', reply=P.acknowledgement(raw.fingerprint, "raw"))
        await raw.flush()
        await until(lambda: any("permissions violation" in each for each in raw.refusals))
    assert len(raw.heard) == 1
    await raw.close()


async def test_what_is_reserved_is_closed() -> None:
    reserved = [row for row in ROWS if not row.built]
    assert {row.name.split()[0] for row in reserved} == {"review", "drill"}
    allowed = permissions("e", "k", "i", tuple(KeyUse))
    for row in reserved:
        assert row.pattern not in patterns(row.flow)
        assert row.within("e", "k", "i") not in (*allowed["pub"]["allow"], *allowed["sub"]["allow"])


async def test_a_key_for_nothing_may_do_nothing() -> None:
    assert permissions("e", "k", "i", ()) == {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}


async def test_the_first_environments_share_an_account_with_nobody() -> None:
    assert len({account(place) for place in range(PLACES)}) == PLACES


async def test_an_sdk_behind_a_leaf_node_fetches_by_the_domains_name(world: World) -> None:
    sdk = Brownout.connect(
        world.nodes[0].url, key=world.keys[PRODUCTION], environment=PRODUCTION, service="leaf", disk=False, domain="hub"
    )
    await until(lambda: sdk.status.sync == "LIVE")
    assert sdk.status.counters.snapshots == 1
    await asyncio.to_thread(sdk.close)
