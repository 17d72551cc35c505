"""Every background loop of the control plane gets something hostile, then something honest, and handles the honest.

Telemetry and presence have their own hostile items (tests/attack/hostile.py), boards theirs (tests/unit/test_live_board.py).
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from brownout.model.values import Window
from brownout.wire.leases import EVERYONE, Ask, Grant, decode_answer, encode_request
from controlplane.access.actor import ANY_ENVIRONMENT, Actor, Role
from controlplane.access.authd import Authd, AuthdOptions
from controlplane.access.callout import Callout
from controlplane.access.keytable import KeyTable
from controlplane.access.keyuse import KeyUses
from controlplane.access.kick import kick_all_but
from controlplane.access.nkeys import KeyPair
from controlplane.access.sso import SingleSignOn
from controlplane.access.values import Event
from controlplane.configuration.store import NOTIFY_CHANNEL
from controlplane.http.edge.gate import Gate, Limits
from controlplane.kit.background import Loops, keep_running
from controlplane.kit.jetstream import JetStreamUnavailableError
from controlplane.kit.link import Heard, Subscription, _attach
from controlplane.kit.resealing import Resealing, Sealed, Vault
from controlplane.kit.secret_box import SecretBox
from controlplane.kit.tasks import end
from controlplane.notify.events import new_event
from controlplane.notify.senders.message import Message, Sent
from controlplane.publish import PublisherService, Shared
from controlplane.publish.publisher import Publisher
from controlplane.rollouts.engine import Engine
from controlplane.rollouts.facts import FactReader
from controlplane.safemode.expiry import Expiry
from controlplane.safemode.request import ActivationRequest
from controlplane.telemetry import fleet_tables
from controlplane.telemetry.boundary import RefusedError, Speaker
from controlplane.telemetry.otlp import OtlpExport
from tests.attack.hostile import presence
from tests.integration.accessing import ROOT, World, open_world
from tests.integration.notifying import Desk
from tests.integration.resources import activation, put
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

P, S = "production", "staging"
Case = Callable[[World, pytest.MonkeyPatch], Awaitable[None]]
CASES: list[Case] = []
WALKED: set[str] = set()
"""The names of the loops that have a case."""


def case(*loops: str) -> Callable[[Case], Case]:
    def add(work: Case) -> Case:
        CASES.append(work)
        WALKED.update(loops)
        return work

    return add


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.mark.parametrize("each", CASES, ids=lambda work: work.__name__)
async def test_what_is_hostile_costs_the_honest_nothing(
    each: Case, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(60):
        await each(world, monkeypatch)


async def test_no_loop_is_left_out(world: World) -> None:
    assert {name for name, _ in world.services.work} <= WALKED


async def run_until(work: Awaitable[None], holds: Callable[[], Awaitable[bool]]) -> None:
    """Runs a loop until something holds; it must not end before."""
    running = asyncio.ensure_future(work)
    try:
        while not await holds():
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def scalar(world: World, query: str, **parameters: Any) -> Any:
    async with world.services.database.reading() as connection:
        return (await connection.execute(text(query), parameters)).scalar_one()


def fails_for(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, hostile: Callable[..., bool]) -> None:
    """Lets a method raise what no one expects of the items that are `hostile`."""
    real = getattr(owner, name)

    async def method(*args: Any, **kwargs: Any) -> Any:
        if hostile(*args):
            raise KeyError("a field of a newer version")
        return await real(*args, **kwargs)

    monkeypatch.setattr(owner, name, method)


@case("expiry")
async def expiry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    services = world.services
    profile = ("safe_mode_profile", "calm", {"max_attempts": 1})
    until = (world.clock.instant + timedelta(minutes=5)).isoformat()
    for environment in (P, S):
        spec = activation("a", "calm", expires_at=until, on_expiry="lift")
        await services.store.commit(environment, [put(profile), put(spec)], author="test", message="on")
    world.clock.move(timedelta(minutes=6))
    loop = Expiry(services.store, services.changes, world.clock)
    fails_for(monkeypatch, loop, "_tidy", lambda environment: environment == P)
    await loop.tick()
    assert await services.store.find_resource(S, "safe_mode_activation", "a") is None
    assert "production: KeyError" in loop._trouble


@case("emergency")
async def emergencies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, telling and handing over: what one environment does to us costs the other nothing."""
    services = world.services
    loops = services.emergency.publish.__self__  # type: ignore[attr-defined]
    fails_for(monkeypatch, loops, "_read", lambda environment: environment.key == P)
    assert "production: KeyError" in await loops.read()
    assert S in loops._book.places
    monkeypatch.undo()
    assert await loops.read() == ""
    operator = Actor("person", "ann@example.com", {ANY_ENVIRONMENT: frozenset({Role.OPERATOR})})
    request = ActivationRequest("contain", "why", for_s=600)
    for environment in (P, S):
        await services.emergency.activate(operator, environment, request, "k")
    told: list[str] = []

    async def publish(each: Any) -> bool:
        if each.environment == P:
            raise KeyError("poison")
        told.append(each.environment)
        return True

    monkeypatch.setattr(loops, "publish", publish)
    assert "production: KeyError" in await loops.tell()
    assert told == [S]
    fails_for(monkeypatch, loops, "_settle", lambda record: record.environment == P)
    assert "production k: KeyError" in await loops.settle()
    assert await services.store.find_resource(S, "safe_mode_activation", "k") is not None
    monkeypatch.undo()
    for subject, data in ((f"bo.{P}.emg", b"{"), ("bo.gone.emg", b""), (f"bo.{P}.emg", b" " * 100_000)):
        await loops._on_heard(Heard(subject, data, "k.sig"))
    assert await loops.settle() == ""
    assert await services.store.find_resource(P, "safe_mode_activation", "k") is not None


@case("signing_keys")
async def signing_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signing = world.access.signing
    announced = {environment: await signing.announce(ROOT, environment, timedelta(minutes=5)) for environment in (P, S)}
    world.clock.move(timedelta(minutes=6))
    fails_for(monkeypatch, signing._keys, "sign_with", lambda _, environment, __: environment == P)
    await signing.switch_due()
    assert (await world.services.signing_keys.current(S)).kid == announced[S].next_kid
    assert (await world.services.signing_keys.current(P)).kid == announced[P].kid
    monkeypatch.undo()
    await signing.switch_due()
    assert (await world.services.signing_keys.current(P)).kid == announced[P].next_kid


@case("sealing")
async def sealing(world: World, _: pytest.MonkeyPatch) -> None:
    old, new = "o" * 40, SECRET_KEY
    box = SecretBox(old, "test")
    kept = [Sealed((name,), name, box.seal(b"secret", name)) for name in ("lost", "poison", "honest")]
    kept[0] = msgspec.structs.replace(kept[0], sealed=b"noise")
    replaced: list[str] = []

    async def read(_: object) -> list[Sealed]:
        return kept

    async def unreadable(_: object) -> list[Sealed]:
        raise ValueError("a row of a newer version")

    async def replace(_: object, each: Sealed, __: bytes) -> None:
        if each.label == "poison":
            raise KeyError("poison")
        replaced.append(each.label)

    both = SecretBox((new, old), "test")
    resealing = Resealing(
        world.services.database, (Vault("newer", both, unreadable, replace), Vault("ours", both, read, replace))
    )
    assert await resealing.reseal() == 1
    assert replaced == ["honest"]


@case("audit")
async def counted_refusals(world: World, _: pytest.MonkeyPatch) -> None:
    for reason in ("half a pair \ud800", "honest"):
        for _time in range(3):
            try:
                await world.access.audit.refused(Event.SIGN_IN, ROOT, (), reason=reason)
            except UnicodeEncodeError:
                assert reason != "honest"
    await world.access.audit.write_counted(every=True)
    assert await scalar(world, "SELECT count(*) FROM audit WHERE entry LIKE '%honest (2 more times)%'") == 1


@case("notifications")
async def deliveries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what no one could keep, one is poison; of two channels, one sender raises; one reading of the house fails."""
    taken: list[str] = []

    class Receiver:
        async def send(self, config: bytes, message: Message) -> Sent:
            if b"poison" in config:
                raise KeyError("a field of a newer version")
            taken.append(message.type)
            return Sent()

    desk = Desk(world.services.database)
    for key in ("poison", "honest"):
        await desk.channel(key, None, "slack", {"url": key})
        await desk.subscribe(key, key)
    loop = desk.replica()
    loop._senders = {"slack": Receiver()}
    fails_for(monkeypatch, loop.house, "_test", lambda _: True)
    loop.writer._unkept.append((msgspec.structs.replace(new_event("poison", {}), severity="noise"), []))  # type: ignore[arg-type]
    loop.writer._unkept.append((new_event("instances_lag", {"environment": P}), []))
    await loop.writer.tell("a kind with \0", {"n": "half a pair \ud800"})

    async def both_are_there() -> bool:
        return {"a kind with \ufffd", "instances_lag"} <= set(taken)

    await run_until(loop.run(), both_are_there)
    assert not loop.writer._unkept
    assert not loop._workers


@case("publisher")
async def notifications(world: World, _: pytest.MonkeyPatch) -> None:
    """Any role of the database can notify; a watcher of one environment fails."""
    told: list[str] = []

    def watcher(environment: str) -> None:
        told.append(environment)
        if environment == P:
            raise KeyError("a watcher's fault")

    world.services.publisher.on_commit(watcher)
    while told.count(S) < 3:
        async with world.services.database.writing() as connection:
            for payload in ("", "a b c", f"{P} {'9' * 5000}", "never-was 3", "\u0665 \u0665", f"{P} 1", f"{S} 1"):
                await connection.execute(text("SELECT pg_notify(:c, :p)"), {"c": NOTIFY_CHANNEL, "p": payload})
        await asyncio.sleep(0.02)
    assert set(told) == {P, S}
    assert not [reason for loop, reason in world.services.loops.reasons() if "died" in reason]


@case("publisher")
async def publishers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One environment's publisher dies at every start; the other one runs, and dies of a foreign cancellation only once."""
    ran: list[str] = []

    async def run(self: Publisher) -> None:
        ran.append(self.environment)
        if self.environment == P:
            raise KeyError("an envelope of a newer version")
        if ran.count(S) == 1:
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    monkeypatch.setattr(Publisher, "run", run)
    monkeypatch.setattr("controlplane.publish.service.RESTART_S", 0.01)
    parts = world.services
    service = PublisherService(Shared(parts.database, parts.store, parts.signing_keys, parts.link, parts.clock))

    async def both_were_started_again() -> bool:
        return ran.count(P) >= 3 and ran.count(S) >= 2

    await run_until(service.run(), both_were_started_again)


@case("telemetry")
async def fleet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = world.services.telemetry.fleet
    for rev in (2**70, -1, "x"):
        await loop.beat(Heard(f"bo.{P}.hb", f'{{"ep":1,"rev":{rev}}}'.encode()))
        await loop.committed(Heard(f"bo.{P}.log", f'{{"ep":{rev},"rev":1}}'.encode()))
    await loop.heard(Heard(f"bot.{P}.key.one.p", presence("one", rev=2**64)))
    await loop.heard(Heard(f"bot.{P}.key.honest.p", presence("honest", ep=1, rev=0)))
    real = fleet_tables.known_instances

    async def known(*args: Any) -> Any:
        return [(P, SimpleNamespace(instance="a row of a newer version")), *await real(*args)]

    monkeypatch.setattr(fleet_tables, "known_instances", known)

    async def written() -> bool:
        return bool(await scalar(world, "SELECT count(*) FROM fleet_instance WHERE instance = 'honest'"))

    await run_until(loop.run(), written)


@case("telemetry")
async def ingest_refusals(world: World, _: pytest.MonkeyPatch) -> None:
    loop = world.services.telemetry.ingest
    for instance in ("a\0b", "honest"):
        loop.refusals.note(
            Speaker(P, f"key-{instance[0]}", instance), RefusedError("malformed", "x"), world.clock.now()
        )
    await loop.flush()
    assert await scalar(world, "SELECT count(*) FROM telemetry_refused WHERE instance = 'honest'") == 1


@case("telemetry")
async def retention(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, tries = world.services.telemetry, []

    async def delete_some() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("a partition of a newer version")
        return 0

    monkeypatch.setattr(telemetry, "_delete_some", delete_some)
    monkeypatch.setattr("controlplane.telemetry.service.CLEAN_EVERY_S", 0.01)

    async def again() -> bool:
        return len(tries) > 1

    await run_until(telemetry._clean(), again)


@case("otlp")
async def otlp(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def families() -> list[Any]:
        asked.append(1)
        if len(asked) == 1:
            raise KeyError("a family of a newer version")
        return []

    loop = OtlpExport("http://127.0.0.1:9", families, world.clock)
    monkeypatch.setattr(loop._exporter, "export", lambda _: None)
    monkeypatch.setattr("controlplane.telemetry.otlp.EXPORT_S", 0.01)

    async def again() -> bool:
        return len(asked) > 1

    await run_until(loop.run(), again)


@case("rollouts")
async def rollouts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    services, looked = world.services, []
    engine = Engine(services.store, services.changes, FactReader(services.database, world.clock), world.clock)
    real = engine._look_at

    async def look_at(environment: str, *args: Any) -> None:
        if environment == P:
            raise KeyError("a rollout of a newer version")
        await real(environment, *args)
        looked.append(environment)

    monkeypatch.setattr(engine, "_look_at", look_at)
    await engine.tick()
    assert looked == [S]
    engine.wake(P)
    engine.wake(S)

    async def followed() -> bool:
        return len(looked) > 1

    await run_until(engine._follow(), followed)


@case("budgets")
async def budgets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that cannot be read, counters that do not answer, requests that are none: the next one is answered."""
    loop, answered = world.services.budgets.leases, []

    async def grant(environment: str, *_: Any) -> Grant:
        if environment == P:
            raise KeyError("a counter of a newer version")
        if environment == "down":
            raise JetStreamUnavailableError("no leader")
        return Grant("budget", "v", EVERYONE, 0, 7)

    async def of_flag(_: str, flag: str) -> dict[str, Any]:
        if flag == "newer":
            raise ValueError("a flag of a newer version")
        return {"v": Window("tokens", 10, "day")}

    async def told(heard: Heard, data: bytes) -> None:
        answered.append(decode_answer(data)[1][0].granted)

    monkeypatch.setattr("controlplane.budgets.leases.STALE_S", math.inf)  # a busy machine drops no honest request
    monkeypatch.setattr(loop, "_grant", grant)
    monkeypatch.setattr(loop._limits, "of_flag", of_flag)
    monkeypatch.setattr(Heard, "grant", told)
    for environment, flag in ((P, "budget"), ("down", "budget"), (S, "newer"), (S, "budget")):
        await loop.receive(Heard(f"bot.{environment}.key.i.lease", b"\xc1 no message"))
        asked = encode_request(1, [Ask(flag, "v", EVERYONE, 0, need=1)])
        await loop.receive(Heard(f"bot.{environment}.key.i.lease", asked))

    async def honest_is_answered() -> bool:
        return answered == [7]

    await run_until(loop.run(), honest_is_answered)
    assert loop.dropped == 4


@case("gate")
async def gate(_: World, __: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    class Connection:
        def __init__(self, name: str) -> None:
            self.name = name

        def overdue(self, _: float) -> str:
            if self.name == "hostile":
                raise KeyError("a state of a newer server")
            return "slow_header"

        def end(self, why: str) -> None:
            ended.append(f"{self.name}: {why}")

    loop = Gate(Limits(connections=9, per_address=9, header_s=1, body_s=1, read_s=1, min_rate=1), [])
    for name in ("hostile", "honest"):
        loop.admit(Connection(name), f"198.51.100.{len(name)}")
    loop.look()
    assert ended == ["honest: slow_header"]


@case("authd")
async def authd_keys(world: World, _: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "newer", "digest": None, "environment": P, "uses": ["decide"], "place": 0, "expires_at": 0},
        {"id": "honest", "digest": "d", "environment": P, "uses": ["decide"], "place": 0, "expires_at": 0},
    ]

    class Connection:
        async def fetchrow(self, _: str) -> dict[str, Any]:
            return {"version": 7, "now": world.clock.now()}

        async def fetch(self, _: str) -> list[dict[str, Any]]:
            return rows

    table, uses = KeyTable(), KeyUses()
    issuer = KeyPair("account")
    loop = Authd(
        AuthdOptions("", "", world.services.database.url), Callout(issuer, table, uses), table, uses, world.clock
    )
    await loop._reload(Connection())
    assert table.live_ids(0) == {"honest"}
    answers: list[bytes] = []

    async def respond(data: bytes) -> None:
        answers.append(data)

    for data in (b"", b"a.b.c", b"\xff" * 100, None):
        await loop._answer(SimpleNamespace(data=data, respond=respond))  # type: ignore[arg-type]
    assert answers == []


@case("authd")
async def authd_kicks(_: World, __: pytest.MonkeyPatch) -> None:
    """A server of another version answers what cannot be read; the others' connections are ended all the same."""
    honest = {
        "server": {"id": "S1"},
        "data": {"connections": [{"cid": 7, "authorized_user": "sdk-key:gone"}], "total": 1},
    }
    replies = [b"noise", b'{"server": 1}', msgspec.json.encode(honest)]
    sent: list[str] = []

    class Subscription:
        async def next_msg(self, **_: object) -> Any:
            if not replies:
                raise TimeoutError
            return SimpleNamespace(data=replies.pop(0))

        async def unsubscribe(self) -> None: ...

    class System:
        def new_inbox(self) -> str:
            return "inbox"

        async def subscribe(self, _: str) -> Subscription:
            return Subscription()

        async def publish(self, subject: str, _: bytes, **__: object) -> None:
            sent.append(subject)

        async def flush(self) -> None: ...

    swept = await kick_all_but(System(), frozenset())  # type: ignore[arg-type]
    assert swept.kicked == 1
    assert sent[-1] == "$SYS.REQ.SERVER.S1.KICK"


@case("nats")
async def handlers(_: World, __: pytest.MonkeyPatch) -> None:
    handled: list[str] = []

    async def handler(message: Heard) -> None:
        if message.data == b"hostile":
            raise KeyError("a field of a newer version")
        handled.append(message.data.decode())

    class Connection:
        async def subscribe(self, _: str, **options: Any) -> None:
            self.hand_over = options["cb"]

    connection = Connection()
    await _attach(connection, Subscription("bot.*.p", handler, ""))  # type: ignore[arg-type]
    with capture_logs() as said:
        for data in (b"hostile", b"hostile", b"honest"):
            await connection.hand_over(SimpleNamespace(subject="bot.x.p", data=data, headers=None, reply=""))
    assert handled == ["honest"]
    assert len(said) == 1


@case("single_sign_on")
async def people_of_the_provider(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def check_one(_: object) -> bool:
        asked.append(1)
        if len(asked) == 2:
            raise KeyError("a claim of a newer provider")
        return len(asked) < 5

    monkeypatch.setattr(SingleSignOn, "check_one", check_one)
    monkeypatch.setattr("controlplane.access.sso._PAUSE_S", 0.01)
    loop = SingleSignOn.__new__(SingleSignOn)

    async def all_asked() -> bool:
        return len(asked) >= 5

    await run_until(loop.run(), all_asked)


@case("timekeeper", "tokens", "health")
async def what_has_no_items(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops over one thing are started again, and the check says that they died."""
    services, died = world.services, set()
    for name, work in services.work:
        if name in {"timekeeper", "tokens", "health"}:
            runs: list[int] = []

            async def fails_first(work: Any = work, runs: list[int] = runs) -> None:
                runs.append(1)
                if len(runs) == 1:
                    raise KeyError("a foreign fault")
                await work()

            loops = Loops()
            running = asyncio.create_task(keep_running(name, fails_first, loops, pause_s=0.01))
            while len(runs) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert any("died (KeyError)" in why for check, why in loops.reasons() if check == name)
            await end(running)
            died.add(name)
    assert died == {"timekeeper", "tokens", "health"}
