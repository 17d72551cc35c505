"""Detecting that a share of bad requests has risen above an objective, with a promised rate of false alarms. Pure.

A Shiryaev-Roberts e-detector (Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change
detection", 2023, section 3). For each suspected share q, the statistic R becomes (R + 1) · L with every slice of time,
where L is the likelihood ratio of q against the objective for what the slice counted. While the true share is at most the
objective, L has a mean of at most 1, so that R - (number of slices) is a supermartingale; the mean of all R stays one, and
the mean time until it reaches A is at least A slices, whatever the traffic.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

SLICE_S = 10
DAY_S = 86_400
FACTORS = (2.0, 3.0, 5.0, 10.0)
"""Suspected shares, as multiples of the objective."""
MOST = 0.98
"""The largest suspected share: one of 1 would be refuted by a single good request."""
CORRELATION = 0.05
"""Between requests of one slice: outages of upstream parts come in bursts."""


class Count(NamedTuple):
    """What one slice of ten seconds counted."""

    requests: int
    bad: int


class DetectorSettings(msgspec.Struct, frozen=True):
    """`objective`: the share of bad requests that is still fine, between 0 and 1. `quiet_days`: it raises a false alarm
    at most once in so many days, on average, while the true share is at most the objective."""

    objective: float
    quiet_days: float
    correlation: float = CORRELATION

    @property
    def threshold(self) -> float:
        """A: the number of slices in `quiet_days`."""
        return self.quiet_days * DAY_S / SLICE_S

    @property
    def shares(self) -> tuple[float, ...]:
        """The suspected shares, without those that would be the same."""
        return tuple(dict.fromkeys(min(factor * self.objective, MOST) for factor in FACTORS))


class DetectorState(msgspec.Struct, frozen=True):
    """One R for each suspected share. `began`: for each, the slice since which it has been above what it starts with; the
    likeliest beginning of the change. `slices`: how many have been seen."""

    values: tuple[float, ...]
    began: tuple[int, ...]
    slices: int = 0


class Found(NamedTuple):
    """`evidence` is compared with the threshold. `share`: the suspected share with the most evidence; `began`: the slice,
    counted from 0, at which the change began, as far as the evidence goes."""

    evidence: float
    fires: bool
    share: float
    began: int


def begin(settings: DetectorSettings) -> DetectorState:
    """Raises ValueError when the settings promise nothing that can be kept."""
    if not 0 < settings.objective < MOST or not settings.quiet_days > 0 or not 0 <= settings.correlation < 1:
        raise ValueError("the objective is a share between 0 and 0.98, and there is at least some quiet time")
    number = len(settings.shares)
    return DetectorState((0.0,) * number, (0,) * number)


class _Weights(NamedTuple):
    """What each suspected share makes of a bad and of a good request, as logarithms; and the most that a slice counts."""

    bad: tuple[float, ...]
    good: tuple[float, ...]
    most: float


@lru_cache(maxsize=64)
def _weights(settings: DetectorSettings) -> _Weights:
    fine = settings.objective
    return _Weights(
        tuple(math.log(share / fine) for share in settings.shares),
        tuple(math.log((1 - share) / (1 - fine)) for share in settings.shares),
        math.log(max(settings.threshold, 1.0)) / 3,
    )


def step(settings: DetectorSettings, state: DetectorState, count: Count) -> DetectorState:
    """The state after one more slice. A slice without requests counts as one, and says nothing."""
    values, began = [], []
    for value, since, ratio in zip(state.values, state.began, likelihood_ratios(settings, count), strict=True):
        now = min((value + 1) * ratio, 1e300)
        values.append(now)
        began.append(state.slices + 1 if now < 1 else since)
    return DetectorState(tuple(values), tuple(began), state.slices + 1)


def likelihood_ratios(settings: DetectorSettings, count: Count) -> list[float]:
    """Of each suspected share against the objective: tempered for bursts, and at most the third root of the threshold.

    n requests of which any two agree with correlation rho hold as much as n / (1 + (n - 1)·rho) independent ones (Kish, 1965),
    so the ratio is taken to the power of 1 / (1 + (n - 1)·rho). Neither that nor the bound raises its mean above 1.
    """
    weights, requests = _weights(settings), count.requests
    if requests <= 0:
        return [1.0] * len(weights.bad)
    bad = min(max(count.bad, 0), requests)
    power = 1 / (1 + (requests - 1) * settings.correlation)
    return [
        math.exp(min((bad * for_bad + (requests - bad) * for_good) * power, weights.most))
        for for_bad, for_good in zip(weights.bad, weights.good, strict=True)
    ]


def look(settings: DetectorSettings, state: DetectorState) -> Found:
    """What the evidence says now."""
    evidence = sum(state.values) / len(state.values)
    best = max(range(len(state.values)), key=state.values.__getitem__)
    return Found(evidence, evidence >= settings.threshold, settings.shares[best], state.began[best])


def run(settings: DetectorSettings, counts: Sequence[Count]) -> list[int]:
    """The slices at which it fires, counted from 0; it begins anew after each."""
    state, fired = begin(settings), []
    for place, count in enumerate(counts):
        state = step(settings, state, count)
        if look(settings, state).fires:
            fired.append(place)
            state = begin(settings)
    return fired
