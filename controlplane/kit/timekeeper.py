"""Asks Postgres for the time every second: this keeps the clock, and shows within seconds whether Postgres answers."""

import asyncio
from contextlib import suppress

import structlog

from controlplane.errors import UnavailableError
from controlplane.kit.background import beat
from controlplane.kit.clock import Clock, Monotonic, PostgresClock
from controlplane.kit.database import Database

log = structlog.get_logger(__name__)

EVERY_S = 1.0
TIMEOUT_S = 1.5
FIRST = 4
"""Round trips at the start: the first one also opens the connection."""

WRONG_S = 5.0
"""A wall clock that is further from Postgres's than this is worth a person's look, though Brownout does not use it."""


class TimeKeeper:
    """Feeds `clock` while it is a PostgresClock; a clock that a test moves keeps itself."""

    def __init__(self, database: Database, clock: Clock, monotonic: Monotonic) -> None:
        self._database = database
        self._clock = clock if isinstance(clock, PostgresClock) else None
        self._monotonic = monotonic
        self.answered = False
        """Whether Postgres answered the last time that it was asked."""

    async def measure(self) -> None:
        """Asks once. Raises UnavailableError, also when there is no answer within TIMEOUT_S."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                asked, instant, answered = await self._database.clock(self._monotonic)
        except TimeoutError:
            self.answered = False
            raise UnavailableError(f"Postgres does not answer within {TIMEOUT_S:g} s") from None
        except Exception:  # whatever else: it gave no time
            self.answered = False
            raise
        self.answered = True
        if self._clock is not None:
            self._clock.sample(asked, instant, answered)

    async def start(self) -> None:
        """The first round trips, before anything dates something."""
        for _ in range(FIRST):
            await self.measure()

    async def run(self) -> None:
        while True:
            beat("timekeeper")
            with suppress(UnavailableError):
                await self.measure()
            beat("timekeeper", EVERY_S)
            await asyncio.sleep(EVERY_S)

    async def probe(self) -> dict[str, str]:
        reasons = {"postgres": "" if self.answered else "Postgres does not answer: no changes can be made"}
        ahead = self._clock.wall_ahead_s if self._clock else None
        wrong = ahead is not None and abs(ahead) > WRONG_S
        side = "ahead of" if (ahead or 0) > 0 else "behind"
        reasons["clock"] = (
            f"this server's clock is {abs(ahead or 0):,.0f} s {side} Postgres's: set it (Brownout uses Postgres's time, "
            "but certificates and logs do not)"
            if wrong
            else ""
        )
        return reasons
