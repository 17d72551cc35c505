"""The sequential test on the treatment's share of bad events (docs/adr/0070-share-of-bad-events.md).

Comparing two bad-event *rates* at every look inflates false alarms, and an incident that hits both arms moves both
rates. The *share* of bad events that falls in the treatment does not care how many there are: if the treatment is `r`
times as bad and carries the share `s` of the exposure, a bad event is the treatment's with probability
`q(r) = s·r / (s·r + 1 - s)`. A likelihood ratio on that share is a supermartingale whatever the total does, so by
Ville's inequality it exceeds `1/alpha` with probability at most `alpha`, over all looks together.
"""

import math

import msgspec

LIFTS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""How much worse than allowed the alternatives say the treatment is; the evidence is the mean over them."""


class Window(msgspec.Struct, frozen=True):
    """What one stretch of time showed, both arms: exposure (units, or requests still at risk) and bad events."""

    treatment: int
    control: int
    treatment_bad: int
    control_bad: int


def treatment_share(exposed: float, ratio: float) -> float:
    """q(r): the probability that a bad event is the treatment's, when it is `ratio` times as bad."""
    return exposed * ratio / (exposed * ratio + 1.0 - exposed)


class ShareTest:
    """Evidence that the treatment's bad-event rate is on the wrong side of `ratio` times the control's.

    `against="no_worse"` gathers evidence that it is worse than `ratio` times (a guardrail);
    `against="worse"` gathers evidence that it is *not* `ratio` times as bad (a gate). Feed every window once, in order.
    """

    def __init__(self, ratio: float, *, against: str = "no_worse") -> None:
        self._ratio = ratio
        self._alternatives = tuple(ratio * lift if against == "no_worse" else ratio / lift for lift in LIFTS)
        self._logs = [0.0] * len(LIFTS)

    def add(self, window: Window) -> float:
        """Returns the evidence after `window`. Windows without both arms, or without bad events, say nothing."""
        total = window.treatment + window.control
        bad = window.treatment_bad + window.control_bad
        if window.treatment > 0 and window.control > 0 and bad > 0:
            exposed = window.treatment / total
            null = treatment_share(exposed, self._ratio)
            for i, ratio in enumerate(self._alternatives):
                alternative = treatment_share(exposed, ratio)
                self._logs[i] += window.treatment_bad * math.log(alternative / null)
                self._logs[i] += window.control_bad * math.log((1.0 - alternative) / (1.0 - null))
        return self.evidence

    @property
    def log_evidence(self) -> float:
        """ln of the mean of the alternatives' likelihood ratios, computed without overflow."""
        top = max(self._logs)
        return top + math.log(sum(math.exp(log - top) for log in self._logs) / len(self._logs))

    @property
    def evidence(self) -> float:
        """1 says nothing, 20 is what alpha = 0.05 asks for; saturates at 1e300."""
        return math.exp(min(self.log_evidence, 690.0))


def units_needed(
    rate: float, exposed: float, *, allowed: float, actual: float, threshold: float, against: str = "no_worse"
) -> int | None:
    """About how many treatment units the evidence needs to reach `threshold` (Wald's approximation, the median run).

    `rate` is the control's bad events per unit, `exposed` the treatment's share of units, `actual` how much worse the
    treatment really is. None when the evidence would not grow: the truth is on the test's null side.
    """
    if not (0.0 < exposed < 1.0) or rate <= 0.0:
        return None
    truth, null = treatment_share(exposed, actual), treatment_share(exposed, allowed)
    growth = 0.0
    for lift in LIFTS:
        alternative = treatment_share(exposed, allowed * lift if against == "no_worse" else allowed / lift)
        drift = truth * math.log(alternative / null) + (1 - truth) * math.log((1 - alternative) / (1 - null))
        growth = max(growth, drift)
    if growth <= 1e-9:
        return None
    bad_events = (math.log(threshold) + math.log(len(LIFTS))) / growth
    bad_per_treatment_unit = min(1.0, rate * actual) + rate * (1.0 - exposed) / exposed
    return math.ceil(bad_events / bad_per_treatment_unit)
