"""Leases of budget windows: exactly the limit is granted, to whoever may ask, and a key reaches no counter itself."""

import asyncio
import base64
import itertools
import time
from typing import Any
from weakref import WeakSet

import msgspec
import pytest

from brownout import Brownout, wire
from brownout.model.values import Window
from brownout.wire.leases import EVERYONE, Ask, Grant, decode_answer, encode_request, period
from controlplane.access.natsconfig import NatsSecrets
from controlplane.budgets.counters import Counters, place_of, stream_of, window_prefix
from controlplane.budgets.leases import Leases
from controlplane.budgets.limits import Limits
from controlplane.embedded.nats import EmbeddedNats
from controlplane.kit.jetstream import JetStream
from tests.attack.world import PRODUCTION, ROOT, STAGING, Raw, World, until, world_on

pytestmark = pytest.mark.anyio

P, S = wire.Subjects(PRODUCTION), wire.Subjects(STAGING)
LIMIT = 100_000
WINDOW = {"unit": "tokens", "limit": LIMIT, "per": "month"}
"""Of a month: no test is likely to see two of them."""
NUMBERS = itertools.count(1_000)
REPEATED: WeakSet[Raw] = WeakSet()
"""Those that asked again because no answer came for seconds: what the lost answer granted may be counted all the same."""


@pytest.fixture(autouse=True)
def one_month() -> None:
    """The counters begin anew with a month: a test that would see two of them waits for the second."""
    while period("month", time.time() + 60) != period("month", time.time()):
        time.sleep(1)


class Patient(JetStream):
    """Waits for a busy server: an answer given up on would be counted, and not be told."""

    async def add(self, subject: str, amount: int, timeout_s: float = 60) -> int:
        return await super().add(subject, amount, timeout_s)

    async def _ask(self, verb: str, body: bytes, into: Any, timeout_s: float = 60) -> Any:
        return await super()._ask(verb, body, into, timeout_s)


async def commit(world: World, *environments: str, **windows: Any) -> None:
    spec = {
        "type": "token_budget", "enabled": True, "off_variant": "standard", "default": "standard",
        "variants": {"standard": {"window": WINDOW}, **{name: {"window": each} for name, each in windows.items()}},
    }  # fmt: skip
    model = {"targets": {"main": {"provider": "p", "model": "m"}}, "primary": "main"}
    route = {"type": "model_route", "enabled": True, "off_variant": "v", "default": "v", "variants": {"v": model}}
    needed = {"criticality": "critical", "sensitive": False, "model": "route", "budget": "budget"}
    puts = [("flag", "budget", spec), ("flag", "route", route), ("request_class", "reply", needed)]
    ops = [wire.Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(each))) for kind, key, each in puts]
    for environment in environments:
        await world.services.changes.commit(ROOT, environment, ops, "windows")


def ask(**more: Any) -> Ask:
    now = int(period("month", 0)[0])
    return Ask(**{"flag": "budget", "variant": "standard", "scope": EVERYONE, "start": now} | more)


async def enter(world: World, environment: str, name: str, node: int = 0) -> Raw:
    raw = await world.enter(environment, name, node=node)
    await raw.listen(raw.subjects.lease(raw.fingerprint, raw.name))
    return raw


def heard_by(raw: Raw) -> dict[int, list[Grant]]:
    return dict(decode_answer(message.data) for message in raw.heard)


async def answers(raw: Raw, *asks: Ask | tuple[Any, ...]) -> list[Grant]:
    """What is answered, by whichever replica; asked again while no one does."""
    for _ in range(20):
        number = next(NUMBERS)
        await raw.publish(raw.subjects.lease_request(raw.fingerprint, raw.name), encode_request(number, asks))  # type: ignore[arg-type]
        try:
            await until(lambda number=number: number in heard_by(raw), patience_s=3)
        except TimeoutError:
            REPEATED.add(raw)  # a cluster that has just made the stream may not count yet
            continue
        return heard_by(raw)[number]
    raise AssertionError("no one answers")


def subject_of(world: World, environment: str, flag: str = "budget", scope: bytes = EVERYONE) -> str:
    window = Window("tokens", LIMIT, "month")
    start, _ = period("month", world.services.clock.now().timestamp())
    return place_of(window_prefix(environment, flag, "standard", window, start), "month", scope).subject


async def counted(world: World, environment: str, **of: Any) -> int | None:
    """What the counter has, read in the control plane's own account."""
    client = await world.insider()
    try:
        body = msgspec.json.encode({"last_by_subj": subject_of(world, environment, **of)})
        answer = await client.request(f"$JS.API.STREAM.MSG.GET.{stream_of('month')}", body, timeout=5)
        found = msgspec.json.decode(answer.data)
        data = base64.b64decode(found["message"]["data"]) if "message" in found else b""
        return int(msgspec.json.decode(data)["val"]) if data else None
    finally:
        await client.close()


async def test_a_fleet_is_granted_exactly_the_limit_and_another_environment_nothing_of_it(world: World) -> None:
    await commit(world, PRODUCTION, STAGING)
    lessees = [await enter(world, PRODUCTION, f"l{n}", node=n % len(world.nodes)) for n in range(4)]

    async def spend(raw: Raw) -> None:
        dry = 0
        while dry < 3:  # others may give back what they were granted beyond the limit
            (grant,) = await answers(raw, ask(need=70, want=9_000))
            dry = dry + 1 if not grant.granted else 0
            assert grant.granted <= 9_000

    await asyncio.gather(*map(spend, lessees))
    granted = sum(grant.granted for raw in lessees for grants in heard_by(raw).values() for grant in grants)
    assert granted <= LIMIT
    if not REPEATED & set(lessees):
        assert granted == LIMIT
        assert await counted(world, PRODUCTION) == LIMIT
    assert await counted(world, STAGING) is None
    neighbour = await enter(world, STAGING, "n")
    (grant,) = await answers(neighbour, ask(need=10, want=10))
    assert grant.granted == 10
    assert grant.left == LIMIT - 10 or neighbour in REPEATED
    start = period("month", world.services.clock.now().timestamp())[0]
    (late,) = await answers(lessees[0], ask(need=1, want=1, debt=500, start=start))
    assert (late.granted, late.charged) == (0, 500)
    assert late.left == -500 or REPEATED & set(lessees), "what was spent is counted beyond the limit, too"
    (old,) = await answers(neighbour, ask(need=1, want=1, debt=500, start=start - 60))
    assert old.left == LIMIT - 11 or neighbour in REPEATED, "what was spent in another period is not of this one"
    for raw in (*lessees, neighbour):
        await raw.close()


@pytest.fixture
def only_one(one: list[EmbeddedNats]) -> list[EmbeddedNats]:
    return one


HOSTILE: list[Any] = [
    b"", b"\xc1", b"\xff" * 500, encode_request(1, [()]), encode_request(-(2**63), []), encode_request(1, [ask()] * 101),  # type: ignore[list-item]
    encode_request(1, [("budget", "standard", b"short", 0)]), b"\x93\x01\x01" + b"\x91" * 5_000,  # type: ignore[list-item]
    encode_request(1, [("budget", "standard", EVERYONE, 0, -5, 1, 1)]),  # type: ignore[list-item]
    encode_request(1, [("budget", "standard", EVERYONE, 0, 2**63, 2**63, 2**63)]),  # type: ignore[list-item]
    encode_request(1, [("budget.>", "standard", EVERYONE, 0)]), encode_request(1, [("\0", "*", EVERYONE, 0)]),  # type: ignore[list-item]
    encode_request(1, [("nowhere", "standard", EVERYONE, 0, 0, 5, 5), ("beta", "x", EVERYONE, 0, 0, 5, 5)]),  # type: ignore[list-item]
    encode_request(1, [("budget", "\ud83d" * 0 + "x" * 199, EVERYONE, 0, 0, 5, 5)]),  # type: ignore[list-item]
]  # fmt: skip


@pytest.mark.parametrize("nodes", ["one"], indirect=True)
async def test_a_key_reaches_no_counter_by_itself(world: World) -> None:
    """Not its own environment's, nor another's: the streams are in an account that no key is in."""
    await commit(world, PRODUCTION, STAGING)
    victim, evil = await enter(world, PRODUCTION, "victim"), await enter(world, STAGING, "evil")
    await answers(victim, ask(need=100, want=100))
    await answers(evil, ask(need=100, want=100))
    start = period("month", world.services.clock.now().timestamp())[0]
    for subject in (subject_of(world, PRODUCTION), subject_of(world, STAGING)):
        for amount in ("-100", "+5", "0"):
            await evil.publish(subject, b"", headers={"Nats-Incr": amount}, reply=subject)
    for verb in ("DELETE", "PURGE", "INFO", "UPDATE", "MSG.GET", "MSG.DELETE"):
        for prefix in ("$JS.API", "$JS.hub.API"):
            await evil.publish(f"{prefix}.STREAM.{verb}.{stream_of('month')}", b"{}", reply=S.inbox("evil") + ".x")
    await evil.publish(f"$JS.API.DIRECT.GET.{stream_of('month')}", b'{"seq":1}', reply=S.inbox("evil") + ".x")
    # In another's name, and where others listen.
    for subject in (P.lease_request(victim.fingerprint, victim.name), S.lease_request(victim.fingerprint, "victim")):
        await evil.publish(subject, encode_request(1, [ask(debt=LIMIT, start=start)]))
    await evil.publish(P.lease(victim.fingerprint, victim.name), b"forged")
    await evil.listen(
        P.lease(victim.fingerprint, victim.name), S.lease("0" * 16, "victim"), "bow_budget.>", "bo.*.lease.>"
    )
    # The answer goes to the instance that asked, wherever it wants it.
    heard = len(victim.heard)
    own = S.lease_request(evil.fingerprint, evil.name)
    await evil.publish(own, encode_request(9, [ask()]), reply=P.lease(victim.fingerprint, victim.name))
    await evil.flush()
    for body in HOSTILE:
        await evil.publish(own, body, headers={"Nats-Incr": "5"})
    (grant,) = await answers(
        evil, ("budget", "standard", EVERYONE, start, 0, 1, 1, False, "", "", "of a newer version")
    )
    assert grant.granted == 1
    await victim.flush()
    assert len(victim.heard) == heard or victim in REPEATED, "only a late answer of its own"
    assert {message.subject for message in evil.heard} == {S.lease(evil.fingerprint, evil.name)}
    assert await counted(world, PRODUCTION) == 100 or victim in REPEATED
    assert await counted(world, STAGING) == 101 or evil in REPEATED
    await world.must_be_sound()
    for raw in (victim, evil):
        await raw.close()


@pytest.mark.parametrize("nodes", ["one"], indirect=True)
async def test_a_key_is_granted_no_more_than_its_share_and_begins_only_so_many_combinations(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(world, PRODUCTION)
    services, window = world.services, Window("tokens", LIMIT, "month")
    counters = Counters(Patient(services.link), 1)
    leases = Leases(Limits(services.store), counters, services.clock, lambda _: 1, key_share_bp=2_500)
    greedy = ask(need=LIMIT, want=LIMIT)
    assert (await leases._grant(PRODUCTION, "one", window, greedy)).granted == LIMIT // 4
    assert (await leases._grant(PRODUCTION, "one", window, greedy)).granted == 0
    start = period("month", services.clock.now().timestamp())[0]
    for _ in range(2):
        owes = ask(debt=LIMIT, start=start)
        assert (await leases._grant(PRODUCTION, "one", window, owes)).charged == LIMIT, "it is told no more about it"
    assert (await leases._grant(PRODUCTION, "two", window, greedy)).granted == LIMIT // 4
    assert await counted(world, PRODUCTION) == LIMIT // 2
    monkeypatch.setattr("controlplane.budgets.leases.MOST_COMBINATIONS", 3)
    scopes = [bytes([n]) * 16 for n in range(1, 6)]
    granted = [(await leases._grant(PRODUCTION, "three", window, ask(scope=each, need=1))).granted for each in scopes]
    assert granted == [1, 1, 1, 0, 0]
    assert (await leases._grant(PRODUCTION, "four", window, ask(scope=b"x" * 16, need=1))).granted == 1
    counters._known.clear()  # as if others had begun a hundred thousand meanwhile
    again = [(await leases._grant(PRODUCTION, "three", window, ask(scope=each, need=1))).granted for each in scopes]
    assert again == [1, 1, 1, 0, 0], "what is forgotten here does not begin again"


async def test_without_the_service_an_sdk_is_degraded_and_with_it_again_it_is_not(
    one: list[EmbeddedNats], secrets: NatsSecrets, database_url: str
) -> None:
    async with world_on(one, secrets, database_url) as world:
        await commit(world, PRODUCTION)
        sdk = Brownout.connect(one[0].url, key=world.keys[PRODUCTION], environment=PRODUCTION, service="s", disk=False)

        def window() -> Any:
            return sdk.policy("reply", {}).window

        await until(lambda: window() is not None and not window().degraded)
        leased = window().available
        assert 0 < leased < LIMIT
        sdk.record(sdk.policy("reply", {}), input_tokens=leased)
        await until(lambda: window().available >= leased // 2)  # refilled before anyone asked again

        async def lists_what_is_counted() -> bool:  # between the two the SDK may lease more
            used = await counted(world, PRODUCTION)
            listed = await world.services.budgets.list_windows(ROOT, PRODUCTION)
            return [(each.flag, each.used) for each in listed.items] == [("budget", used)]

        await until(lists_what_is_counted)
    assert sdk.status.sync in {"LIVE", "SUSPECT"}, "NATS is there; the control plane is not"
    sdk.record(sdk.policy("reply", {}), input_tokens=window().available)
    await until(lambda: window().degraded)
    share = window().available
    assert 0 < share < LIMIT
    await asyncio.to_thread(sdk.close)
