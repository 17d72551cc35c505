"""What would this context get, now or at any earlier revision? The SDK's own evaluator answers."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from brownout.evaluation.attributes import InvalidContext
from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import Decision
from brownout.evaluation.evaluate import evaluate, policy
from brownout.evaluation.policy import Policy
from brownout.evaluation.trace import CohortTrace, Trace, trace, trace_cohort
from brownout.telemetry.reports import unit_of
from brownout.telemetry.watched import Watches
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.store import Store
from controlplane.errors import Fault, InvalidInputError, NotFoundError
from controlplane.kit.clock import Clock

KEPT = 8
"""Compiled environments kept in memory; the specs inside are decoded when first used."""

Context = Mapping[str, object]


class Situation(msgspec.Struct, frozen=True):
    """Who asks, from where and when. `revision` None is the head; `at` (for activations) is then now,
    for an earlier revision the instant at which it was made."""

    context: Context = {}
    service: str = ""
    revision: int | None = None
    at: datetime | None = None


class Evaluations:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int, int], Compiled] = OrderedDict()

    async def decide(self, actor: Actor, environment: str, flag: str, situation: Situation) -> Decision[object]:
        """The decision; a flag that is not there is an error in it, as in the SDK."""
        compiled, at = await self._at(actor, environment, situation)
        compiled.set_now(at)
        return evaluate(compiled, flag, situation.context, default=None, service=situation.service)

    async def decide_all(
        self, actor: Actor, environment: str, situation: Situation
    ) -> tuple[int, tuple[Decision[Any], ...]]:
        """The revision, and the decision of every flag in order of keys."""
        compiled, at = await self._at(actor, environment, situation)
        compiled.set_now(at)
        keys = sorted(ref.key for ref in compiled.resources if ref.kind == "flag")
        decisions = (
            evaluate(compiled, key, situation.context, default=None, service=situation.service) for key in keys
        )
        return compiled.revision, tuple(decisions)

    async def explain(self, actor: Actor, environment: str, flag: str, situation: Situation) -> Trace:
        """The decision and the rules that were tried."""
        compiled, at = await self._at(actor, environment, situation)
        compiled.set_now(at)
        return trace(compiled, flag, situation.context, service=situation.service)

    async def policy(self, actor: Actor, environment: str, request_class: str, situation: Situation) -> Policy:
        """The composed policy. Raises NotFoundError when there is no such request class."""
        compiled, at = await self._at(actor, environment, situation)
        compiled.set_now(at)
        found = policy(compiled, request_class, situation.context, service=situation.service)
        if found.error_code == "FLAG_NOT_FOUND":
            raise NotFoundError(f"{environment} has no request class {request_class} at revision {compiled.revision}")
        if not found.exposures:
            return found
        watches = Watches.read(compiled.of_kind("rollout"))
        return msgspec.structs.replace(found, unit=unit_of(found, situation.context, watches))

    async def belongs(self, actor: Actor, environment: str, cohort: str, context: Context) -> CohortTrace:
        """Whether the context belongs to the cohort now.

        Raises:
            NotFoundError: there is no such cohort.
            InvalidInputError: the context is out of all proportion.
        """
        authorize(actor, Action.EVALUATE, environment)
        compiled = await self.compiled(environment)
        try:
            return trace_cohort(compiled, cohort, context)
        except InvalidContext:
            fault = Fault("invalid_value", "an attribute that the cohort asks for is too large to read", "/context")
            raise InvalidInputError(fault.message, (fault,)) from None
        except LookupError:
            raise NotFoundError(f"{environment} has no cohort {cohort} at revision {compiled.revision}") from None

    async def compiled(self, environment: str, revision: int | None = None) -> Compiled:
        """The environment made ready. It is shared: call `set_now` right before each use, without awaiting between."""
        head = await self._store.head(environment)
        wanted = head.revision if revision is None else revision
        key = (environment, head.epoch, wanted)
        found = self._kept.get(key)
        if found is None:
            state = await self._store.state(environment, None if wanted == head.revision else wanted)
            found = Compiled.load(environment, state.head.revision, state.resources)
            key = (environment, head.epoch, state.head.revision)
            self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    async def _at(self, actor: Actor, environment: str, situation: Situation) -> tuple[Compiled, datetime]:
        authorize(actor, Action.EVALUATE, environment)
        compiled = await self.compiled(environment, situation.revision)
        if situation.at is not None:
            return compiled, situation.at
        if situation.revision is None:
            return compiled, self._clock.now()
        made = await self._store.list_commits(environment, before=situation.revision + 1, limit=1)
        return compiled, made[0].created_at if made else self._clock.now()
