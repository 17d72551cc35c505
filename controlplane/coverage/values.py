"""What coverage answers, over HTTP and in the console."""

from typing import Literal

import msgspec

from controlplane.resilience.cell import Cell, Requirement


class CoverageSummary(msgspec.Struct, frozen=True):
    """Counts of cells. `possible` are all but those whose failure cannot happen."""

    possible: int
    answered: int
    nothing: int
    raw: int
    silent: int
    too_many: int
    accepted: int
    """Gaps that someone has accepted; they count as none of the others."""

    @property
    def gaps(self) -> int:
        return self.nothing + self.raw + self.silent + self.too_many


class CoverageReport(msgspec.Struct, frozen=True):
    """The cells at one revision, in order of class, mode and profile. `unread` names the resources that a newer version
    wrote and this one cannot read: their cells are missing."""

    environment: str
    revision: int
    summary: CoverageSummary
    cells: list[Cell]
    unread: list[str]


PatternState = Literal["missing", "configured", "exercised", "stale"]


class PatternView(msgspec.Struct, frozen=True):
    """One pattern of one class. `served` are the requests that it served since the class last changed, `served_before`
    those of the whole period. `required`: the class's tier asks for it."""

    pattern: Requirement
    state: PatternState
    served: int
    served_before: int
    required: bool


class ClassPatterns(msgspec.Struct, frozen=True):
    request_class: str
    tier: str
    enforce: str
    patterns: list[PatternView]


class PatternReport(msgspec.Struct, frozen=True):
    """`days` is the period that counts as exercise."""

    environment: str
    days: int
    classes: list[ClassPatterns]


class ClassRank(msgspec.Struct, frozen=True):
    """One class's part of a mode's score. `completion` is of degraded requests: null = never seen, which counts as 0."""

    request_class: str
    impact: int
    hit: int
    completion: float | None
    score: float


class ModeRank(msgspec.Struct, frozen=True):
    """How much a failure mode has cost: impact times requests hit times the share of degraded requests that did not
    complete, summed over classes."""

    mode: str
    score: float
    hit: int
    classes: list[ClassRank]


class RankReport(msgspec.Struct, frozen=True):
    """The worst mode first."""

    environment: str
    days: int
    modes: list[ModeRank]


class TierPrice(msgspec.Struct, frozen=True):
    """What a tier's resilience costs, in the operator's currency. Null: none of the models has a price.

    `saved` are requests that something other than the policy's own model answered. `fallback_cost` is what other models
    than the assigned one spent, and `per_saved` that for each of them.
    """

    tier: str
    rank: int | None
    classes: list[str]
    requests: int
    saved: int
    cost: float | None
    fallback_cost: float | None
    per_saved: float | None


class PriceReport(msgspec.Struct, frozen=True):
    """The highest tier first; classes without a tier last, under an empty name."""

    environment: str
    days: int
    tiers: list[TierPrice]
