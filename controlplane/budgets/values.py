"""What people see of budget windows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec


class Combination(msgspec.Struct, frozen=True):
    """One count of a window that counts by attributes. `scope` is a hash: the control plane is not told whose it is."""

    scope: str
    used: int


class BudgetWindow(msgspec.Struct, frozen=True):
    """One window in its present period. `used` is what was leased to instances or spent by them."""

    flag: str
    variant: str
    unit: Literal["tokens", "requests", "usd_micros"]
    limit: int
    per: Literal["minute", "hour", "day", "month"]
    scope: tuple[str, ...]
    started_at: datetime
    resets_at: datetime
    used: int
    """Of the fullest combination."""
    used_bp: int
    """`used` of `limit`, in basis points."""
    combinations: int
    """How many are counted."""
    more: bool
    """Whether there are more than could be read."""
    fullest: tuple[Combination, ...]
    full_at: datetime | None
    """When the fullest combination is full at the rate of this period so far; None when the period ends first."""


class BudgetList(msgspec.Struct, frozen=True):
    items: tuple[BudgetWindow, ...]
    counted: bool
    """Whether the counters could be read. If not, instances are degraded, and `used` is 0 everywhere."""


class Tally(NamedTuple):
    """What something is counted under."""

    environment: str
    flag: str
    variant: str


class Measured(NamedTuple):
    """What one replica measured since it started, for Prometheus."""

    granted: Mapping[Tally, int]
    refused: Mapping[Tally, int]
    """Asks of instances that got less than they need."""
    degraded: Mapping[Tally, int]
    """What instances spent while no one answered, once they could tell."""
    fill: Mapping[Tally, float]
    """What was leased of the limit in this period, of windows that count everyone together."""
