"""How full an environment's budget windows are."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from brownout.model.values import Window
from brownout.wire.leases import period
from controlplane.access.actor import Action, Actor, authorize, readable
from controlplane.budgets.counters import Counters, window_prefix
from controlplane.budgets.leases import Leases
from controlplane.budgets.limits import Limits
from controlplane.budgets.values import BudgetList, BudgetWindow, Combination, Measured, Tally
from controlplane.configuration.store import Store
from controlplane.kit.clock import Clock
from controlplane.kit.jetstream import JetStreamRefusedError, JetStreamUnavailableError

MOST_READ = 1_000
SHOWN = 5


class Budgets:
    def __init__(self, store: Store, limits: Limits, counters: Counters, leases: Leases, clock: Clock) -> None:
        self._store, self._limits, self._counters, self._clock = store, limits, counters, clock
        self.leases = leases

    async def list_windows(self, actor: Actor, environment: str) -> BudgetList:
        """Every window of the environment's token budgets, in order of flags and variants.

        Raises:
            NotFoundError: there is no such environment.
        """
        authorize(actor, Action.READ, environment)
        await self._store.head(environment)
        now, counted = self._clock.now(), True
        items: list[BudgetWindow] = []
        for flag, windows in (await self._limits.all(environment)).items():
            for variant, window in windows.items():
                start, _ = period(window.per, now.timestamp())
                prefix = window_prefix(environment, flag, variant, window, start)
                found: dict[str, int] = {}
                more = False
                try:
                    if counted:
                        found = await self._counters.all(prefix, window.per, MOST_READ)
                        more = len(found) >= MOST_READ
                except JetStreamRefusedError:
                    more = True  # more than the server answers for at once
                except JetStreamUnavailableError:
                    counted = False
                items.append(shown((flag, variant, window), now, found, more=more))
        return BudgetList(tuple(items), counted)

    async def probe(self) -> dict[str, str]:
        return {"budgets": self.leases.trouble}

    def measured(self, actor: Actor) -> Measured:
        """What this replica measured of the environments that the actor may read."""
        leases, now = self.leases, self._clock.now().timestamp()
        shown = set(readable(actor, sorted({tally.environment for tally in (*leases.granted, *leases.refused)})))

        def of(counted: Mapping[Tally, int]) -> dict[Tally, int]:
            return {tally: n for tally, n in counted.items() if tally.environment in shown}

        fill = {tally: share for tally, (share, end) in leases.fill.items() if tally.environment in shown and now < end}
        return Measured(of(leases.granted), of(leases.refused), of(leases.degraded), fill)


def shown(of: tuple[str, str, Window], now: datetime, found: Mapping[str, int], *, more: bool) -> BudgetWindow:
    """The window of a flag's variant in its present period. `found` has its counters by their subjects."""
    flag, variant, window = of
    started, ends = (datetime.fromtimestamp(at, UTC) for at in period(window.per, now.timestamp()))
    ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    used = ordered[0][1] if ordered else 0
    fullest = tuple(Combination(subject.rpartition(".")[2][:12], value) for subject, value in ordered[:SHOWN])
    return BudgetWindow(
        flag, variant, window.unit, window.limit, window.per, window.scope, started, ends, used,
        used * 10_000 // window.limit, len(found), more, fullest if window.scope else (),
        forecast(used, window.limit, started, ends, now),
    )  # fmt: skip


def forecast(used: int, limit: int, started: datetime, ends: datetime, now: datetime) -> datetime | None:
    """When `limit` is reached at the rate since `started`; None when the period ends first, or nothing was used."""
    if used >= limit:
        return now
    elapsed = (now - started).total_seconds()
    if used <= 0 or elapsed <= 0:
        return None
    left_s = (limit - used) / used * elapsed
    return None if left_s >= (ends - now).total_seconds() else now + timedelta(seconds=left_s)
