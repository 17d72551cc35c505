"""What the API returns about safe mode."""

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from controlplane.contract.dto import CommitOutput
from controlplane.emergency.values import Carried
from controlplane.safemode.values import ActiveActivation, Switch
from controlplane.telemetry.values import Delivered

if TYPE_CHECKING:
    from controlplane.emergency import values as emergency
    from controlplane.safemode.service import Switched


class SafeModeStatus(msgspec.Struct, frozen=True):
    """While Postgres is unavailable, `revision` is the one that this replica read last."""

    revision: int
    on: bool
    overdue: int
    active: tuple[ActiveActivation, ...]


class SwitchedOutput(msgspec.Struct, frozen=True):
    """The activation's key, and the commit that switched it."""

    key: str
    commit: CommitOutput | None
    """Null while Postgres is unavailable: `notice` says what happens instead."""
    extended: bool
    """Whether it was on already: the same profile for the same scope is extended, never added a second time."""
    expires_at: datetime | None
    """When it ends now; None: it is off."""
    delivery: Delivered | None
    """What was known within a second of the commit; null without one."""
    warnings: tuple[str, ...] = ()
    """Names that match nothing. Safe mode is on all the same."""
    carried: Carried | None = None
    """How many live instances apply it, a second later. Null: it is in the log."""
    notice: str = ""
    """What is different in an emergency; empty otherwise."""

    @classmethod
    def of(cls, done: "Switched", delivery: Delivered, warnings: tuple[str, ...] = ()) -> "SwitchedOutput":
        return cls(done.key, CommitOutput.of(done.commit), done.extended, done.expires_at, delivery, warnings)

    @classmethod
    def in_emergency(cls, done: "emergency.Switched", carried: Carried) -> "SwitchedOutput":
        return cls(done.key, None, done.extended, done.ends_at, None, (), carried, done.notice)


class SafeModeHistory(msgspec.Struct, frozen=True):
    """Newest first; `next` is the following page's `before`."""

    items: tuple[Switch, ...]
    next: int | None
