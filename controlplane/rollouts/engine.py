"""Runs every environment's rollouts, in every replica. Whoever commits first has acted: the commit names the revision it
was decided on, so a second one is refused and decides again on what is then true (ADR 0072)."""

import asyncio
import contextlib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import structlog

from brownout.model.resources import Flag, ResourceRef, Rollout, SafeModeActivation
from brownout.wire import Operation
from controlplane.access.actor import Action, system_actor
from controlplane.configuration.changes import ACTIVATION, Changes
from controlplane.configuration.store import Store, every_resource
from controlplane.configuration.store.values import Commit, Head
from controlplane.contract.activations import TooManyActivationsError
from controlplane.contract.rollout_rules import expected, obstacle, owned
from controlplane.contract.specs import find_spec, get_spec, is_newer
from controlplane.errors import ConflictError, NotFoundError, UnavailableError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.clock import Clock
from controlplane.kit.tasks import run_together
from controlplane.rollouts import moves
from controlplane.rollouts.decide import Decision, look
from controlplane.rollouts.facts import FactReader
from controlplane.rollouts.values import Judged

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How long Postgres may take for one environment's rollouts."""

TICK_S = 2.0
"""What only time and traffic change is looked at so often."""

GATHER_S = 0.2
"""After a commit woke us: what is committed in so short a time is looked at together."""

ATTEMPTS = 3
"""How often a decision is made again at once because somebody else committed meanwhile."""

STEERED = frozenset({"running", "paused"})


class Context(msgspec.Struct, frozen=True):
    """A rollout and what surrounds it, as of `revision`."""

    environment: str
    key: str
    revision: int
    rollout: Rollout
    flag: Flag
    request_classes: tuple[str, ...]
    """Those that the flag governs."""
    safe_mode: Mapping[str, str]
    """Activations in force that touch them, each with its profile."""
    activations: tuple[tuple[str, SafeModeActivation], ...] = ()
    """Those that this version knows every word of, with their keys: others are not its to extend."""

    @property
    def profiles(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.safe_mode.values())))


class Steered(msgspec.Struct, frozen=True):
    """A rollout that runs or is paused, its flag, and the request classes that the flag governs."""

    key: str
    rollout: Rollout
    flag: Flag
    request_classes: tuple[str, ...]


class Activations(msgspec.Struct, frozen=True):
    """An environment's activations, by key."""

    all: tuple[tuple[str, SafeModeActivation], ...] = ()
    """As SDKs read them."""
    newer: frozenset[str] = frozenset()
    """Keys of those that say more than this version knows."""

    @property
    def known(self) -> tuple[tuple[str, SafeModeActivation], ...]:
        return tuple(each for each in self.all if each[0] not in self.newer)


class Reading(msgspec.Struct, frozen=True):
    """What an environment holds of rollouts at a revision; `trouble` names one that cannot be read."""

    head: Head
    steered: tuple[Steered, ...] = ()
    activations: Activations = Activations()
    trouble: str = ""


async def read_activations(store: Store, environment: str) -> Activations:
    found = await every_resource(store, environment, ACTIVATION)
    read = ((each.key, find_spec(each.spec, SafeModeActivation)) for each in found)
    newer = frozenset(each.key for each in found if is_newer(ACTIVATION, each.spec))
    return Activations(tuple((key, spec) for key, spec in read if spec is not None), newer)


async def read_context(store: Store, environment: str, key: str, now: datetime) -> Context:
    """Reads the head first: what is read later can only be newer, and then the commit is refused.

    Raises:
        NotFoundError: there is no such rollout.
        NewerVersionError: this version cannot read it, or its flag.
    """
    head = await store.head(environment)
    activations = await read_activations(store, environment)
    found = await store.get_resource(environment, "rollout", key)
    rollout = get_spec(ResourceRef("rollout", key), found.spec, Rollout)
    return _context(head, activations, await _read_steered(store, environment, key, rollout), now)


async def read_environment(store: Store, environment: str) -> Reading:
    """Everything that is steered, whatever of it cannot be read."""
    head, turn, rollouts = await store.head(environment), Turn("rollouts"), []
    for resource in await every_resource(store, environment, "rollout"):
        with turn.item(f"{environment} {resource.key}"):
            rollout = get_spec(ResourceRef("rollout", resource.key), resource.spec, Rollout)
            if rollout.progress.state in STEERED:
                rollouts.append((resource.key, rollout))
    if not rollouts:
        return Reading(head, trouble=turn.trouble)
    activations = await read_activations(store, environment)
    steered = []
    for key, rollout in rollouts:
        with turn.item(f"{environment} {key}"):
            steered.append(await _read_steered(store, environment, key, rollout))
    return Reading(head, tuple(steered), activations, turn.trouble)


async def _read_steered(store: Store, environment: str, key: str, rollout: Rollout) -> Steered:
    found = await store.get_resource(environment, "flag", rollout.flag)
    flag = get_spec(ResourceRef("flag", rollout.flag), found.spec, Flag)
    dependants = await store.list_dependants(environment, "flag", rollout.flag)
    return Steered(key, rollout, flag, tuple(sorted(ref.key for ref in dependants if ref.kind == "request_class")))


def _context(head: Head, activations: Activations, what: Steered, now: datetime) -> Context:
    touching = {
        key: activation.profile
        for key, activation in activations.all
        if _in_force(activation, now) and _touches(activation, what.request_classes)
    }
    return Context(
        head.environment, what.key, head.revision, what.rollout, what.flag, what.request_classes, touching,
        activations.known,
    )  # fmt: skip


def _in_force(activation: SafeModeActivation, now: datetime) -> bool:
    return activation.activated_at <= now and (now < activation.expires_at or activation.on_expiry == "hold")


def _touches(activation: SafeModeActivation, classes: Sequence[str]) -> bool:
    """A flag that governs no request class may be used anywhere: any activation touches it."""
    scope = activation.scope.request_classes
    return not scope or not classes or not set(scope).isdisjoint(classes)


class Engine:
    """`run` until cancelled, and `wake` it at every commit; `tick` is one round over everything."""

    def __init__(self, store: Store, changes: Changes, facts: FactReader, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._facts = facts
        self._clock = clock
        self._committed: set[str] = set()
        self._woken = asyncio.Event()
        self._readings: dict[str, Reading] = {}
        """By environment, good until its next revision: between commits only evidence is read."""
        self._trouble = ""
        """What the present look at everything met."""

    def wake(self, environment: str) -> None:
        """Something was committed to `environment`: where safe mode was lifted, rollouts go on at once."""
        self._committed.add(environment)
        self._woken.set()

    async def run(self) -> None:
        await run_together(self._poll(), self._follow())

    async def tick(self) -> None:
        turn, environments = Turn("rollouts"), await self._store.list_environments()
        for environment in environments:
            beat("rollouts.poll", LOOK_S)
            with turn.item(environment.key):
                await self._look_at(environment.key, turn, (environment.epoch, environment.revision))
        self._trouble = turn.trouble
        for gone in self._readings.keys() - {environment.key for environment in environments}:
            del self._readings[gone]

    async def _poll(self) -> None:
        while True:
            try:
                await self.tick()
            except UnavailableError as error:
                log.warning("rollouts_wait", error=error.message)
                self._trouble = words(error)
            beat("rollouts.poll", TICK_S, self._trouble)
            await asyncio.sleep(TICK_S)

    async def _follow(self) -> None:
        while True:
            beat("rollouts.follow", math.inf)
            await self._woken.wait()
            self._woken.clear()
            committed, self._committed = self._committed, set()
            turn = Turn("rollouts")
            for environment in committed:
                beat("rollouts.follow", LOOK_S)
                with contextlib.suppress(UnavailableError), turn.item(environment):
                    await self._look_at(environment, turn)  # the next poll says what is wrong, or finds what we missed
            await asyncio.sleep(GATHER_S)

    async def _look_at(self, environment: str, turn: Turn, at: tuple[int, int] | None = None) -> None:
        """`at` is the epoch and revision that the environment is known to have; None: read all of it anew."""
        reading = self._readings.get(environment)
        if reading is None or at != (reading.head.epoch, reading.head.revision):
            reading = self._readings[environment] = await read_environment(self._store, environment)
        turn.trouble = turn.trouble or reading.trouble
        for steered in reading.steered:
            with turn.item(f"{environment} {steered.key}"):  # the guardrails of the others hold
                await self._steer(reading, steered)

    async def _steer(self, reading: Reading, steered: Steered) -> None:
        environment, now = reading.head.environment, self._clock.now()
        context = _context(reading.head, reading.activations, steered, now)
        for attempt in range(ATTEMPTS):
            try:
                if attempt:
                    context = await read_context(self._store, environment, steered.key, self._clock.now())
                if context.rollout.progress.state in STEERED:
                    await self._act(context)
            except ConflictError:
                continue
            except NotFoundError:
                pass
            return

    async def look(self, context: Context) -> tuple[Decision, tuple[Judged, ...]]:
        """What would be done now, and on which evidence."""
        facts = await self._facts.read(context.environment, context.key, context.rollout)
        return await asyncio.to_thread(look, context.rollout, facts, context.profiles, self._clock.now())

    async def _act(self, context: Context) -> None:
        decision, _ = await self.look(context)
        decision = held(context, decision)
        if decision.act == "wait":
            return
        try:
            commit = await self._commit(context, decision)
        except TooManyActivationsError as error:  # the move itself must not wait for a person
            log.error(
                "rollout_without_safe_mode", environment=context.environment, rollout=context.key, why=error.message
            )
            why = f"{decision.why} Safe mode was not switched on: there are too many activations."
            commit = await self._commit(context, msgspec.structs.replace(decision, profile=None, why=why))
        log.info("rollout_moved", environment=context.environment, rollout=context.key, act=decision.act,
                 why=decision.why, revision=commit.revision)  # fmt: skip

    async def _commit(self, context: Context, decision: Decision) -> Commit:
        return await self._changes.commit(
            system_actor(f"rollout:{context.key}"),
            context.environment,
            self._operations(context, decision),
            decision.why,
            action=Action.ROLLOUT,
            expected_revision=context.revision,
            machine="rollout",
        )

    def _operations(self, context: Context, decision: Decision) -> list[Operation]:
        now = self._clock.now()
        assert decision.act != "wait"
        after = moves.move(context.rollout, decision.act, decision.why, now, paused_by=decision.paused_by)
        ops = moves.operations(context.key, after, context.flag)
        if decision.profile is not None and context.request_classes:  # an empty scope would be everybody
            ops.append(
                moves.activation(
                    context.key,
                    context.rollout,
                    decision.profile,
                    context.request_classes,
                    why=decision.why,
                    now=now,
                    present=context.activations,
                )
            )
        return ops


def held(context: Context, decision: Decision) -> Decision:
    """The decision, unless it would go on although a rule that somebody put before the rollout's catches everyone."""
    if decision.act not in {"advance", "complete"}:
        return decision
    found = obstacle(context.flag, context.key, context.rollout)
    if found is None or found[0] > context.rollout.progress.stage:
        return decision
    why = f"held: the rule {found[1].id} of the flag comes first and catches everyone, so the rollout serves no one"
    return Decision("wait", why)


def edited_meanwhile(context: Context) -> bool:
    """Whether somebody changed the rollout's own rules in the flag behind its back."""
    return context.rollout.progress.state in STEERED and owned(context.flag, context.key) != expected(
        context.rollout, context.key
    )
