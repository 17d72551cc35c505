"""When each variant of each flag was first and last served: what a list of flags says, and which flags look stale.

Rollups say how often; they expire, and a page of flags cannot read a month of them. So folding also keeps one small row
a variant, written at most once a quarter of an hour (ADR 0073).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from brownout.wire.telemetry import EvaluationKey
from controlplane.access.actor import Action, Actor, authorize
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.telemetry import series, tables

STALE_AFTER = timedelta(days=30)

Stale = Literal["never", "unused", "one_variant"]
"""Never evaluated; not evaluated for STALE_AFTER; served one of its variants for so long."""


class Served(msgspec.Struct, frozen=True):
    """One variant: both instants are the beginnings of quarters of an hour."""

    variant: str
    first_at: datetime
    last_at: datetime


class FlagsServed(msgspec.Struct, frozen=True):
    """`counted_since` is when the environment's first evaluation was counted; None: none ever was."""

    counted_since: datetime | None
    flags: Mapping[str, tuple[Served, ...]]

    def last_at(self, flag: str) -> datetime | None:
        return max((each.last_at for each in self.flags.get(flag, ())), default=None)

    def stale(self, flag: str, variants: int, changed_at: datetime, now: datetime) -> Stale | None:
        """Why the flag looks stale. None also while nobody can know: it, or the counting, is younger than that."""
        since = now - STALE_AFTER
        if self.counted_since is None or self.counted_since > since or changed_at > since:
            return None
        seen = self.flags.get(flag, ())
        recent = [each for each in seen if each.last_at >= since]
        if not recent:
            return "unused" if seen else "never"
        long_enough = min(each.first_at for each in seen) <= since
        return "one_variant" if variants > 1 and len(recent) == 1 and long_enough else None


class FlagUses:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def served(self, actor: Actor, environment: str, flags: Sequence[str]) -> FlagsServed:
        """What is known of these flags.

        Raises:
            ForbiddenError: without READ.
        """
        authorize(actor, Action.READ, environment)
        async with self._database.reading() as connection:
            since = await tables.counted_since(connection, environment)
            rows = await tables.flag_uses(connection, environment, flags)
        found: dict[str, list[Served]] = defaultdict(list)
        for row in rows:
            found[row.flag].append(Served(row.variant, row.first_at, row.last_at))
        return FlagsServed(since, {flag: tuple(served) for flag, served in found.items()})


class Fresh:
    """What this replica has written in the present quarter of an hour, so that it writes it once."""

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._written: set[tuple[str, str, str]] = set()

    def new(
        self, environment: str, evaluations: Iterable[EvaluationKey], now: datetime
    ) -> tuple[datetime, list[tuple[str, str]]]:
        """The quarter, and (flag, variant) that are not written in it yet. Who got the caller's default got no variant."""
        at = series.floor(now, series.COARSE_S)
        if at != self._at:
            self._at, self._written = at, set()
        served = {(key.flag, key.variant) for key in evaluations if key.variant}
        return at, sorted(pair for pair in served if (environment, *pair) not in self._written)

    def written(self, environment: str, served: Iterable[tuple[str, str]]) -> None:
        self._written.update((environment, *pair) for pair in served)
