"""What must be true after every disaster."""

import asyncio

import msgspec
import nats
from nats.errors import Error as NatsError

from brownout import wire
from controlplane.access.natsconfig import CONTROL_USER
from controlplane.configuration.store import SigningKeys, State, Store, StoredEnvelope
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.chaos.fleet import Fleet
from tests.chaos.fleet_worker import digest
from tests.chaos.system import ENVIRONMENT, System, await_true
from tests.chaos.writer import Acknowledged
from tests.support import SECRET_KEY

CATCHES_UP_S = 60


def judge(system: System, fleet: Fleet, acknowledged: list[Acknowledged]) -> State:
    """Every acknowledged commit is in the history and in the log exactly once and in order, and every SDK holds what
    Postgres holds, byte for byte. Returns that state."""
    state, history = asyncio.run(_history(system))
    head = state.head
    revisions = [done.revision for done in acknowledged]
    assert revisions == sorted(set(revisions)), "acknowledged twice or out of order"
    by_revision = {envelope.revision: envelope for envelope in history}
    for done in acknowledged:
        envelope = msgspec.json.decode(by_revision[done.revision].payload, type=wire.Envelope)
        (operation,) = envelope.ops
        assert operation.key == done.key, f"revision {done.revision} is another commit's"
        assert operation.spec, done
        assert msgspec.json.decode(operation.spec)["include"] == msgspec.json.decode(done.spec)["include"]
    fleet.await_at((head.epoch, head.revision), CATCHES_UP_S)
    wanted = digest(state.served)
    for report in fleet.dump():
        assert (report.epoch, report.revision, report.digest) == (head.epoch, head.revision, wanted), report
        assert report.bad_signatures == 0, report
    payloads = [envelope.payload for envelope in history]
    await_true(lambda: _ends(payloads, asyncio.run(_logged(system))), CATCHES_UP_S, "the log is the history's end")
    return state


def _ends(history: list[bytes], log: list[bytes]) -> bool:
    return bool(log) and log == history[-len(log) :]


def log_head(system: System) -> int:
    """The last revision in the log stream; -1 while there is none."""
    return asyncio.run(_log_head(system))


async def _log_head(system: System) -> int:
    client = await nats.connect(system.nats_urls, user=CONTROL_USER, password=system.secrets.app_password)
    try:
        info = await client.jetstream().stream_info(wire.Subjects(ENVIRONMENT).log_stream)
        return info.state.last_seq
    except NatsError:
        return -1
    finally:
        await client.close()


async def _history(system: System) -> tuple[State, list[StoredEnvelope]]:
    database = Database(system.database_url, pool_size=1)
    try:
        store = Store(database, SystemClock(), SigningKeys(database, SystemClock(), SECRET_KEY))
        history: list[StoredEnvelope] = []
        while page := await store.envelopes(ENVIRONMENT, history[-1].revision if history else 0, 500):
            history.extend(page)
        return await store.state(ENVIRONMENT), history
    finally:
        await database.close()


async def _logged(system: System) -> list[bytes]:
    """Every payload in the log stream, in order; its sequences are the revisions. Empty while nobody answers."""
    subjects = wire.Subjects(ENVIRONMENT)
    client = await nats.connect(system.nats_urls, user=CONTROL_USER, password=system.secrets.app_password)
    try:
        info = await client.jetstream().stream_info(subjects.log_stream)
        payloads: list[bytes] = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            body = msgspec.json.encode({"seq": sequence})
            message = await client.request(f"$JS.API.DIRECT.GET.{subjects.log_stream}", body, timeout=5)
            assert msgspec.json.decode(message.data, type=wire.Envelope).rev == sequence
            payloads.append(message.data)
        return payloads
    except NatsError:
        return []
    finally:
        await client.close()
