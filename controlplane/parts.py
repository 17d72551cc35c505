"""What every capability is opened with, and where it says what runs and what is watched."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import check_schema, schema_fault
from controlplane.health.values import Probe
from controlplane.kit.background import Loops, Work, background
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.notify import Notify
from controlplane.kit.timekeeper import TimeKeeper
from controlplane.kit.tls import client_tls
from controlplane.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """`open_x(parts, …)` makes a capability; its loops start when all are open, in the order of opening, and end in
    reverse, before anything that they use."""

    settings: Settings
    clock: Clock
    monotonic: Monotonic = monotonic
    database: Database
    signing_keys: SigningKeys
    store: Store
    link: Link
    loops: Loops
    notify: Notify
    stack: AsyncExitStack
    """Closed last: what a loop might still need."""
    work: list[tuple[str, Work]] = field(default_factory=list)
    ways: list[Callable[[], bool]] = field(default_factory=list)
    """Whether safe mode can be switched on here without Postgres: one that says so is enough."""
    quick: list[Probe] = field(default_factory=list)
    """Probes that look at what is in memory; `asking` probes ask a server, and must not hold those up."""
    asking: list[Probe] = field(default_factory=list)

    def run(self, name: str, work: Work) -> None:
        """Lets `work` run in the background as the loop `name`."""
        self.work.append((name, work))

    async def ready(self, timeout_s: float = 2) -> bool:
        """Whether any activation is possible here: Postgres answers in time, or there is a way without it."""
        return await self.database.answers(timeout_s) or any(way() for way in self.ways)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Every loop runs inside."""
        async with AsyncExitStack() as stack:
            for name, work in self.work:
                await stack.enter_async_context(background(name, work, loops=self.loops))
            yield


async def open_parts(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Parts:
    """Postgres, NATS and the clock.

    Raises:
        SchemaError: the database is not at this version's schema.
        UnavailableError: it does not answer.
    """
    database = Database(settings.database_url.reveal(), pool_size=settings.database_pool)
    stack.push_async_callback(database.close)
    await check_schema(database)
    timekeeper = TimeKeeper(database, clock, monotonic)
    await timekeeper.start()
    signing_keys = SigningKeys(database, clock, settings.secret_keys)
    link = Link(
        settings.nats_servers,
        user=settings.nats_user,
        password=settings.nats_password.reveal(),
        tls=client_tls(settings.nats_ca, settings.nats_cert, settings.nats_key),
    )

    async def schema() -> dict[str, str]:
        return {"schema": await schema_fault(database)}

    parts = Parts(
        settings=settings,
        clock=clock,
        database=database,
        signing_keys=signing_keys,
        store=Store(database, clock, signing_keys),
        link=link,
        loops=Loops(),
        notify=_nobody_yet,
        stack=stack,
    )
    parts.run("timekeeper", timekeeper.run)
    parts.run("nats", link.run)
    parts.quick.extend((timekeeper.probe, link.probe))
    parts.asking.extend((schema, signing_keys.probe))
    return parts


async def _nobody_yet(event: str, fields: dict[str, str], connection: object = None) -> None:  # noqa: ARG001
    raise RuntimeError(f"{event}: alerts are not open yet")
