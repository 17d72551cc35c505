"""Evidence as people read it: commit messages, the terminal, the console. Times and amounts are kept as logarithms; people
read multiples."""

import math
from datetime import UTC

from brownout.model.measures import scale, tracked
from controlplane.rollouts.values import Judged, WithoutUnit

_TIMES = frozenset({"duration", "time_to_first_token"})
PLENTY = 10
"""More than so many times the evidence that decides is not told apart."""


def describe(found: Judged) -> str:
    """One judged measure in words."""
    name = measure_words(found.measure)
    if found.evidence is None:
        if found.lower is None or found.upper is None:
            return f"{name} has too few units ({found.treatment_n} and {found.control_n})"
        return f"{name} {'is' if multiple(found) else 'differs by'} {bounds(found)}, limit {limit(found)}"
    if found.ceiling:
        return f"{name} {level(found, found.treatment)}, {limit(found)}, evidence {strength(found)}"
    rates = f"{level(found, found.treatment)} against {level(found, found.control)}"
    return f"{name} {rates}, evidence {strength(found)}"


def measure_words(measure: str) -> str:
    """The measure's name; what services track is named as they name it."""
    name = tracked(measure)
    return measure.replace("_", " ") if name is None else f"{name} ({measure.partition(':')[0]})"


def multiple(found: Judged) -> bool:
    """Whether the arms are compared as a multiple of a typical time or amount."""
    return scale(found.measure) == "typical"


def level(found: Judged, value: float | None) -> str:
    """What one arm showed: a share of bad requests, a typical time, a mean."""
    if value is None:
        return "nothing"
    if found.evidence is not None:
        return f"{100 * value:.2f} %"
    if found.measure in _TIMES:
        typical_ms = math.exp(value)
        return f"{typical_ms / 1000:.2f} s" if typical_ms >= 1000 else f"{typical_ms:.0f} ms"
    return f"{math.exp(value) if multiple(found) else value:.3g}"


def strength(found: Judged) -> str:
    """How much evidence there is of what decides; the interval of a mean's difference."""
    if found.evidence is not None:
        threshold = found.threshold or 0
        most = PLENTY * threshold
        shown = f"{found.evidence:.3g}" if found.evidence < most else f"over {most:.3g}"
        return f"{shown} of {threshold:.3g}"
    return bounds(found) or "too few units"


def bounds(found: Judged) -> str:
    """Between which the treatment's difference surely is; empty while nothing is sure."""
    if found.lower is None or found.upper is None:
        return ""
    lower, upper = difference(found, found.lower), difference(found, found.upper)
    return f"{lower:.2f} to {upper:.2f} times the control's" if multiple(found) else f"{lower:+.3f} to {upper:+.3f}"


def difference(found: Judged, value: float) -> float:
    """A bound or a limit of the treatment's difference: of times, as a multiple of the control's."""
    return math.exp(value) if multiple(found) else value


def limit(found: Judged) -> str:
    if found.ceiling:
        return f"at most {100 * found.limit:g} %"
    if found.evidence is not None:
        return f"{found.limit:g} times"
    allowed = difference(found, found.limit)
    return f"{allowed:.3g} times" if multiple(found) else f"{allowed:+.3g}"


def without_unit_words(found: WithoutUnit | None) -> str:
    """How many requests no split could place; empty when there were none."""
    if found is None or not found.evaluations:
        return ""
    n = f"{found.evaluations:,} evaluation{'s' if found.evaluations > 1 else ''}"
    since = f"{found.since.astimezone(UTC):%d %b %H:%M} UTC"
    return f"{n} without a unit since {since} got {found.variant} and count in no arm."
