"""Flip safe mode: on, longer, off. Each is one commit, and history is derived from those commits."""

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec

from brownout.model import SafeModeActivation
from brownout.parse import encode
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.changes import ACTIVATION, Changes
from controlplane.clock import Clock
from controlplane.errors import NotFoundError
from controlplane.pointers import RESOURCE, pointing_into
from controlplane.safemode.messages import said
from controlplane.safemode.request import ActivationRequest, ExtensionRequest, activation, expiry, reason_faults, refuse
from controlplane.safemode.values import ActiveActivation
from controlplane.store import IdempotencyKeyReusedError, Store, every_spec
from controlplane.store.values import Commit

MAX_MESSAGE = 2_000
"""Of a commit; a longer reason stays whole in the activation."""

_decode: Callable[[bytes], SafeModeActivation] = msgspec.json.Decoder(SafeModeActivation).decode


class Switched(NamedTuple):
    """An activation was put or lifted by `commit`."""

    key: str
    commit: Commit


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

    async def activate(
        self, actor: Actor, environment: str, request: ActivationRequest, *, idempotency_key: str | None = None
    ) -> Switched:
        """Switches safe mode on by one commit.

        Raises:
            InvalidInputError: no reason, no end, an end in the past or too far, an unknown profile or scope.
            ForbiddenError: the actor may not switch safe mode here.
            IdempotencyKeyReusedError: the key belongs to another activation of this actor's.
        """
        authorize(actor, Action.SAFE_MODE, environment)
        now = self._clock.now()
        key = f"{now:%Y%m%d-%H%M%S}-{self._token()}"
        if idempotency_key is not None:
            key = "once-" + sha256(f"{actor.name}\0{idempotency_key}".encode()).hexdigest()[:24]
            if (earlier := await self._earlier(environment, key, request)) is not None:
                return earlier
        spec = activation(request, actor.name, now, self._longest)
        message = said("on", spec, spec.reason)
        once = key if idempotency_key is not None else None  # for those who ask at once; history tells the later ones
        commit = await self._write(actor, environment, key, spec, message=message, idempotency_key=once, asked=request)
        return Switched(key, commit)

    async def extend(self, actor: Actor, environment: str, key: str, request: ExtensionRequest) -> Switched:
        """Moves the end of an activation, later or sooner."""
        authorize(actor, Action.SAFE_MODE, environment)
        present, head = await self._present(environment, key)
        end, faults = expiry(request.expires_at, request.for_s, self._clock.now(), self._longest)
        refuse((*faults, *reason_faults(request.reason)))
        spec = msgspec.structs.replace(present, expires_at=end)
        message = said("changed", spec, request.reason)
        return Switched(key, await self._write(actor, environment, key, spec, message=message, expected_revision=head))

    async def lift(self, actor: Actor, environment: str, key: str, reason: str = "") -> Switched:
        """Switches one activation off. What others tighten stays tight."""
        authorize(actor, Action.SAFE_MODE, environment)
        refuse(reason_faults(reason))
        present, _ = await self._present(environment, key)
        commit = await self._changes.commit(
            actor,
            environment,
            (Operation("del", ACTIVATION, key),),
            said("off", present, reason)[:MAX_MESSAGE],
            action=Action.SAFE_MODE,
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
        present, _ = await self._present(environment, key)
        return ActiveActivation.of(key, present, self._clock.now())

    async def _earlier(self, environment: str, key: str, request: ActivationRequest) -> Switched | None:
        """What a repeated request did the first time, whatever became of it since. Raises IdempotencyKeyReusedError."""
        commits = await self._store.list_commits(environment, kind=ACTIVATION, key=key, limit=500)
        if not commits:
            return None
        first = await self._store.get_commit(environment, commits[-1].revision)
        made = next(change.after for change in first.changes if change.key == key)
        assert made is not None, "the first commit of a resource puts it"
        spec = _decode(made)
        if activation(request, spec.actor, spec.activated_at, self._longest) != spec:
            raise IdempotencyKeyReusedError("this idempotency key was used for another activation")
        return Switched(key, msgspec.structs.replace(first, replayed=True))

    async def _present(self, environment: str, key: str) -> tuple[SafeModeActivation, int]:
        head = await self._store.head(environment)
        found = await self._store.find_resource(environment, ACTIVATION, key)
        if found is None:
            raise NotFoundError(f"{environment} has no activation {key}: it was lifted, or has expired")
        return _decode(found.spec), head.revision

    async def _write(
        self,
        actor: Actor,
        environment: str,
        key: str,
        spec: SafeModeActivation,
        *,
        message: str,
        expected_revision: int | None = None,
        idempotency_key: str | None = None,
        asked: object = None,
    ) -> Commit:
        op = Operation("put", ACTIVATION, key, msgspec.Raw(encode(spec)))
        with pointing_into(RESOURCE, (op,)):  # a request's fields are called as the activation's
            return await self._changes.commit(
                actor,
                environment,
                (op,),
                message[:MAX_MESSAGE],
                action=Action.SAFE_MODE,
                expected_revision=expected_revision,
                idempotency_key=idempotency_key,
                asked=asked,
            )


async def find_all(store: Store, environment: str, now: datetime) -> tuple[ActiveActivation, ...]:
    """Every activation in the document, the expired ones too."""
    found = await every_spec(store, environment, ACTIVATION, SafeModeActivation)
    return tuple(ActiveActivation.of(key, spec, now) for key, spec in found)
