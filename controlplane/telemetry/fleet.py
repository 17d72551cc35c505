"""The fleets of all environments, live: every replica hears every presence and every commit on its way out.

There is one state an environment, and one encoded event a change, however many people look at it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Protocol

import msgspec
import structlog

from brownout.wire import UNREADABLE
from controlplane.access.actor import Action, Actor, authorize
from controlplane.errors import NotFoundError, UnavailableError
from controlplane.kit.apart import Turn, apart, set_aside
from controlplane.kit.background import beat, words
from controlplane.kit.buckets import Buckets
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.database import Database
from controlplane.kit.link import Heard
from controlplane.telemetry import fleet_tables as tables
from controlplane.telemetry.boundary import LARGEST_INSTANT, Present, RefusedError, Speaker, read_presence
from controlplane.telemetry.fleet_state import LIVE_S, Convergence, FleetState, Head, Seen, clock_samples
from controlplane.telemetry.lag import LagAlerts
from controlplane.telemetry.log import Log, Unknown
from controlplane.telemetry.quotas import Quotas
from controlplane.telemetry.refusals import Refusals
from controlplane.telemetry.values import (
    Delivered,
    Delivery,
    FleetSummary,
    InstanceView,
    Outside,
    RevisionCount,
    Spread,
)

log = structlog.get_logger(__name__)

PRESENCE_SUBJECT, LOG_SUBJECT, HEARTBEAT_SUBJECT = "bot.*.*.*.p", "bo.*.log", "bo.*.hb"

WRITE_S = 2.0
"""How often presence and convergence are written to Postgres, and silence is noticed."""

DEBOUNCE_S = 0.1
"""The most often that viewers are told."""

GATHER_S = 0.02
"""Whoever waits for a delivery looks this often at most, however many instances report at once."""

SLOW_S = 1.0
"""How long Postgres may take for what a large fleet said."""

MAX_NAMED = 20
"""Laggards named in a summary; all of them are in the list of instances."""


class Published(Protocol):
    """What a publisher reports."""

    @property
    def environment(self) -> str: ...


_Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INSTANT)]


class _Position(msgspec.Struct):
    ep: _Number
    rev: _Number


_decode_position = msgspec.json.Decoder(_Position).decode


class Fleet:
    """`heard`, `committed` and `beat` are handlers for the three subjects; `run` expires, writes down and alerts."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        alerts: LagAlerts | None = None,
        quotas: Quotas | None = None,
        refusals: Refusals | None = None,
        *,
        log: Log | None = None,
        monotonic: Monotonic = monotonic,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._newcomers = Buckets(self._quotas.instances, self._quotas.instances / 60, monotonic)
        self.refusals = refusals or Refusals()
        self._database = database
        self._log = log or Unknown()
        self.failing = ""
        """Why presence could not be written down the last time; empty when it could."""
        self._clock = clock
        self._alerts = alerts
        self._states: dict[str, FleetState] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._events: dict[str, tuple[int, bytes]] = {}
        self._lagging: dict[str, frozenset[str]] = {}
        self._written: dict[tuple[str, int, int], tuple[int, int]] = {}

    # From NATS

    async def heard(self, message: Heard) -> None:
        speaker = Speaker.of(message.subject)
        try:
            self._hear(speaker, read_presence(message.data))
        except RefusedError as error:
            self.refusals.note(speaker, error, self._clock.now())

    def _hear(self, speaker: Speaker, said: Present) -> None:
        environment, key, instance = speaker
        at, state = self._now(), self._apply(environment)
        if not state.admits(instance, key, self._quotas.instances):
            raise RefusedError("instances", "more instances than the key may have, or a live one's name")
        known = state.instances.get(instance)
        if known is None and not self._newcomers.take((environment, key), 1):
            raise RefusedError("instances", "new instances faster than the key may have them")
        ahead = clock_samples(known, at - said.ts / 1000)
        applied = min(at, said.applied_at / 1000 + min(ahead)) if said.applied_at else at
        state.heard(
            Seen(
                instance, said.service, said.sdk_version, Head(said.ep, max(0, said.rev)), said.state, said.age_s,
                at, at, applied, said.closing, ahead, key,
                schema_level=said.schema_level,
                outside=tuple(Outside(o.origin, o.key, o.profile, o.reason) for o in said.outside),
                clock_skew_s=said.clock_skew_ms / 1000,
            )
        )  # fmt: skip
        self._tell(environment)

    async def committed(self, message: Heard) -> None:
        self._published(message, known=True)

    def noticed(self, environment: str) -> None:
        """There is a new head in Postgres, or news of what NATS has."""
        self._follow_head(environment, self._apply(environment))
        self._tell(environment)

    def brought_out(self, published: Published) -> None:
        """This replica's publisher brought a revision out."""
        self._tell(published.environment)

    def _follow_head(self, environment: str, state: FleetState) -> None:
        if (head := self._log.head(environment)) is not None:
            state.committed(Head(*head), self._now())

    async def beat(self, message: Heard) -> None:
        """Shows a head that we were not connected to see published."""
        self._published(message, known=False)

    def _published(self, message: Heard, *, known: bool) -> None:
        environment = message.subject.split(".", 2)[1]
        with contextlib.suppress(*UNREADABLE):
            position = _decode_position(message.data)
            self._apply(environment).published(Head(position.ep, position.rev), self._now(), known=known)
            self._tell(environment)

    # In the background

    async def run(self) -> None:
        loaded = False
        while True:
            turn, failing = Turn("telemetry.fleet"), ""
            try:
                if not loaded:
                    await self._load(turn)
                    loaded = True
            except UnavailableError as error:
                log.warning("fleet_not_loaded", error=error.message)
            beat("telemetry.fleet", WRITE_S)
            await asyncio.sleep(WRITE_S)
            for environment, state in list(self._states.items()):
                beat("telemetry.fleet", SLOW_S)
                try:
                    with turn.item(environment):
                        await self._look_at(environment, state)
                except UnavailableError as error:
                    log.warning("fleet_not_written", environment=environment, error=error.message)
                    failing = words(error)
            self.failing = failing or turn.trouble

    async def _look_at(self, environment: str, state: FleetState) -> None:
        now = self._now()
        self._follow_head(environment, state)
        state.expire(now)
        self._watch_laggards(environment, state, now)
        self._tell(environment)
        await self._write(environment, state)
        if self._alerts is not None:
            await self._alerts.look(environment, state)

    async def _load(self, turn: Turn) -> None:
        """What was known before we started; who is gone since will fall silent."""
        async with self._database.reading() as connection:
            known = await tables.known_instances(connection, self._clock.now() - timedelta(hours=1))
        fresh = self._now() - LIVE_S
        for environment, seen in known:
            with turn.item(f"{environment} {seen.instance}"):
                state = self._apply(environment)
                if seen.instance not in state.instances:
                    if seen.last_seen >= fresh:
                        state.heard(seen)
                    else:
                        state.remember(seen)
                state.take_touched()

    async def _write(self, environment: str, state: FleetState) -> None:
        touched = state.take_touched()
        news = [
            found
            for found in state.convergences()
            if self._written.get((environment, found.epoch, found.revision)) != (found.reached, found.live)
            and (found.reached or found.live)
        ]
        if not touched and not news:
            return
        await apart(
            sorted(touched, key=lambda seen: seen.instance), self._instances(environment), self._set_aside(environment)
        )

        async def converged(some: Sequence[Convergence]) -> None:
            async with self._database.transaction() as connection:
                for found in some:
                    await tables.put_convergence(connection, environment, found)

        await apart(
            news,
            converged,
            lambda found, error: set_aside("telemetry.fleet", f"{environment} r{found.revision}", error),
        )
        for found in news:
            self._written[environment, found.epoch, found.revision] = (found.reached, found.live)
        state.forget_done()
        for key in list(self._written)[:-500]:
            del self._written[key]

    def _instances(self, environment: str) -> Callable[[Sequence[Seen]], Awaitable[None]]:
        async def write(some: Sequence[Seen]) -> None:
            async with self._database.transaction() as connection:
                await tables.put_instances(connection, environment, some)

        return write

    def _set_aside(self, environment: str) -> Callable[[Seen, Exception], None]:
        def note(seen: Seen, error: Exception) -> None:
            refused = RefusedError("not_stored", type(error).__name__)
            self.refusals.note(Speaker(environment, seen.key, seen.instance), refused, self._clock.now())

        return note

    def _watch_laggards(self, environment: str, state: FleetState, now: float) -> None:
        lagging = frozenset(seen.instance for seen in state.laggards(now))
        if lagging != self._lagging.get(environment, frozenset()):
            state.version += 1
        self._lagging[environment] = lagging

    # For people

    def lagging(self, environment: str) -> frozenset[str]:
        """Instances that stay behind the head."""
        return self._lagging.get(environment, frozenset())

    def live(self, environment: str) -> int:
        state = self._states.get(environment)
        return state.live if state else 0

    def environments(self) -> Sequence[str]:
        return tuple(self._states)

    def summary(self, actor: Actor, environment: str) -> FleetSummary:
        authorize(actor, Action.READ, environment)
        return self._summary(environment)

    def _summary(self, environment: str) -> FleetSummary:
        state = self._state(environment)
        self._follow_head(environment, state)
        now, top, published = self._now(), state.top, self._published_by_now(environment)
        # What NATS does not have yet, nobody can have: then there is no grace.
        laggards = state.laggards(now, None if published is not None and published >= top else top)
        found = state.convergence()
        return FleetSummary(
            environment,
            top.epoch,
            top.revision,
            published.revision if published else None,
            state.live,
            state.applied(top),
            len(laggards),
            tuple(seen.instance for seen in laggards[:MAX_NAMED]),
            state.states(),
            tuple(RevisionCount(head.epoch, head.revision, n) for head, n in state.revisions()[:MAX_NAMED]),
            self._spread(state, found, now) if found else None,
        )

    def _published_by_now(self, environment: str) -> Head | None:
        """What this replica published, or heard on its way out; what Postgres does not have is nobody's publication."""
        ours, state = self._log.published(environment), self._state(environment)
        heard = state.head if state.head <= state.top else Head()
        known = max(Head(*ours) if ours is not None else Head(), heard)
        return known if ours is not None or known > Head() else None

    async def delivered(self, environment: str, revision: int, timeout_s: float) -> Delivered:
        """How far `revision` is, as soon as it is everywhere and at the latest after `timeout_s`.

        Returns at once while there is no connection to NATS: there is nothing to wait for.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            changed = self._changed_event(environment)
            found = self._delivered(environment, revision)
            if found.everywhere or not self._log.reachable:
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
                    await asyncio.sleep(GATHER_S)
            except TimeoutError:
                return self._delivered(environment, revision)

    def applying(self, environment: str, key: str) -> tuple[int, int]:
        """How many live instances say that they apply an activation beside the log, and how many are live."""
        return self._state(environment).applying(key)

    async def carried(self, environment: str, key: str, timeout_s: float, *, on: bool = True) -> tuple[int, int]:
        """How many live instances say that they apply an activation that is not in the log, and how many are live; as soon
        as it is all (or, not `on`, none) of them, and at the latest after `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            changed = self._changed_event(environment)
            applied, live = self._state(environment).applying(key)
            if applied == (live if on else 0) or not self._log.reachable:
                return applied, live
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
                    await asyncio.sleep(GATHER_S)
            except TimeoutError:
                return self._state(environment).applying(key)

    def _delivered(self, environment: str, revision: int) -> Delivered:
        state, published = self._state(environment), self._published_by_now(environment)
        ours = self._log.published(environment)
        via: Literal["log", "core", "heard"] | None = None if published is None else "heard"
        if published is not None and ours is not None and published == Head(*ours):
            via = self._log.via(environment)
        applied = state.applied(Head(state.top.epoch, revision))
        return Delivered(revision, published.revision if published else None, via, applied, state.live)

    def older(self, environment: str, level: int) -> list[str]:
        """The live instances that cannot read what schema level `level` brought."""
        return self._state(environment).older(level)

    def spread(self, actor: Actor, environment: str, revision: int) -> Spread:
        """Of a commit of late; `delivery` knows older ones.

        Raises:
            NotFoundError: nobody here saw that revision being published, nor an instance that has it.
        """
        authorize(actor, Action.READ, environment)
        state = self._state(environment)
        found = state.convergence(revision)
        if found is not None:
            return self._spread(state, found, self._now())
        if revision > state.head.revision:
            raise NotFoundError(f"revision {revision} of {environment} has not been published")
        return self._spread(state, Convergence(state.head.epoch, revision, state.head_published), self._now())

    async def deliveries(self, actor: Actor, environment: str, revisions: Sequence[int]) -> dict[int, Delivery]:
        """How commits reached the fleet, from the table; those never published are missing."""
        authorize(actor, Action.READ, environment)
        async with self._database.reading() as connection:
            return await tables.deliveries(connection, environment, revisions)

    def instances(self, actor: Actor, environment: str, *, after: str = "", limit: int = 200) -> list[InstanceView]:
        """Laggards first, then the live, then the gone; `after` is the last instance of the page before."""
        authorize(actor, Action.READ, environment)
        state = self._state(environment)
        views = sorted(
            (self._view(environment, state, seen) for seen in state.instances.values()),
            key=lambda view: (not view.lagging, not view.live, view.instance),
        )
        start = next((i + 1 for i, view in enumerate(views) if view.instance == after), 0) if after else 0
        return views[start : start + limit]

    async def wait(self, actor: Actor, environment: str, revision: int, *, percent: float, timeout_s: float) -> Spread:
        """Returns when `percent` of the live instances have applied `revision`, or time is up; the caller compares."""
        authorize(actor, Action.READ, environment)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            changed = self._changed_event(environment)
            if self._has_reached(environment, revision, percent):
                return self.spread(actor, environment, revision)
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return self.spread(actor, environment, revision)

    def _has_reached(self, environment: str, revision: int, percent: float) -> bool:
        """Asked after every report of every instance: it must not look at them one by one."""
        state = self._state(environment)
        found = state.convergence(revision)
        if found is None and revision > state.head.revision:
            return False
        head = Head(state.head.epoch if found is None else found.epoch, revision)
        return state.live > 0 and 100 * state.applied(head) >= percent * state.live

    def events(self, actor: Actor, environment: str) -> AsyncIterator[bytes]:
        """The summary, encoded as JSON, now and after each change; nothing in between. Ends never.

        Raises:
            ForbiddenError: at once, not with the first event.
        """
        authorize(actor, Action.READ, environment)
        return self._follow(environment)

    async def _follow(self, environment: str) -> AsyncIterator[bytes]:
        last = -1
        while True:
            changed = self._changed_event(environment)
            version, event = self._event(environment)
            if version != last:
                last = version
                yield event
                await asyncio.sleep(DEBOUNCE_S)
            else:
                await changed.wait()

    def _event(self, environment: str) -> tuple[int, bytes]:
        state = self._apply(environment)
        cached = self._events.get(environment)
        if cached is None or cached[0] != state.version:
            cached = (state.version, msgspec.json.encode(self._summary(environment)))
            self._events[environment] = cached
        return cached

    def _view(self, environment: str, state: FleetState, seen: Seen) -> InstanceView:
        live = state.is_live(seen.instance)
        return InstanceView(
            seen.instance,
            seen.service,
            seen.sdk_version,
            seen.head.epoch,
            seen.head.revision,
            max(0, state.top.revision - seen.head.revision),
            seen.state,
            round(seen.age_s, 1),
            _instant(seen.first_seen),
            _instant(seen.last_seen),
            live,
            live and self._lags(environment, state, seen),
            round(seen.clock_skew_s, 1),
            seen.schema_level,
            seen.outside if live else (),
        )

    def _lags(self, environment: str, state: FleetState, seen: Seen) -> bool:
        published = self._published_by_now(environment)
        unpublished = published is None or published < state.top
        return seen.instance in self.lagging(environment) or (unpublished and seen.head < state.top)

    def _spread(self, state: FleetState, found: Convergence, now: float) -> Spread:
        head = Head(found.epoch, found.revision)
        behind = state.laggards(now, head)
        applied = state.live - len(behind)
        return Spread(
            found.epoch,
            found.revision,
            _instant(found.published),
            state.live,
            applied,
            _percent(applied, state.live),
            found.took_100_ms if found.took_100_ms is not None else max(0, round((now - found.published) * 1000)),
            found.took_50_ms,
            found.took_95_ms,
            found.took_100_ms,
            tuple(seen.instance for seen in behind[:MAX_NAMED]),
        )

    def _state(self, environment: str) -> FleetState:
        """Reading about an environment that nobody has reported from creates nothing."""
        return self._states.get(environment) or FleetState()

    def _apply(self, environment: str) -> FleetState:
        return self._states.setdefault(environment, FleetState())

    def _changed_event(self, environment: str) -> asyncio.Event:
        return self._changed.setdefault(environment, asyncio.Event())

    def _tell(self, environment: str) -> None:
        """Wakes whoever waits; they take a new event to wait for the next change."""
        event = self._changed.pop(environment, None)
        if event is not None:
            event.set()

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _percent(applied: int, live: int) -> float:
    """To one decimal place; 100 only when it is all of them."""
    if applied >= live:
        return 100.0
    return min(99.9, round(100 * applied / live, 1))


def _instant(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
