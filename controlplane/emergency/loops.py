"""What runs beside the service: it remembers what Postgres says, tells the fleet again and again, hears other replicas,
and hands over to the log once Postgres takes it."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from brownout import wire
from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, Role, allows
from controlplane.access.address_rules import AddressRules
from controlplane.access.passes import Passes
from controlplane.configuration.changes import ACTIVATION
from controlplane.configuration.store import Environment, SigningKeys, Store, every_resource
from controlplane.contract.outages import PROFILE
from controlplane.emergency.book import Book, Place, Told
from controlplane.emergency.carried import Asked, Carried, Record, Said, read_asked
from controlplane.emergency.service import Emergency
from controlplane.errors import UnavailableError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat
from controlplane.kit.clock import Clock
from controlplane.kit.link import Heard, Link, LinkDownError
from controlplane.kit.tasks import run_together, wait_set
from controlplane.safemode.request import ActivationRequest
from controlplane.safemode.service import SafeMode

log = structlog.get_logger(__name__)

READ_S = 5.0
"""How often keys, profiles and holders are read from Postgres."""

LEAST_S = 0.5
"""They are read no more often, however many commits there are."""

SETTLE_S = 1.0
PATIENCE_S = 10.0
"""How long Postgres may take for one environment, or one activation."""

Published = Callable[[str], tuple[int, int] | None]
"""The epoch and revision that SDKs can have of an environment by now; None while that is unknown."""

CARRIED = Gauge(
    "brownout_emergency_activations", "Activations that the fleet carries without Postgres.", ["environment"]
)
SETTLED = Counter("brownout_emergency_settled_total", "Emergency activations that the log has taken.")
STRANGE = Counter("brownout_emergency_strange_total", "Emergency messages that no key of ours signed.")


class EmergencyLoops:
    def __init__(
        self,
        *,
        book: Book,
        carried: Carried,
        service: Emergency,
        passes: Passes,
        addresses: AddressRules,
        store: Store,
        keys: SigningKeys,
        link: Link,
        clock: Clock,
        safe_mode: SafeMode,
        published: Published,
        heartbeat_s: float,
    ) -> None:
        self._book = book
        self._carried = carried
        self._service = service
        self._passes = passes
        self._addresses = addresses
        self._store = store
        self._keys = keys
        self._link = link
        self._clock = clock
        self._safe_mode = safe_mode
        self._published = published
        self._heartbeat_s = heartbeat_s
        self._due = asyncio.Event()
        self._news = asyncio.Event()
        self._trouble = ""

    def noticed(self, environment: str) -> None:  # noqa: ARG002 - it reads those that have moved
        """There was a commit."""
        self._news.set()

    async def publish(self, told: Told) -> bool:
        """Sends one message at once. False: there is no connection, and the loop sends it when there is one."""
        self._due.set()
        try:
            headers = {wire.SIGNATURE_HEADER: told.signature}
            await self._link.client.publish(wire.Subjects(told.environment).emergency, told.payload, headers=headers)
        except (LinkDownError, NatsError, OSError):
            return False
        return True

    async def probe(self) -> Mapping[str, str]:
        reasons = dict.fromkeys((f"emergency {key}" for key in self._book.places), "")
        reasons |= {f"emergency {key}": why for key, why in self._service.reasons().items()}
        if self._trouble or self._book.failing:
            reasons["emergency"] = self._trouble or self._book.failing
        return {"emergency": "", **reasons}

    async def run(self) -> None:
        subscription = await self._link.subscribe("bo.*.emg", self._on_heard)
        try:
            await run_together(self._read_forever(), self._tell_forever(), self._settle_forever())
        finally:
            self._link.unsubscribe(subscription)

    async def _read_forever(self) -> None:
        while True:
            beat("emergency.read", PATIENCE_S)
            trouble = await self.read()
            beat("emergency.read", READ_S, trouble)
            await asyncio.sleep(LEAST_S)
            await wait_set(self._news, READ_S - LEAST_S)
            self._news.clear()

    async def read(self) -> str:
        """Remembers what Postgres says; returns which environment could not be read, and why."""
        turn, places = Turn("emergency"), dict(self._book.places)
        try:
            async with asyncio.timeout(PATIENCE_S):
                holders = await self._passes.read_holders()
                await self._addresses.refresh()
                environments = await self._store.list_environments()
                for environment in environments:
                    with turn.item(environment.key):
                        places[environment.key] = await self._read(environment)
        except (UnavailableError, TimeoutError):
            return ""
        self._passes.holders = holders
        kept = {environment.key: places[environment.key] for environment in environments if environment.key in places}
        await self._book.keep(msgspec.structs.replace(self._book.kept, places=kept, holders=holders))
        return turn.trouble

    async def _read(self, environment: Environment) -> Place:
        signing = await self._keys.current(environment.key)
        known = self._book.places.get(environment.key)
        same = known is not None and (known.revision, known.kid) == (environment.revision, signing.kid)
        if known is not None and same and None not in {known.classes, known.cohorts}:
            return known
        kinds = {
            kind: {each.key: bytes(each.spec) for each in await every_resource(self._store, environment.key, kind)}
            for kind in (PROFILE, ACTIVATION)
        }
        return Place(
            environment.key,
            environment.name,
            signing.kid,
            signing.private.private_bytes_raw(),
            await self._keys.chain(environment.key),
            environment.revision,
            kinds[PROFILE],
            kinds[ACTIVATION],
            await self._store.list_keys(environment.key, "request_class"),
            await self._store.list_keys(environment.key, "cohort"),
        )

    async def _tell_forever(self) -> None:
        while True:
            beat("emergency.tell")
            self._carried.forget(self._now_ms())
            self._trouble = await self.tell()
            beat("emergency.tell", self._heartbeat_s)
            await asyncio.sleep(self._heartbeat_s)

    async def tell(self) -> str:
        """Tells every environment's fleet; returns which could not be told, and why."""
        turn = Turn("emergency")
        for environment in {record.environment for record in self._carried}:
            with turn.item(environment):
                active = self._carried.active(environment, self._clock.now())
                CARRIED.labels(environment).set(len(active))
                for told in self._carried.to_tell(environment, self._now_ms()):
                    await self.publish(told)
        return turn.trouble

    async def _settle_forever(self) -> None:
        while True:
            beat("emergency.settle", PATIENCE_S)
            trouble = await self.settle()
            beat("emergency.settle", SETTLE_S, trouble)
            await wait_set(self._due, SETTLE_S)
            self._due.clear()

    async def settle(self) -> str:
        """Hands over what Postgres takes; returns which activation it did not take, and why."""
        turn, slow = Turn("emergency"), set[str]()
        for record in self._carried.unsettled():
            if record.environment in slow:
                continue
            with turn.item(f"{record.environment} {record.key}"):
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._settle(record)
                except TimeoutError:
                    slow.add(record.environment)
                except UnavailableError:
                    return turn.trouble
        return turn.trouble

    async def _settle(self, record: Record) -> None:
        """Replicas may do this at once: the log takes an activation once by its key.

        The fleet is told once the commit is published. An operator who renews or lifts it meanwhile is served by the
        next turn.
        """
        asked = record.asked() or _reconstructed(record)
        on, off = record.on, record.off
        revision = await self._safe_mode.adopt(
            _holder(asked.actor, record.environment), record.environment, record.key, record.spec, asked.request,
            alone=off is not None,
        )  # fmt: skip
        if off is not None:
            revision = await self._lift(record, off, revision)
        settled = await self._find_published(record.environment, revision)
        if settled is None or record.on is not on or record.off is not off:
            return
        await self._service.settled(record, settled)
        SETTLED.inc()
        log.warning("emergency_settled", environment=record.environment, key=record.key, revision=settled)

    async def _find_published(self, environment: str, revision: int) -> int | None:
        """The published revision, from which SDKs have `revision` in their log; None while it is not published.

        After a restore, SDKs hold revisions of a history that Postgres has lost, and `revision` can be less than theirs.
        The published one is never less. Until the log is fenced it is beyond the head, and then of an older epoch.
        """
        epoch, published = self._published(environment) or (0, 0)
        head = await self._store.head(environment)
        return published if epoch == head.epoch and revision <= published <= head.revision else None

    async def _lift(self, record: Record, said: Said, revision: int) -> int:
        off = read_asked(said.message)
        asked = off or record.asked() or _reconstructed(record)
        reason = off.request.reason if off else ""
        lifted = await self._safe_mode.lift_if_on(
            _holder(asked.actor, record.environment), record.environment, record.key, reason
        )
        return lifted or revision

    async def _on_heard(self, message: Heard) -> None:
        environment = message.subject.split(".")[1]
        try:
            news = self._service.take(Told(environment, message.data, message.signature))
        except wire.UnknownKeyError:
            STRANGE.inc()
            return
        if news:
            await self._service.keep()

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _holder(actor: Actor, environment: str) -> Actor:
    """Who acted, as they could when they did: what they were allowed is vouched for by the signature."""
    if allows(actor.grants, Action.SAFE_MODE, environment) and ANY_ENVIRONMENT not in actor.grants:
        return actor
    return msgspec.structs.replace(actor, grants={environment: frozenset({Role.OPERATOR})})


def _reconstructed(record: Record) -> Asked:
    """What was asked for, from the activation alone: another version said it in words of its own."""
    spec = record.spec
    request = ActivationRequest(
        spec.profile, spec.reason, spec.scope, spec.expires_at, incident=spec.incident, on_expiry=spec.on_expiry
    )
    return Asked(request, Actor("person", spec.actor))
