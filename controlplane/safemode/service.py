"""Flip safe mode: on, longer, off. Each is one commit, and history is derived from those commits."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from brownout.model.parse import encode
from brownout.model.resources import ResourceRef, SafeModeActivation
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import ACTIVATION, Changes, WouldOverwriteError
from controlplane.configuration.store import (
    IdempotencyKeyReusedError,
    StaleRevisionError,
    Store,
    every_resource,
    every_spec,
)
from controlplane.configuration.store.errors import ChangedMeanwhileError
from controlplane.configuration.store.values import Commit, Resource
from controlplane.contract.activations import extended, find_same, read_activation
from controlplane.contract.outages import outage_keys, outage_put
from controlplane.contract.pointers import RESOURCE, pointing_into
from controlplane.contract.specs import find_spec, is_newer
from controlplane.errors import ConflictError, NewerVersionError, NotFoundError
from controlplane.kit.clock import Clock
from controlplane.safemode.messages import said
from controlplane.safemode.outages import find_outage
from controlplane.safemode.request import ActivationRequest, ExtensionRequest, activation, expiry, reason_faults, refuse
from controlplane.safemode.values import ActiveActivation

MAX_MESSAGE = 2_000
"""Of a commit; a longer reason stays whole in the activation."""


_SAME_END = timedelta(seconds=2)
"""Two replicas that heard the same request name ends which differ by less than this."""

ATTEMPTS = 5
"""How often an activation looks for one to extend while others commit; then it is added, whatever they did."""


class Switched(NamedTuple):
    """An activation was put or lifted by `commit`. `extended`: it was on before."""

    key: str
    commit: Commit
    extended: bool = False
    expires_at: datetime | None = None
    """None: it is lifted."""

    @property
    def spec(self) -> SafeModeActivation:
        """The activation as the commit put it, or as it was when it was lifted."""
        change = next(change for change in self.commit.changes if change.kind == ACTIVATION)
        return read_activation(change.after if change.after is not None else change.before)


class _MovedError(ConflictError):
    """What was to be extended is not as it was read."""


class SafeMode:
    """`token` answers a few random characters: two activations in one second need different keys."""

    def __init__(
        self, store: Store, changes: Changes, clock: Clock, token: Callable[[], str], longest: timedelta
    ) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock
        self._token = token
        self._longest = longest
        # Within a process they take turns: those that asked at once would not find one another to extend.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def activate(
        self,
        actor: Actor,
        environment: str,
        request: ActivationRequest,
        *,
        idempotency_key: str | None = None,
        key: str = "",
    ) -> Switched:
        """Switches safe mode on by one commit: one more activation, or a later end for the one that has the same profile
        and scope. When it names providers instead of a profile, the same commit makes the profile, unless there is one.
        `key` is one from `new_key`: its holder can find out later whether the log took the activation.

        Raises:
            InvalidInputError: no reason, no end, an end in the past or too far, an unknown profile or scope.
            ForbiddenError: the actor may not switch safe mode here.
            TooManyActivationsError: there are so many that only a person may add one.
            IdempotencyKeyReusedError: the key belongs to another activation of this actor's.
        """
        authorize(actor, Action.SAFE_MODE, environment)
        now = self._clock.now()
        once = key or None
        key = key or self.new_key(actor, idempotency_key)
        if idempotency_key is not None:
            once = key
            if (earlier := await self._earlier(environment, key, request)) is not None:
                return earlier
        spec = activation(request, actor.name, now, self._longest)
        async with self._turns.setdefault(environment, asyncio.Lock()):
            for _ in range(ATTEMPTS):
                with suppress(StaleRevisionError, WouldOverwriteError, _MovedError):
                    return _switched(await self._extend_or_add(actor, environment, key, spec, once=once, asked=request))
        spec, made = await self._with_profile(environment, spec, request)
        ops, message = (*made, self._put(key, spec)), said("on", spec, spec.reason)
        return _switched(await self._write(actor, environment, ops, message, idempotency_key=once, asked=request))

    def new_key(self, actor: Actor, idempotency_key: str | None = None) -> str:
        """The key of an activation to come. The same idempotency key of the same actor gives the same one."""
        if idempotency_key is None:
            return f"{self._clock.now():%Y%m%d-%H%M%S}-{self._token()}"
        return "once-" + sha256(f"{actor.name}\0{idempotency_key}".encode()).hexdigest()[:24]

    async def adopt(
        self,
        actor: Actor,
        environment: str,
        key: str,
        spec: SafeModeActivation,
        request: ActivationRequest,
        *,
        alone: bool,
    ) -> int:
        """Takes an activation that began without the log, as one commit, and returns the revision that has it. The log
        may have it already: by another replica, or by the request that got no answer. An activation may have ended
        before Postgres came back; history has it all the same, and a `hold` still applies.

        `alone`: it is over, so nothing else is extended for it.
        """
        commits = await self._store.list_commits(environment, kind=ACTIVATION, key=key, limit=500)
        if commits:
            return await self._renewed(actor, environment, key, spec) or commits[-1].revision
        try:
            async with self._turns.setdefault(environment, asyncio.Lock()):
                for _ in range(0 if alone else ATTEMPTS):
                    with suppress(StaleRevisionError, WouldOverwriteError, _MovedError):
                        commit = await self._extend_or_add(
                            actor, environment, key, spec, once=key, asked=request, ended=True
                        )
                        return commit.revision
            _, made = await self._with_profile(environment, spec, request)
            ops, message = (*made, self._put(key, spec)), said("on", spec, spec.reason)
            commit = await self._write(actor, environment, ops, message, idempotency_key=key, asked=request, ended=True)
            return commit.revision
        except IdempotencyKeyReusedError:  # the log has it, in the words of another version
            return (await self._store.head(environment)).revision

    async def _renewed(self, actor: Actor, environment: str, key: str, spec: SafeModeActivation) -> int | None:
        """The log has an earlier end of it than operators asked for meanwhile."""
        found = await self._store.find_resource(environment, ACTIVATION, key)
        present = find_spec(found.spec, SafeModeActivation) if found else None
        if found is None or present is None or present.expires_at >= spec.expires_at - _SAME_END:
            return None
        longer = msgspec.structs.replace(present, expires_at=spec.expires_at)
        bases = {ResourceRef(ACTIVATION, key): found.revision}
        ops = (self._put(key, longer),)
        message = said("changed", longer, spec.reason)
        return (await self._write(actor, environment, ops, message, bases=bases, ended=True)).revision

    async def lift_if_on(self, actor: Actor, environment: str, key: str, reason: str) -> int | None:
        """Lifts it; None when it is off already."""
        with suppress(NotFoundError):
            return (await self.lift(actor, environment, key, reason)).commit.revision
        return None

    async def _with_profile(
        self, environment: str, spec: SafeModeActivation, request: ActivationRequest
    ) -> tuple[SafeModeActivation, tuple[Operation, ...]]:
        """`spec` with the profile that excludes the providers asked for, and the operation that makes it when there is
        none."""
        providers = request.exclude_providers
        if not providers:
            return spec, ()
        profile, there = await find_outage(self._store, environment, providers)
        spec = msgspec.structs.replace(spec, profile=profile)
        return spec, () if there else (outage_put(profile, providers),)

    async def _extend_or_add(
        self,
        actor: Actor,
        environment: str,
        key: str,
        spec: SafeModeActivation,
        *,
        once: str | None,
        asked: ActivationRequest,
        ended: bool = False,
    ) -> Commit:
        """Raises StaleRevisionError, WouldOverwriteError or _MovedError when what it found was no longer true when it
        committed."""
        head = await self._store.head(environment)
        present = await every_spec(self._store, environment, ACTIVATION, SafeModeActivation, exact=True)
        spec, made = await self._with_profile(environment, spec, asked)
        same = find_same(present, spec)
        if same is None:
            return await self._write(
                actor, environment, (*made, self._put(key, spec)), said("on", spec, spec.reason),
                expected_revision=head.revision, idempotency_key=once, asked=asked, ended=ended,
            )  # fmt: skip

        def unmoved(commit: Commit) -> None:
            before = commit.changes[0].before
            if before is None or read_activation(before) != same[1]:
                raise _MovedError(f"{same[0]} was changed meanwhile")

        longer = extended(same[1], spec)
        return await self._write(
            actor, environment, (self._put(same[0], longer),), said("changed", longer, spec.reason),
            idempotency_key=once, asked=asked, guard=unmoved, ended=ended,
        )  # fmt: skip

    async def extend(
        self, actor: Actor, environment: str, key: str, request: ExtensionRequest, *, seen: int | None = None
    ) -> Switched:
        """Moves the end of an activation, later or sooner. `seen`: the environment's revision that the actor saw.

        Raises:
            ChangedMeanwhileError: someone changed the activation after `seen`, or at this very moment.
            NewerVersionError: this version cannot read the activation at all.
        """
        authorize(actor, Action.SAFE_MODE, environment)
        found, bases = await self._present(environment, key, seen)
        present = find_spec(found.spec, SafeModeActivation)
        if present is None:
            raise NewerVersionError(
                f"a newer version of Brownout wrote {key}, and this control plane cannot read when it ends. Nothing was "
                "saved: lift it, or use a control plane of that version"
            )
        end, faults = expiry(request.expires_at, request.for_s, self._clock.now(), self._longest)
        refuse((*faults, *reason_faults(request.reason)))
        spec = msgspec.structs.replace(present, expires_at=end)
        message = said("changed", spec, request.reason)
        commit = await self._write(actor, environment, (self._put(key, spec),), message, bases=bases)
        return Switched(key, commit, extended=True, expires_at=end)

    async def lift(
        self, actor: Actor, environment: str, key: str, reason: str = "", *, seen: int | None = None
    ) -> Switched:
        """Switches one activation off. What others tighten stays tight. `seen` and errors as in `extend`."""
        authorize(actor, Action.SAFE_MODE, environment)
        refuse(reason_faults(reason))
        found, bases = await self._present(environment, key, seen)
        commit = await self._changes.commit(
            actor,
            environment,
            (Operation("del", ACTIVATION, key),),
            said("off", read_activation(found.spec), reason)[:MAX_MESSAGE],
            action=Action.SAFE_MODE,
            bases=bases,
        )
        return Switched(key, commit)

    async def active(self, actor: Actor, environment: str) -> tuple[ActiveActivation, ...]:
        """What is switched on, the soonest to end first; an overdue `hold` still applies."""
        authorize(actor, Action.READ, environment)
        found = await find_all(self._store, environment, self._clock.now())
        return tuple(sorted((a for a in found if a.applies), key=lambda a: a.expires_at))

    async def get(self, actor: Actor, environment: str, key: str) -> ActiveActivation:
        """Raises NotFoundError when it is not (or no longer) on."""
        authorize(actor, Action.READ, environment)
        found, _ = await self._present(environment, key)
        newer = is_newer(ACTIVATION, found.spec)
        return ActiveActivation.of(key, read_activation(found.spec), self._clock.now(), newer=newer)

    async def _earlier(self, environment: str, key: str, request: ActivationRequest) -> Switched | None:
        """What a repeated request did the first time, whatever became of it since. Raises IdempotencyKeyReusedError."""
        commits = await self._store.list_commits(environment, kind=ACTIVATION, key=key, limit=500)
        if not commits:
            return None
        first = await self._store.get_commit(environment, commits[-1].revision)
        spec = read_activation(next(change.after for change in first.changes if change.key == key))
        asked = activation(request, spec.actor, spec.activated_at, self._longest)
        if request.exclude_providers and spec.profile in outage_keys(request.exclude_providers):
            asked = msgspec.structs.replace(asked, profile=spec.profile)
        if asked != spec:
            raise IdempotencyKeyReusedError("this idempotency key was used for another activation")
        return _switched(msgspec.structs.replace(first, replayed=True))

    async def _present(
        self, environment: str, key: str, seen: int | None = None
    ) -> tuple[Resource, Mapping[ResourceRef, int]]:
        await self._store.head(environment)
        ref = ResourceRef(ACTIVATION, key)
        found = await self._store.find_resource(environment, ACTIVATION, key)
        if found is None:
            raise NotFoundError(f"{environment} has no activation {key}: it was lifted, or has expired")
        if seen is not None and found.revision > seen:
            raise ChangedMeanwhileError(ref, seen, found.revision)
        return found, {ref: found.revision}

    @staticmethod
    def _put(key: str, spec: SafeModeActivation) -> Operation:
        return Operation("put", ACTIVATION, key, msgspec.Raw(encode(spec)))

    async def _write(
        self,
        actor: Actor,
        environment: str,
        ops: tuple[Operation, ...],
        message: str,
        *,
        expected_revision: int | None = None,
        bases: Mapping[ResourceRef, int] | None = None,
        idempotency_key: str | None = None,
        asked: object = None,
        guard: Callable[[Commit], None] | None = None,
        ended: bool = False,
    ) -> Commit:
        with pointing_into(RESOURCE, ops):  # a request's fields are called as the activation's
            return await self._changes.commit(
                actor,
                environment,
                ops,
                message[:MAX_MESSAGE],
                action=Action.SAFE_MODE,
                expected_revision=expected_revision,
                bases=bases,
                idempotency_key=idempotency_key,
                asked=asked,
                guard=guard,
                ended=ended,
            )


def _switched(commit: Commit) -> Switched:
    """What a commit switched on; a replayed one may have extended another activation than it would now."""
    change = next(change for change in commit.changes if change.kind == ACTIVATION and change.after is not None)
    return Switched(change.key, commit, change.before is not None, read_activation(change.after).expires_at)


async def find_all(store: Store, environment: str, now: datetime) -> tuple[ActiveActivation, ...]:
    """Every activation in the document that can be read, the expired ones too."""
    there = await every_resource(store, environment, ACTIVATION)
    read = ((each, find_spec(each.spec, SafeModeActivation)) for each in there)
    return tuple(
        ActiveActivation.of(each.key, spec, now, newer=is_newer(ACTIVATION, each.spec))
        for each, spec in read
        if spec is not None
    )
