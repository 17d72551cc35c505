"""Instances that stay behind: each lag is told once, by whichever replica is first to note it down, and so is its end."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.notify import Notify
from controlplane.telemetry import fleet_tables as tables
from controlplane.telemetry.fleet_state import LIVE_S, FleetState, Head, Seen

MAX_NAMED = 20
"""Of the instances in one alert; a network that fails makes thousands lag at once."""


class News(NamedTuple):
    certain: tuple[Seen, ...]
    over: tuple[str, ...]


class LagWatch:
    """One environment's laggards from look to look. Pure."""

    def __init__(self, since: float, told: Iterable[str] = ()) -> None:
        self._since = since
        self._told = set(told)
        self._first_heard: dict[str, float] = {}

    def look(self, state: FleetState, at: float) -> News:
        """What to tell now.

        A lag is certain when the instance spoke again and was still behind: one that has died looks the same until then.
        """
        behind = {seen.instance: seen for seen in state.laggards(at)}
        self._first_heard = {name: self._first_heard.get(name, seen.last_seen) for name, seen in behind.items()}
        certain = [
            seen for name, seen in behind.items() if name not in self._told and seen.last_seen > self._first_heard[name]
        ]
        over = [name for name in sorted(self._told - behind.keys()) if self._sure(name, state, at)]
        return News(tuple(certain), tuple(over))

    def _sure(self, name: str, state: FleetState, at: float) -> bool:
        """Not so soon after our own start: first we must have heard what is the head, and who is there."""
        if state.is_live(name):
            return state.expected(at) != Head()
        return at - self._since >= LIVE_S

    def told(self, news: News) -> None:
        """`news` has been passed on, here or by another replica."""
        self._told.update(seen.instance for seen in news.certain)
        self._told.difference_update(news.over)


class LagAlerts:
    """Every environment's. Raises UnavailableError when it cannot be noted down; the next call tries again."""

    def __init__(self, database: Database, clock: Clock, notify: Notify) -> None:
        self._database = database
        self._clock = clock
        self._notify = notify
        self._watches: dict[str, LagWatch] | None = None

    async def look(self, environment: str, state: FleetState) -> None:
        now = self._clock.now()
        at = now.timestamp()
        if self._watches is None:
            async with self._database.reading() as connection:
                told = await tables.told_laggards(connection)
            self._watches = {name: LagWatch(at, instances) for name, instances in told.items()}
        watch = self._watches.setdefault(environment, LagWatch(at))
        news = watch.look(state, at)
        if not any(news):
            return
        names = [seen.instance for seen in news.certain]
        async with self._database.transaction() as connection:
            ours = await tables.note_lag(connection, environment, names, now)
            over = await tables.note_lag_over(connection, environment, news.over)
            if ours:
                lagging = [f"{seen.instance} (r{seen.head.revision})" for seen in news.certain if seen.instance in ours]
                head = f"r{state.head.revision}"
                await self._notify(
                    "instances_lag",
                    {"environment": environment, "head": head, "count": str(len(ours)), "instances": _named(lagging)},
                    connection,
                )
            if over:
                gone = sorted(name for name in over if not state.is_live(name))
                back = sorted(name for name in over if state.is_live(name))
                ended = {"environment": environment, "caught_up": _named(back), "gone": _named(gone)}
                await self._notify("instances_lag_over", ended, connection)
        watch.told(news)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
