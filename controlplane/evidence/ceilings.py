"""Evidence that an arm is worse than an absolute ceiling: what can still be asked where there is no control (ADR 0074)."""

import math

from controlplane.evidence.shares import LIFTS


class CeilingTest:
    """Evidence that bad events come more often than `ceiling`, by requests of units that have not been bad yet.

    A mean of likelihood ratios as in shares.ShareTest: while the rate stays below, whatever it does there, it exceeds
    1/alpha with probability at most alpha, over all looks together. Unlike that test it does not forgive an incident.
    """

    def __init__(self, ceiling: float) -> None:
        self._steps = [_steps(ceiling, min(ceiling * lift, 1.0 - (1.0 - ceiling) / lift)) for lift in LIFTS]
        self._logs = [0.0] * len(LIFTS)

    def add(self, at_risk: int, bad: int) -> float:
        """Returns the evidence after that many requests, `bad` of them bad."""
        for i, (worse, better) in enumerate(self._steps):
            self._logs[i] += bad * worse + (at_risk - bad) * better
        return self.evidence

    @property
    def evidence(self) -> float:
        """1 says nothing; saturates at 1e300."""
        top = max(self._logs)
        log = top + math.log(sum(math.exp(one - top) for one in self._logs) / len(self._logs))
        return math.exp(min(log, 690.0))


def _steps(null: float, alternative: float) -> tuple[float, float]:
    """What a bad and a good request add to the log likelihood ratio."""
    return math.log(alternative / null), math.log((1.0 - alternative) / (1.0 - null))
