"""Confidence sequences for differences of means: quality, log latency (docs/adr/0070-share-of-bad-events.md).

Asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), one-sided: valid at every
look once each arm has `MIN_UNITS`, from nothing but n, Σx and Σx².
"""

import math

import msgspec

MIN_UNITS = 50
"""Per arm; the guarantee is asymptotic, so nothing is said before."""

OPTIMISED_FOR = 5_000
"""N*: the total number of units at which the sequence is tightest."""


class Moments(msgspec.Struct, frozen=True):
    """One arm's units: how many, their sum and their sum of squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Unbiased; 0 below two units."""
        return max(0.0, (self.squares - self.total * self.mean) / (self.n - 1)) if self.n > 1 else 0.0


class Difference(msgspec.Struct, frozen=True):
    """Treatment minus control. Each bound holds over all looks with probability 1 - alpha, one at a time."""

    estimate: float
    lower: float
    upper: float


def difference(treatment: Moments, control: Moments, alpha: float) -> Difference | None:
    """None before both arms have `MIN_UNITS`."""
    if min(treatment.n, control.n) < MIN_UNITS:
        return None
    estimate = treatment.mean - control.mean
    error = math.sqrt(treatment.variance / treatment.n + control.variance / control.n)
    margin = error * _boundary(treatment.n + control.n, alpha)
    return Difference(estimate, estimate - margin, estimate + margin)


MOST_ALPHA = 0.25
"""The sequence's tuning has no solution near one half: a larger alpha is held to this."""


def _boundary(n: int, alpha: float) -> float:
    """The half-width in standard errors after `n` units in all."""
    alpha = min(alpha, MOST_ALPHA)
    log = -2.0 * math.log(2.0 * alpha)
    rho2 = (log + math.log(1.0 + log)) / OPTIMISED_FOR
    scaled = n * rho2 + 1.0
    return math.sqrt(n) * math.sqrt(2.0 * scaled / (n * n * rho2) * math.log(1.0 + math.sqrt(scaled) / (2.0 * alpha)))
