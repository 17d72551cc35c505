"""What a bench answers: figures of this machine in this run, and ratios that must hold on any."""

from typing import NamedTuple


class Ratio(NamedTuple):
    """`value` is measured beside its reference in the same run; `bound` is what must hold, None when only told."""

    what: str
    value: float
    bound: float | None = None

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value <= self.bound


class Report(NamedTuple):
    title: str
    figures: dict[str, str]
    ratios: tuple[Ratio, ...]


def percentile(samples: list[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
