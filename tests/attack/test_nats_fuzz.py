"""Raw NATS clients with a valid key of staging say whatever comes to their minds; nothing of it is ever true."""

import os
import random
import string
from contextlib import suppress

import msgspec
import pytest
from nats.errors import Error as NatsError

from brownout import wire
from brownout.wire.leases import EVERYONE, encode_request
from tests.attack.test_nats_replies import ELSEWHERE, HEADERS, telemetry
from tests.attack.world import PRODUCTION, STAGING, Raw, World

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

P, S = wire.Subjects(PRODUCTION), wire.Subjects(STAGING)
CLIENTS = 4
VERBS = (
    "INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.{}", "STREAM.CREATE.{}", "STREAM.UPDATE.{}", "STREAM.DELETE.{}",
    "STREAM.PURGE.{}", "STREAM.SNAPSHOT.{}", "STREAM.RESTORE.{}", "STREAM.MSG.GET.{}", "STREAM.MSG.DELETE.{}",
    "STREAM.LEADER.STEPDOWN.{}", "STREAM.PEER.REMOVE.{}", "CONSUMER.CREATE.{}", "CONSUMER.DURABLE.CREATE.{}.d",
    "CONSUMER.NAMES.{}", "CONSUMER.MSG.NEXT.{}.d", "CONSUMER.DELETE.{}.d", "META.LEADER.STEPDOWN", "SERVER.REMOVE",
    "ACCOUNT.PURGE.BROWNOUT", "DIRECT.GET.{}", "DIRECT.GET.{}.x",
)  # fmt: skip
BODIES = (
    b"", b"{}", b"null", b"[]", b'{"seq":1}', b'{"seq":18446744073709551615}', b'{"seq":-1}', b'{"batch":1000000,"seq":1}',
    b'{"last_by_subj":">"}', b'{"multi_last":[">"],"batch":1000}', b'{"next_by_subj":"bow.>","seq":1,"batch":500}',
    b'{"name":"BO_LOG_production","subjects":["bow.>"]}', b"\x00" * 100, b"\xff\xfe", b'{"seq":1e400}', b"[" * 5000,
)  # fmt: skip

HOSTILE: tuple[object, ...] = (
    2**62, 2**63, -(2**63), 2**63 - 1, 1e308, -1, 0, "", "\0", "x" * 10_000, "\ud83d\ude00", None, True, [], {},
    "log", "snapshot", "bow.production.snap.m", "2026-01-01",
)  # fmt: skip

PACKED: tuple[object, ...] = (
    2**62,
    2**63,
    -(2**63),
    -1,
    1e308,
    "",
    "\0",
    "x" * 10_000,
    None,
    True,
    [],
    {},
    b"",
    b"x" * 16,
)


class Chance:
    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def subject(self, raw: Raw) -> str:
        c = self._chance
        mine = (
            S.presence(raw.fingerprint, raw.name), S.telemetry(raw.fingerprint, raw.name),
            S.lease_request(raw.fingerprint, raw.name),
            f"$JS.API.DIRECT.GET.{S.log_stream}", f"$JS.hub.API.DIRECT.GET.{S.snapshot_stream}",
        )  # fmt: skip
        kind = c.randrange(10)
        if kind < 5:
            return c.choice(mine)
        if kind < 7:
            return c.choice(ELSEWHERE[:-1])
        if kind < 9:
            stream = c.choice((P.log_stream, P.snapshot_stream, S.log_stream, S.snapshot_stream, "x"))
            return c.choice(("$JS.API.", "$JS.hub.API.")) + c.choice(VERBS).format(stream)
        return ".".join(self._token() for _ in range(c.randrange(1, 8)))

    def payload(self, raw: Raw) -> bytes:
        c = self._chance
        kind = c.randrange(6)
        if kind == 0:
            return telemetry(raw.name)
        if kind == 5:
            return self._leases()
        if kind == 4:
            return self._presence(raw)
        if kind == 1:
            known = telemetry(raw.name)
            at = c.randrange(len(known))
            return known[:at] + bytes([c.randrange(256)]) + known[at + c.randrange(3) :]
        return c.choice(BODIES) if kind == 2 else c.randbytes(c.randrange(200))

    def _leases(self) -> bytes:
        """Of the right shape, with one value that is none."""
        said: list[object] = ["budget", "standard", EVERYONE, 0, 1, 1, 1, False]
        said[self._chance.randrange(len(said))] = self._chance.choice(PACKED)
        return encode_request(1, [said])  # type: ignore[list-item]

    def _presence(self, raw: Raw) -> bytes:
        """Of the right shape, with one value that is none."""
        said: dict[str, object] = {
            "instance": raw.name, "service": "s", "sdk_version": "1", "ep": 1, "rev": 1, "state": "LIVE", "age_s": 0.1,
            "ts": 1, "applied_at": 1, "closing": False, "proof": "AAAA", "proof_kind": "log", "proof_sig": "k.AAAA",
        }  # fmt: skip
        said[self._chance.choice(list(said))] = self._chance.choice(HOSTILE)
        return msgspec.json.encode(said)

    def options(self, raw: Raw) -> dict[str, object]:
        c = self._chance
        options: dict[str, object] = {}
        if c.random() < 0.7:
            own = (S.inbox(raw.name) + ".x", S.acknowledgement(raw.fingerprint, raw.name))
            options["reply"] = c.choice((*ELSEWHERE, *own))
        if c.random() < 0.3:
            options["headers"] = c.choice(HEADERS)
        return options

    def _token(self) -> str:
        c = self._chance
        if c.random() < 0.4:
            return c.choice(("bo", "bow", "bot", "production", "staging", "log", "hb", "snap", "m", "p", "$SYS", "$JS"))
        return "".join(c.choices(string.ascii_letters + string.digits + "$_-", k=c.randrange(1, 20)))


class Stranger:
    """Comes in again whenever the server has had enough of it."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self._number = world, number
        self._raw: Raw | None = None

    async def say(self, chance: Chance) -> None:
        raw = self._raw
        if raw is None or not raw.client.is_connected:
            raw = await self._enter()
        with suppress(NatsError, OSError, ValueError):
            await raw.publish(chance.subject(raw), chance.payload(raw), **chance.options(raw))

    async def settle(self) -> None:
        """Until the server has read what was said."""
        if self._raw is not None:
            with suppress(NatsError, OSError, TimeoutError):
                await self._raw.flush()

    async def leave(self) -> None:
        if self._raw is not None:
            with suppress(NatsError, OSError, TimeoutError):
                await self._raw.close()

    async def _enter(self) -> Raw:
        await self.leave()
        node = self._number % len(self._world.nodes)
        self._raw = await self._world.enter(STAGING, f"evil-{self._number}", node=node)
        with suppress(NatsError, OSError, TimeoutError):
            await self._raw.listen(S.log, S.heartbeat, S.inbox(self._raw.name) + ".>")
        return self._raw


async def test_whatever_a_key_of_another_environment_says_every_environment_equals_postgres(
    world: World, request: pytest.FixtureRequest
) -> None:
    """Afterwards nobody is behind, no stream is another, and nothing that should run for ever was started again."""
    count = 100_000 if request.config.getoption("--chaos") == "long" else 1_000
    seed = int(os.environ.get("BROWNOUT_FUZZ_SEED", "0")) or random.randrange(2**32)
    print(f"BROWNOUT_FUZZ_SEED={seed}")
    chance = Chance(seed)
    before = await world.streams()
    raws = [Stranger(world, n) for n in range(CLIENTS)]
    commits = 0
    for number in range(count):
        await raws[number % CLIENTS].say(chance)
        if number % max(250, count // 40) == 0:
            for raw in raws:
                await raw.settle()
            await world.commit(PRODUCTION)
            commits += 1
    for raw in raws:
        await raw.leave()
    await world.must_be_sound()
    after = await world.streams()
    for stream, (created, config, last, subjects) in before.items():
        assert after[stream][:2] == (created, config), stream
        assert set(after[stream][3]) - set(subjects) <= {s for s in after[stream][3] if ".snap.c." in s}, stream
        assert after[stream][2] >= last
    assert world.sdks[PRODUCTION].status.counters.bad_signatures == 0
    assert after[P.log_stream][2] == before[P.log_stream][2] + commits + 1
