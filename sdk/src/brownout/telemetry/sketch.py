"""A mergeable sketch of a distribution: counts in logarithmic buckets of fixed width.

The buckets are those of DDSketch (Masson, Rim and Lee, 2019) with a fixed relative accuracy and a fixed range, so a
sketch is a plain `{bucket: count}` that adds and subtracts like any counter, and never holds more than
`MAX_BUCKETS` entries.
"""

import math
from collections.abc import Mapping

ACCURACY = 0.02
"""A quantile is at most this far from a true one, relatively."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_GAMMA)

SMALLEST, LARGEST = 1e-3, 1e9
"""Values outside are counted in the outermost buckets, FIRST and LAST."""

FIRST = math.ceil(math.log(SMALLEST) * _PER_LOG)
LAST = math.ceil(math.log(LARGEST) * _PER_LOG)
MAX_BUCKETS = LAST - FIRST + 1


def bucket_of(value: float) -> int:
    """The bucket that counts `value`; zero, negative and NaN fall into the first."""
    if not value > SMALLEST:
        return FIRST
    return min(math.ceil(math.log(value) * _PER_LOG), LAST) if value < LARGEST else LAST


def value_of(bucket: int) -> float:
    """The value that stands for a bucket: within `ACCURACY` of everything in it."""
    return float(2 * _GAMMA**bucket / (_GAMMA + 1))


def quantile(sketch: Mapping[int, int], q: float) -> float | None:
    """The q-quantile, 0 <= q <= 1; None when nothing was counted."""
    total = sum(sketch.values())
    if total <= 0:
        return None
    rank = q * (total - 1)
    seen = 0
    last = 0
    for bucket in sorted(sketch):
        seen += sketch[bucket]
        last = bucket
        if seen > rank:
            break
    return value_of(last)
