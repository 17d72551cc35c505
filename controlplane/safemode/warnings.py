"""Warnings about names that match nothing, from what an environment holds and what runs in it now."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from weakref import WeakKeyDictionary

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.model.resources import ResourceRef, SafeModeProfile, Scope
from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.evaluations import Evaluations
from controlplane.contract.outages import PROFILE
from controlplane.contract.specs import find_spec
from controlplane.errors import BrownoutError
from controlplane.safemode.names import MAX_WARNINGS, Known, known_names, profile_warnings, scope_warnings


class Live(Protocol):
    """What we need of telemetry."""

    def live_services(self, actor: Actor, environment: str) -> Sequence[str]:
        """The service of each live instance."""
        ...


class SafeModeWarnings:
    """Never refuses and never raises for a name: safe mode must not wait for a spelling."""

    def __init__(self, evaluations: Evaluations, live: Live) -> None:
        self._evaluations = evaluations
        self._live = live
        self._known: WeakKeyDictionary[Compiled, Known] = WeakKeyDictionary()

    async def of_activation(self, actor: Actor, environment: str, profile: str, scope: Scope) -> tuple[str, ...]:
        """What of an activation's scope, or of its profile, matches nothing now."""
        with suppress(BrownoutError):  # the commit is made; without a warning it stays made
            authorize(actor, Action.READ, environment)
            compiled = await self._evaluations.compiled(environment)
            return self.of(
                actor,
                compiled,
                find_spec(compiled.resources.get(ResourceRef(PROFILE, profile)), SafeModeProfile),
                scope,
            )
        return ()

    async def of_operations(self, actor: Actor, environment: str, ops: Sequence[Operation]) -> tuple[str, ...]:
        """What of the profiles that `ops` put matches nothing once `ops` are true."""
        profiles = [op for op in ops if op.op == "put" and op.kind == PROFILE]
        if not profiles:
            return ()
        known = None
        with suppress(BrownoutError):  # the commit is made; without a warning it stays made
            authorize(actor, Action.READ, environment)
            compiled = await self._evaluations.compiled(environment)
            known = self._known_in(compiled)
            if len(profiles) < len(ops):
                known = known_names({**compiled.resources, **_specs(ops)})
        if known is None:
            return ()
        found = [find_spec(bytes(op.spec), SafeModeProfile) for op in profiles if op.spec is not msgspec.UNSET]
        said = (warning for profile in found if profile for warning in profile_warnings(profile, known))
        return tuple(dict.fromkeys(said))[:MAX_WARNINGS]

    def of(self, actor: Actor, compiled: Compiled, profile: SafeModeProfile | None, scope: Scope) -> tuple[str, ...]:
        """The same for specs at hand."""
        services = self._live.live_services(actor, compiled.environment) if scope.services else ()
        known = self._known_in(compiled)._replace(services=frozenset(services))
        return (*scope_warnings(scope, known), *(profile_warnings(profile, known) if profile else ()))

    def _known_in(self, compiled: Compiled) -> Known:
        """Read once a revision: an environment may hold thousands of flags."""
        if compiled not in self._known:
            self._known[compiled] = known_names(compiled.resources)
        return self._known[compiled]


def _specs(ops: Sequence[Operation]) -> Mapping[ResourceRef, bytes]:
    return {ResourceRef(op.kind, op.key): bytes(op.spec) for op in ops if op.spec is not msgspec.UNSET}
