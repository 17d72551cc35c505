"""Sample-ratio mismatch: do the arms hold the units that the split promised? (docs/adr/0070-share-of-bad-events.md)

A broken split, a crash that eats one arm's telemetry or a bot that only one arm sees make every comparison a lie.
The Bayes factor of a beta mixture against the promised share (Lindon and Malek, 2020) is a martingale while the split
is sound, so it may be looked at all the time.
"""

import math

THRESHOLD = 1_000.0
"""Evidence at which a rollout is held: a sound split reaches it once in a thousand rollouts."""

_WEIGHT = 200.0
"""How many units' worth the mixture is concentrated around the promised share."""


def mismatch_evidence(treatment: int, control: int, promised: float) -> float:
    """Evidence that units are not split `promised` : 1 - `promised`; 1 without units, or when one arm is meant empty."""
    n = treatment + control
    if n == 0 or not 0.0 < promised < 1.0:
        return 1.0
    a, b = _WEIGHT * promised, _WEIGHT * (1.0 - promised)
    log = _log_beta(a + treatment, b + control) - _log_beta(a, b)
    log -= treatment * math.log(promised) + control * math.log(1.0 - promised)
    return math.exp(min(log, 690.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
