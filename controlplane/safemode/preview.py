"""Asking what an activation would do, before anybody confirms it."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode
from brownout.model.resources import ResourceRef, SafeModeActivation, SafeModeProfile
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.evaluations import Evaluations
from controlplane.contract.kinds import words
from controlplane.contract.outages import PROFILE, outage_profile
from controlplane.contract.specs import find_spec
from controlplane.errors import Fault, InvalidInputError
from controlplane.kit.clock import Clock
from controlplane.safemode.blast import Blast, blast_radius
from controlplane.safemode.outages import choose_outage
from controlplane.safemode.request import MIN_DURATION, ActivationRequest, profile_faults, refuse
from controlplane.safemode.values import BlastRadius, Reach, in_scope
from controlplane.safemode.warnings import SafeModeWarnings

KEPT = 4
"""Revisions that are kept compiled for previews."""


class Running(Protocol):
    """What we need of telemetry: what runs in an environment now."""

    def live_services(self, actor: Actor, environment: str) -> Sequence[str]:
        """The service of each live instance."""
        ...

    async def request_rates(self, actor: Actor, environment: str) -> Mapping[str, float]:
        """Requests a minute by request class."""
        ...


class SafeModePreview:
    """Compares in a thread, one preview at a time, with what it compiled for the revision before: the event loop goes on,
    and a second click costs what the activation changes."""

    def __init__(
        self, evaluations: Evaluations, clock: Clock, running: Running, warnings: SafeModeWarnings | None = None
    ) -> None:
        self._evaluations = evaluations
        self._clock = clock
        self._running = running
        self._warnings = warnings or SafeModeWarnings(evaluations, running)
        self._kept: OrderedDict[Compiled, Compiled] = OrderedDict()
        """By the one that evaluations share: a copy that only we let time pass in."""
        self._turn = asyncio.Lock()

    async def preview(self, actor: Actor, environment: str, request: ActivationRequest) -> BlastRadius:
        """The blast radius of `request` now. Its reason and end do not matter yet.

        Raises:
            InvalidInputError: there is no such profile, request class or cohort.
        """
        authorize(actor, Action.READ, environment)
        shared = await self._evaluations.compiled(environment)
        profile, made = _profile(shared.resources, request)
        present = shared.resources.keys() | made.keys()
        faults = tuple(_unknown(request, profile, present))
        if faults:
            raise InvalidInputError(faults[0].message, faults)
        now = self._clock.now()
        spec = SafeModeActivation(
            profile=profile,
            reason="preview",
            actor=actor.name,
            activated_at=now,
            expires_at=now + MIN_DURATION,
            scope=request.scope,
        )
        async with self._turn:
            blast = await asyncio.to_thread(blast_radius, self._own(shared), spec, now, made)
        ref = ResourceRef(PROFILE, profile)
        found = find_spec(made.get(ref) or shared.resources.get(ref), SafeModeProfile)
        return msgspec.structs.replace(
            blast.radius,
            reach=await self._reach(actor, environment, blast),
            warnings=self._warnings.of(actor, shared, found, request.scope),
        )

    def _own(self, shared: Compiled) -> Compiled:
        if shared not in self._kept:
            self._kept[shared] = Compiled.load(shared.environment, shared.revision, shared.resources)
        self._kept.move_to_end(shared)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[shared]

    async def _reach(self, actor: Actor, environment: str, blast: Blast) -> Reach:
        rates = await self._running.request_rates(actor, environment)
        services = self._running.live_services(actor, environment)
        scope = blast.radius.scope
        instances = sum(in_scope(scope, service) for service in services)
        by_instances = bool(scope.services and services)
        share = instances / len(services) if by_instances else 1.0
        weights = blast.weights
        return Reach(
            requests_per_min=share * sum(rate * weights[key].touched for key, rate in rates.items() if key in weights),
            of_requests_per_min=sum(rates.values()),
            to_people_per_min=share
            * sum(rate * weights[key].to_people for key, rate in rates.items() if key in weights),
            turned_away_per_min=share
            * sum(rate * weights[key].turned_away for key, rate in rates.items() if key in weights),
            by_instances=by_instances,
            at_most=bool(scope.cohorts),
            instances=instances,
            of_instances=len(services),
        )


def _profile(
    resources: Mapping[ResourceRef, bytes], request: ActivationRequest
) -> tuple[str, Mapping[ResourceRef, bytes]]:
    """The profile asked for, and its spec when an activation would make it."""
    if not request.exclude_providers:
        return request.profile, {}
    refuse(profile_faults(request))
    key, there = choose_outage(resources, request.exclude_providers)
    return key, {} if there else {ResourceRef(PROFILE, key): encode(outage_profile(request.exclude_providers))}


def _unknown(request: ActivationRequest, profile: str, present: Collection[ResourceRef]) -> Iterator[Fault]:
    named = [(PROFILE, profile, "/profile")]
    named += [("cohort", key, f"/scope/cohorts/{i}") for i, key in enumerate(request.scope.cohorts)]
    named += [
        ("request_class", key, f"/scope/request_classes/{i}") for i, key in enumerate(request.scope.request_classes)
    ]
    for kind, key, pointer in named:
        if ResourceRef(kind, key) not in present:
            yield Fault("unknown_reference", f"there is no {words(kind)} {key!r}", pointer)
