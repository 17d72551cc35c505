"""Replicas, SDKs and Postgres die and come back in random orders: no activation is lost, doubled or loosened.

The real records of replicas and SDKs, and a log that takes a key once, as SafeMode.adopt does.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from brownout import wire
from brownout._sync.emergencies import Emergencies
from brownout.model.resources import Scope
from brownout.wire.bundle import Signed
from controlplane.access.actor import Actor, Role
from controlplane.access.passes import Holders
from controlplane.configuration.store.values import Head
from controlplane.emergency.book import Book, Kept, Place, Told
from controlplane.emergency.carried import MAX_CARRIED, Carried, Said, read_asked
from controlplane.emergency.loops import EmergencyLoops
from controlplane.emergency.service import Emergency
from controlplane.emergency.values import LIFTED, NOTICE, UNSENT, UNSENT_LIFT
from controlplane.errors import InvalidInputError
from controlplane.kit.clock import SystemClock
from controlplane.safemode.request import ActivationRequest
from tests.support import SECRET_KEY

SEEDS = range(200)
STEPS = 80
NOON = 1_772_366_400_000
MINUTE = 60_000
ENVIRONMENT = "production"


class Replica:
    def __init__(self) -> None:
        self.alive = True
        self.carried = Carried()

    def restart(self) -> None:
        """From its disk."""
        kept, self.carried, self.alive = self.carried.all_told(), Carried(), True
        for told in kept:
            self.carried.take(_said(told))


class Sdk:
    def __init__(self) -> None:
        self.revision = 0
        self.disk: tuple[Signed, ...] = ()
        self.emergencies = Emergencies()

    def restart(self, now: int) -> None:
        self.emergencies = Emergencies()
        for message in self.disk:
            self.hear(message, now)

    def hear(self, message: Signed, now: int) -> None:
        said = msgspec.json.decode(message.payload, type=wire.Emergency)
        self.emergencies.take(said, message, uptime_ms=now, now_ms=now)
        self.disk = tuple(dict.fromkeys((*self.disk, *self.emergencies.messages())))

    def applies(self, log: "Log", now: int) -> set[str]:
        outside, _ = self.emergencies.in_force(self.revision, lambda _: None, lambda _: True, now_ms=now, uptime_ms=now)
        return {one.key for one in outside} | log.on_at(self.revision)


class Log:
    """Postgres: each revision puts or deletes one key."""

    def __init__(self) -> None:
        self.alive = True
        self.commits: list[tuple[str, str]] = []

    def adopt(self, key: str, *, lifted: bool) -> int:
        if ("put", key) not in self.commits:
            self.commits.append(("put", key))
        if lifted and ("del", key) not in self.commits:
            self.commits.append(("del", key))
        return len(self.commits)

    def on_at(self, revision: int) -> set[str]:
        seen = self.commits[:revision]
        return {key for what, key in seen if what == "put"} - {key for what, key in seen if what == "del"}


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = NOON
        self.log = Log()
        self.replicas = [Replica(), Replica(), Replica()]
        self.sdks = [Sdk(), Sdk(), Sdk()]
        self.asked: set[str] = set()
        self.lifted: set[str] = set()

    def say(self, replica: Replica, key: str, what: Any, revision: int = 0) -> None:
        self.now += 1
        spec = msgspec.Raw(
            msgspec.json.encode({
                "profile": "contain", "reason": "r", "actor": "a",
                "activated_at": datetime.fromtimestamp(self.now / 1000, UTC),
                "expires_at": datetime.fromtimestamp((self.now + 45 * MINUTE) / 1000, UTC),
            })
        )  # fmt: skip
        fields: dict[str, Any] = {"spec": spec} if what == "on" else {"rev": revision}
        message = wire.Emergency(1, ENVIRONMENT, key, what, self.now, **fields)
        replica.carried.take(Said(message, Told(ENVIRONMENT, msgspec.json.encode(message), "")))

    def step(self) -> None:
        replica = self.chance.choice(self.replicas)
        match self.chance.randrange(9):
            case 0 if replica.alive and not self.log.alive:
                key = f"k-{self.chance.randrange(6)}"
                if key not in self.asked:  # a repeated request finds what was asked for
                    self.asked.add(key)
                    self.say(replica, key, "on")
            case 1 if replica.alive:
                active = replica.carried.active(ENVIRONMENT, None)
                if active and not self.log.alive:
                    key = self.chance.choice(active).key
                    self.lifted.add(key)
                    self.say(replica, key, "off")
            case 2:
                replica.alive = False
            case 3:
                replica.restart()
            case 4:
                self.log.alive = not self.log.alive
            case 5:
                self.chance.choice(self.sdks).restart(self.now)
            case 6:
                self.now += self.chance.randrange(10) * MINUTE
            case _:
                self.tell(lossy=True)
        if self.log.alive:
            self.settle()

    def tell(self, *, lossy: bool) -> None:
        """One round of heartbeats. Each message reaches some, in any order, and some more than once."""
        sent = [told for each in self.replicas if each.alive for told in each.carried.to_tell(ENVIRONMENT, self.now)]
        for told in self.chance.sample(sent, len(sent)) + (sent[:2] if lossy else []):
            for hearer in (*self.replicas, *self.sdks):
                if lossy and self.chance.random() < 0.4:
                    continue
                if isinstance(hearer, Replica):
                    if hearer.alive:
                        hearer.carried.take(_said(told))
                else:
                    hearer.hear(Signed(told.payload, told.signature), self.now)
        for sdk in self.sdks:
            if not lossy or self.chance.random() < 0.5:
                self.follow(sdk)

    def follow(self, sdk: Sdk) -> None:
        sdk.emergencies.settle((key for _, key in self.log.commits[sdk.revision :]), len(self.log.commits))
        sdk.revision = len(self.log.commits)

    def settle(self) -> None:
        for replica in self.replicas:
            for record in replica.carried.unsettled() if replica.alive else ():
                if self.chance.random() < 0.8:  # else it dies between the commit and the word of it
                    self.say(replica, record.key, "settled", self.log.adopt(record.key, lifted=record.off is not None))
                else:
                    self.log.adopt(record.key, lifted=record.off is not None)


def _said(told: Told) -> Said:
    return Said(msgspec.json.decode(told.payload, type=wire.Emergency), told)


def test_a_replica_takes_a_new_emergency_once_those_before_are_over() -> None:
    world = World(0)
    replica = world.replicas[0]
    for number in range(MAX_CARRIED):
        world.say(replica, f"k-{number}", "on")
    world.say(replica, "one-too-many", "on")
    assert replica.carried.find(ENVIRONMENT, "one-too-many") is None
    world.now += 60 * MINUTE
    world.say(replica, "new", "on")
    assert replica.carried.find(ENVIRONMENT, "new") is not None


ADMIN = Actor("person", "ann@example.com", {"*": frozenset({Role.ADMIN}), "staging": frozenset({Role.OPERATOR})})


def _service(told: list[Told], *, connected: bool = True) -> Emergency:
    async def publish(each: Told) -> bool:
        told.append(each)
        return connected

    book = Book([SECRET_KEY], None)
    chain = wire.KeyChain(1, ENVIRONMENT, ())
    place = Place(ENVIRONMENT, "Production", "k", bytes(32), chain, 7, {"contain": b"{}"}, {})
    book.kept = Kept({ENVIRONMENT: place}, Holders(read_at=1))
    made = Emergency(book, Carried(), SystemClock(), longest=timedelta(hours=24))
    made.publish = publish
    return made


def test_what_the_fleet_is_told_names_one_role_in_one_environment_and_the_notice_says_who_hears_it() -> None:
    told: list[Told] = []
    request = ActivationRequest("contain", "why", for_s=600)
    for connected, on, off in ((True, NOTICE, LIFTED), (False, UNSENT, UNSENT_LIFT)):
        service = _service(told, connected=connected)
        assert asyncio.run(service.activate(ADMIN, ENVIRONMENT, request, "k")).notice == on
        assert asyncio.run(service.activate(ADMIN, ENVIRONMENT, request, "k")).notice == on
        assert asyncio.run(service.lift(ADMIN, ENVIRONMENT, "k")).notice == off
    for each in told:
        asked = read_asked(msgspec.json.decode(each.payload, type=wire.Emergency))
        assert asked is not None
        assert asked.actor.grants == {ENVIRONMENT: frozenset({Role.OPERATOR})}


def test_no_message_is_larger_than_sdks_read() -> None:
    told: list[Told] = []
    service = _service(told)
    fits = ActivationRequest("contain", "why", Scope(services=tuple(f"service-{n}" for n in range(1_800))), for_s=600)
    asyncio.run(service.activate(ADMIN, ENVIRONMENT, fits, "k"))
    (one,) = told
    assert len(one.payload) <= wire.MAX_EMERGENCY_BYTES
    assert read_asked(msgspec.json.decode(one.payload, type=wire.Emergency)) is None
    scope = Scope(services=tuple(f"service-{n}" for n in range(5_000)))
    with pytest.raises(InvalidInputError, match="Nothing was switched"):
        asyncio.run(service.activate(ADMIN, ENVIRONMENT, msgspec.structs.replace(fits, scope=scope), "other"))
    assert len(told) == 1
    assert not service.carries(ENVIRONMENT, "other")


@pytest.mark.parametrize("what", ["on", "off"])
def test_what_an_operator_does_during_the_hand_over_is_handed_over_too(what: str) -> None:
    world = World(0)
    replica, other = world.replicas[:2]
    world.say(replica, "k", "on")
    other.carried.take(_said(replica.carried.all_told()[0]))
    world.say(replica, "k", "settled", 7)
    assert replica.carried.unsettled() == []
    world.say(other, "k", what)
    for told in other.carried.all_told():
        replica.carried.take(_said(told))
    (record,) = replica.carried.unsettled()
    assert (record.off is not None) is (what == "off")
    world.say(replica, "k", "settled", 8)
    assert replica.carried.unsettled() == []


@pytest.mark.parametrize(
    ("published", "head", "found"),
    [
        (None, (1, 7), None),
        ((1, 6), (1, 7), None),
        ((1, 7), (1, 7), 7),
        ((1, 8), (1, 9), 8),
        ((1, 90), (1, 7), None),  # Postgres was restored, and the log is not fenced yet
        ((1, 90), (2, 91), None),
        ((2, 91), (2, 91), 91),
    ],
)
def test_the_log_decides_only_from_a_revision_that_is_published_in_its_own_history(
    published: tuple[int, int] | None, head: tuple[int, int], found: int | None
) -> None:
    async def read_head(_: str) -> Head:
        return Head(ENVIRONMENT, *head, "")

    made: Any = dict.fromkeys(
        ("book", "carried", "service", "passes", "addresses", "keys", "link", "clock", "safe_mode", "heartbeat_s")
    )
    store: Any = SimpleNamespace(head=read_head)
    loops = EmergencyLoops(**made, store=store, published=lambda _: published)
    assert asyncio.run(loops._find_published(ENVIRONMENT, 7)) == found


@pytest.mark.parametrize("block", range(4))
def test_whatever_dies_in_whatever_order_each_activation_comes_into_the_log_once(block: int) -> None:
    for seed in SEEDS[block::4]:
        world = World(seed)
        for _ in range(STEPS):
            world.step()
            for sdk in world.sdks:
                on = world.log.on_at(sdk.revision)
                assert on <= sdk.applies(world.log, world.now), f"seed {seed}: loosened"
        for replica in world.replicas:
            replica.restart()
        world.log.alive = True
        for _ in range(3):
            world.tell(lossy=False)
            world.settle()
        for _ in range(20):
            world.settle()
        world.tell(lossy=False)
        puts = [key for what, key in world.log.commits if what == "put"]
        assert sorted(puts) == sorted(world.asked), f"seed {seed}: lost or doubled"
        for sdk in world.sdks:
            assert sdk.applies(world.log, world.now) == world.log.on_at(len(world.log.commits)), f"seed {seed}"
