"""Asking what an activation would do, before anybody confirms it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from brownout.model.resources import ResourceRef, SafeModeActivation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.evaluations import Evaluations
from controlplane.contract.kinds import words
from controlplane.errors import Fault, InvalidInputError
from controlplane.kit.clock import Clock
from controlplane.safemode.blast import blast_radius
from controlplane.safemode.request import MIN_DURATION, ActivationRequest
from controlplane.safemode.values import BlastRadius, Reach, in_scope


class Running(Protocol):
    """What we need of telemetry: what runs in an environment now."""

    def live_services(self, actor: Actor, environment: str) -> Sequence[str]:
        """The service of each live instance."""
        ...

    async def request_rates(self, actor: Actor, environment: str) -> Mapping[str, float]:
        """Requests a minute by request class."""
        ...


class SafeModePreview:
    def __init__(self, evaluations: Evaluations, clock: Clock, running: Running) -> None:
        self._evaluations = evaluations
        self._clock = clock
        self._running = running

    async def preview(self, actor: Actor, environment: str, request: ActivationRequest) -> BlastRadius:
        """The blast radius of `request` now. Its reason and end do not matter yet.

        Raises:
            InvalidInputError: there is no such profile, request class or cohort.
        """
        authorize(actor, Action.READ, environment)
        compiled = await self._evaluations.compiled(environment)
        faults = tuple(_unknown(request, compiled.resources.keys()))
        if faults:
            raise InvalidInputError(faults[0].message, faults)
        now = self._clock.now()
        spec = SafeModeActivation(
            profile=request.profile,
            reason="preview",
            actor=actor.name,
            activated_at=now,
            expires_at=now + MIN_DURATION,
            scope=request.scope,
        )
        radius = blast_radius(compiled.resources, compiled.revision, spec, now)
        return msgspec.structs.replace(radius, reach=await self._reach(actor, environment, radius))

    async def _reach(self, actor: Actor, environment: str, radius: BlastRadius) -> Reach:
        touched = {row.request_class for row in radius.request_classes}
        rates = await self._running.request_rates(actor, environment)
        services = self._running.live_services(actor, environment)
        return Reach(
            requests_per_min=sum(rate for name, rate in rates.items() if name in touched),
            of_requests_per_min=sum(rates.values()),
            instances=sum(in_scope(radius.scope, service) for service in services),
            of_instances=len(services),
        )


def _unknown(request: ActivationRequest, present: Collection[ResourceRef]) -> Iterator[Fault]:
    named = [("safe_mode_profile", request.profile, "/profile")]
    named += [("cohort", key, f"/scope/cohorts/{i}") for i, key in enumerate(request.scope.cohorts)]
    named += [
        ("request_class", key, f"/scope/request_classes/{i}") for i, key in enumerate(request.scope.request_classes)
    ]
    for kind, key, pointer in named:
        if ResourceRef(kind, key) not in present:
            yield Fault("unknown_reference", f"there is no {words(kind)} {key!r}", pointer)
