"""Housekeeping: what has expired is taken out of the document. SDKs stopped by their own clock before."""

import asyncio
from datetime import datetime

import structlog
from prometheus_client import Gauge

from brownout.model.resources import SafeModeActivation
from brownout.wire import Operation
from controlplane.access.actor import Action, system_actor
from controlplane.configuration.changes import ACTIVATION, Changes
from controlplane.configuration.store import Store
from controlplane.configuration.store.values import Commit
from controlplane.contract.specs import find_spec
from controlplane.errors import BrownoutError, ConflictError, InvalidInputError
from controlplane.kit.apart import Turn
from controlplane.kit.background import beat, words
from controlplane.kit.chance import spread
from controlplane.kit.clock import Clock
from controlplane.kit.notify import Notify
from controlplane.safemode.service import find_all
from controlplane.safemode.values import ActiveActivation, describe_scope

log = structlog.get_logger(__name__)

POLL_S = 10.0
BATCH = 500
"""As many leave by one commit."""

TOLD = 10
"""As many of them are named in its message."""

AUTHOR = "system:expiry"

ACTIVE = Gauge("brownout_safe_mode_active", "Activations in force.", ["environment"])
OVERDUE = Gauge(
    "brownout_safe_mode_overdue", "Activations on hold past their end: a person must lift them.", ["environment"]
)


class Expiry:
    """Runs in every replica; a commit that would lift what still applies is undone."""

    def __init__(self, store: Store, changes: Changes, clock: Clock, notify: Notify | None = None) -> None:
        self._notify = notify
        self._told: set[tuple[str, str, datetime]] = set()
        """Overdue activations that people were told of, here or by another replica."""
        self._store = store
        self._changes = changes
        self._clock = clock
        self._trouble = ""
        """Which environment could not be tidied the last time, and why."""

    async def run(self) -> None:
        while True:
            wait_s, trouble = POLL_S, ""
            beat("expiry")
            try:
                due = await self.tick()
                trouble = self._trouble
                if due:
                    wait_s = min(POLL_S, max(0.05, (due - self._clock.now()).total_seconds()))
            except BrownoutError as error:
                log.warning("expiry postponed", error=str(error))
                trouble = words(error)
            beat("expiry", wait_s, trouble)
            await asyncio.sleep(wait_s + spread.uniform(0, 0.2))  # so that replicas take turns

    async def tick(self) -> datetime | None:
        """Lifts what has expired everywhere; returns when the next one will."""
        ends: list[datetime | None] = []
        turn = Turn("expiry")
        for environment in await self._store.list_environments():
            with turn.item(environment.key):
                ends.append(await self._tidy(environment.key))
        self._trouble = turn.trouble
        return min((end for end in ends if end), default=None)

    async def _tidy(self, environment: str) -> datetime | None:
        found = await find_all(self._store, environment, self._clock.now())
        applying = [a for a in found if a.applies]
        ACTIVE.labels(environment).set(len(applying))
        OVERDUE.labels(environment).set(sum(a.overdue for a in applying))
        await self._tell_overdue(environment, [a for a in applying if a.overdue])
        expired = [
            a for a in found if not a.applies and not a.newer
        ]  # what else a newer one says of its end is unknown
        for start in range(0, len(expired), BATCH):
            await self._lift(environment, expired[start : start + BATCH])
        return min((a.expires_at for a in applying if not a.overdue), default=None)

    async def _tell_overdue(self, environment: str, overdue: list[ActiveActivation]) -> None:
        """Once for each end that passed: the event's id is made of it, so that replicas tell of it together once."""
        for each in overdue:
            known = (environment, each.key, each.expires_at)
            if self._notify is None or known in self._told:
                continue
            fields = {
                "environment": environment, "activation": each.key, "profile": each.profile,
                "scope": describe_scope(each.scope), "reason": each.reason, "until": each.expires_at.isoformat(),
            }  # fmt: skip
            await self._notify("safe_mode_overdue", fields)
            self._told.add(known)
        there = {(environment, each.key, each.expires_at) for each in overdue}
        self._told = {known for known in self._told if known[0] != environment or known in there}

    async def _lift(self, environment: str, expired: list[ActiveActivation]) -> None:
        what = "; ".join(f"{a.profile} for {describe_scope(a.scope)} ({a.reason})" for a in expired[:TOLD])
        try:
            await self._changes.commit(
                system_actor(AUTHOR),
                environment,
                tuple(Operation("del", ACTIVATION, a.key) for a in expired),
                f"Safe mode expired: {what}"[:2000],
                action=Action.SAFE_MODE,
                guard=self._check,
            )
        except (ConflictError, InvalidInputError):
            log.debug("another replica was faster", environment=environment)

    def _check(self, commit: Commit) -> None:
        """Sees each activation as the commit found it: one that lasts longer now is nobody's to lift. (Were the whole
        head compared instead, nothing would ever be lifted where others commit all the time.)"""
        now = self._clock.now()
        for change in commit.changes:
            spec = find_spec(change.before, SafeModeActivation)
            if spec is None:
                raise ConflictError(f"{change.key} was replaced meanwhile")
            if ActiveActivation.of(change.key, spec, now).applies:
                raise ConflictError(f"{change.key} was extended meanwhile")
