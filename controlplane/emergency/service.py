"""Switching safe mode on, longer and off while Postgres is away, by the holder of an operator pass."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

import msgspec

from brownout import wire
from brownout.model.parse import encode
from brownout.model.resources import ResourceRef, SafeModeActivation, Scope
from controlplane.access.actor import Action, Actor, Role, authorize
from controlplane.contract.activations import extended, find_same, read_activation
from controlplane.contract.outages import PROFILE, outage_profile
from controlplane.emergency.book import Book, Place, Told
from controlplane.emergency.carried import MAX_CARRIED, Asked, Carried, Record, Said, read
from controlplane.emergency.values import LIFTED, NOTICE, UNSENT, UNSENT_LIFT, Switched
from controlplane.errors import ConflictError, Fault, InvalidInputError, NotFoundError, UnavailableError
from controlplane.kit.clock import Clock
from controlplane.safemode.outages import choose_outage
from controlplane.safemode.request import ActivationRequest, ExtensionRequest, activation, expiry, reason_faults, refuse
from controlplane.safemode.values import ActiveActivation

WARN = timedelta(minutes=15)
"""So long before the fleet stops applying an activation, its operators are asked to renew it."""

Publish = Callable[[Told], Awaitable[bool]]


class Emergency:
    """`publish` sends a message to the fleet at once; False when there is no connection to NATS."""

    def __init__(self, book: Book, carried: Carried, clock: Clock, *, longest: timedelta) -> None:
        self._book = book
        self._carried = carried
        self._clock = clock
        self.publish: Publish = _nobody
        self.refresh: Callable[[], Awaitable[str]] = _nothing
        """Reads at once what else is read every few seconds."""
        self._longest = longest

    async def activate(self, actor: Actor, environment: str, request: ActivationRequest, key: str) -> Switched:
        """Switches on by a signed message. `key` is the activation's in the log, too: the same one again is the same
        activation. One with the same profile and scope is renewed.

        Raises:
            InvalidInputError: as SafeMode.activate.
            ForbiddenError: the actor may not switch safe mode here.
            NotFoundError: there is no such environment.
            UnavailableError: this replica has never read Postgres.
        """
        authorize(actor, Action.SAFE_MODE, environment)
        place = self._place(environment)
        known = self._carried.find(environment, key)
        if known is not None and known.on is not None:
            return self._switched(known, extended=False, sent=await self.publish(known.on.told))
        now = self._clock.now()
        spec = activation(request, actor.name, now, self._longest)
        spec, profile = _with_profile(place, spec, request)
        refuse(tuple(_scope_faults(place, spec.scope)))
        active = [(record.key, record.spec) for record in self._carried.active(environment, now)]
        same = find_same(active, spec)
        if same is not None:
            key, spec = same[0], extended(same[1], spec)
        elif len(active) >= MAX_CARRIED:
            raise ConflictError(f"the fleet carries {MAX_CARRIED} emergency activations already: lift one")
        record, sent = await self._say(place, key, "on", actor, spec=spec, profile=profile, request=request)
        return self._switched(record, extended=same is not None, sent=sent)

    async def renew(self, actor: Actor, environment: str, key: str, request: ExtensionRequest) -> Switched:
        """Moves the end, and begins another hour. Raises NotFoundError: no such emergency activation is on."""
        authorize(actor, Action.SAFE_MODE, environment)
        record, place, now = self._get(environment, key), self._place(environment), self._clock.now()
        end, faults = expiry(request.expires_at, request.for_s, now, self._longest)
        refuse((*faults, *reason_faults(request.reason)))
        spec = msgspec.structs.replace(record.spec, expires_at=end)
        assert record.on is not None
        asked, message = record.asked(), record.on.message
        record, sent = await self._say(
            place, key, "on", actor, spec=spec, profile=message.profile, request=asked.request if asked else None,
            author=asked.actor if asked else None,
        )  # fmt: skip
        return self._switched(record, extended=True, sent=sent)

    async def lift(self, actor: Actor, environment: str, key: str, reason: str = "") -> Switched:
        """Ends an emergency activation for good. What the log has is not touched: only a commit can end that.

        Raises:
            NotFoundError: no such emergency activation is on.
        """
        authorize(actor, Action.SAFE_MODE, environment)
        refuse(reason_faults(reason))
        self._get(environment, key)
        place, request = self._place(environment), ActivationRequest(reason=reason)
        _, sent = await self._say(place, key, "off", actor, request=request)
        return Switched(environment, key, False, None, LIFTED if sent else UNSENT_LIFT)

    def active(self, environment: str) -> tuple[ActiveActivation, ...]:
        """The emergency activations in force, the soonest to end first."""
        now = self._clock.now()
        found = [self._shown(record, now) for record in self._carried.active(environment, now)]
        return tuple(sorted(found, key=lambda each: each.expires_at))

    def last_known(self, actor: Actor, environment: str) -> tuple[int, tuple[ActiveActivation, ...]]:
        """The revision that this replica read last, and what is on: by that revision, and beside it.

        Raises:
            NotFoundError, UnavailableError: as `activate`.
        """
        authorize(actor, Action.READ, environment)
        place, now = self._place(environment), self._clock.now()
        logged = [ActiveActivation.of(key, read_activation(raw), now) for key, raw in place.activations.items()]
        beside = self.active(environment)
        return place.revision, (*(each for each in logged if each.applies), *beside)

    def profiles(self, actor: Actor, environment: str) -> tuple[str, ...]:
        """The keys of the profiles that can be switched on. Raises UnavailableError, as `last_known`."""
        authorize(actor, Action.SAFE_MODE, environment)
        return tuple(sorted(self._place(environment).profiles))

    def carries(self, environment: str, key: str) -> bool:
        """Whether this is an emergency activation that the log does not have yet."""
        found = self._carried.find(environment, key)
        return found is not None and found.on is not None and found.settled is None

    def can_act(self) -> bool:
        return bool(self._book.places) and self._book.kept.holders.read_at > 0

    def reasons(self) -> dict[str, str]:
        """By environment, what is carried and for how long still."""
        now, found = self._clock.now(), {}
        for environment in {record.environment for record in self._carried.unsettled()}:
            active = self._carried.active(environment, now)
            left = min((record.ends_at - now for record in active), default=None)
            said = f"{len(active)} activations are carried by the fleet until Postgres takes them"
            if left is not None and left < WARN:
                said += f"; the first ends in {max(1, int(left.total_seconds() // 60))} min: renew it"
            found[environment] = said
        return found

    async def settled(self, record: Record, revision: int) -> None:
        """Tells the fleet that the log has it since `revision`."""
        await self._say(self._place(record.environment), record.key, "settled", None, revision=revision)

    def take(self, told: Told) -> bool:
        """Takes what another replica said, if it is genuine, and returns whether it was news: then `keep`. Raises
        wire.UnknownKeyError."""
        place = self._book.places.get(told.environment)
        said = read(told, place.verifier()) if place else None
        return said is not None and self._carried.take(said)

    async def keep(self) -> None:
        """Writes down what is carried."""
        await self._book.keep(msgspec.structs.replace(self._book.kept, told=self._carried.all_told()))

    async def _say(
        self,
        place: Place,
        key: str,
        what: str,
        actor: Actor | None,
        *,
        spec: SafeModeActivation | None = None,
        profile: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET,
        request: ActivationRequest | None = None,
        author: Actor | None = None,
        revision: int = 0,
    ) -> tuple[Record, bool]:
        """Signs and sends a message; returns the record, and whether NATS took it. Raises InvalidInputError."""
        before = self._carried.find(place.key, key)
        at = max(int(self._clock.now().timestamp() * 1000), before.newest() + 1 if before else 0)
        asked = None if actor is None or request is None else Asked(request, _public(author or actor, place.key))
        message = wire.Emergency(
            1, place.key, key, what, at,  # type: ignore[arg-type]
            spec=msgspec.UNSET if spec is None else msgspec.Raw(encode(spec)),
            profile=profile, rev=revision, by=actor.name if actor else "",
            asked=msgspec.UNSET if asked is None else msgspec.Raw(msgspec.json.encode(asked)),
        )  # fmt: skip
        message = _fitting(message, made=spec is not None and spec.profile not in place.profiles)
        payload = msgspec.json.encode(message)
        told = Told(place.key, payload, place.signing_key().sign("emergency", place.key, payload))
        self._carried.take(Said(message, told))
        sent = await self.publish(told)  # first: a disk that hangs must not keep the fleet waiting
        await self.keep()
        found = self._carried.find(place.key, key)
        assert found is not None
        return found, sent

    def _place(self, environment: str) -> Place:
        place = self._book.places.get(environment)
        if place is None and self.can_act():
            raise NotFoundError(f"there is no environment {environment}")
        if place is None:
            raise UnavailableError("the database does not answer, and this replica has never read it")
        return place

    def _get(self, environment: str, key: str) -> Record:
        found = self._carried.find(environment, key)
        if found is None or found.on is None or found.off is not None or found.settled is not None:
            raise NotFoundError(
                f"{key} is no emergency activation. What the log has can be lifted or extended only once Postgres is back"
            )
        return found

    def _switched(self, record: Record, *, extended: bool, sent: bool) -> Switched:
        return Switched(record.environment, record.key, extended, record.ends_at, NOTICE if sent else UNSENT)

    @staticmethod
    def _shown(record: Record, now: datetime) -> ActiveActivation:
        shown = ActiveActivation.of(record.key, record.spec, now)
        left_s = max(0.0, (record.ends_at - now).total_seconds())
        return msgspec.structs.replace(
            shown, expires_at=record.ends_at, left_s=left_s, overdue=False, origin="emergency"
        )


async def _nothing() -> str:
    return ""


async def _nobody(told: Told) -> bool:  # noqa: ARG001
    return False


def _with_profile(
    place: Place, spec: SafeModeActivation, request: ActivationRequest
) -> tuple[SafeModeActivation, msgspec.Raw | msgspec.UnsetType]:
    """`spec` with the profile that it switches on, and that profile's spec. Raises InvalidInputError."""
    if request.exclude_providers:
        resources = {ResourceRef(PROFILE, key): raw for key, raw in place.profiles.items()}
        key, there = choose_outage(resources, request.exclude_providers)
        spec = msgspec.structs.replace(spec, profile=key)
        if not there:
            return spec, msgspec.Raw(encode(outage_profile(request.exclude_providers)))
    raw = place.profiles.get(spec.profile)
    if raw is None:
        message = (
            f"there is no safe-mode profile {spec.profile}; there are {', '.join(sorted(place.profiles)) or 'none'}"
        )
        raise InvalidInputError(message, (Fault("unknown_reference", message, "/profile"),))
    return spec, msgspec.Raw(raw)


def _scope_faults(place: Place, scope: Scope) -> Iterator[Fault]:
    """What the log would refuse: a request class or cohort that does not exist. Services and providers have no list."""
    for field, what, named, known in (
        ("request_classes", "request class", scope.request_classes, place.classes),
        ("cohorts", "cohort", scope.cohorts, place.cohorts),
    ):
        for index, key in enumerate(named):
            if known is not None and key not in known:
                yield Fault("unknown_reference", f"there is no {what} {key!r}", f"/scope/{field}/{index}")


def _fitting(message: wire.Emergency, *, made: bool) -> wire.Emergency:
    """`message`, or as much of it as SDKs read. They hold the profile, or take the strictest. The commit can be made from
    the activation alone, unless its profile is `made` on the way.

    Raises:
        InvalidInputError: even that is too large, so SDKs would drop it.
    """
    smaller = msgspec.structs.replace(message, profile=msgspec.UNSET)
    smallest = smaller if made else msgspec.structs.replace(smaller, asked=msgspec.UNSET)
    for each in (message, smaller, smallest):
        if len(msgspec.json.encode(each)) <= wire.MAX_EMERGENCY_BYTES:
            return each
    said = "the scope and the reason are too long to send without Postgres. Nothing was switched: shorten them"
    raise InvalidInputError(said, (Fault("too_long", said, "/scope"),))


def _public(actor: Actor, environment: str) -> Actor:
    """Who acted, for the commit. SDKs hear it, so it says nothing of where from, by which credential, or what else they
    may do."""
    grants = {environment: frozenset({Role.OPERATOR})}
    return Actor(actor.kind, actor.name, grants, person=actor.person, machine=actor.machine)
