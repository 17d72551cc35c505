"""What safe mode answers with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from brownout.model.resources import SafeModeActivation, Scope


class FullScope(Scope, frozen=True, omit_defaults=False):
    """A scope that shows each of its lists, also the empty ones: those that mean all."""

    @classmethod
    def of(cls, scope: Scope) -> "FullScope":
        return cls(scope.services, scope.request_classes, scope.cohorts, scope.providers)


class ActiveActivation(msgspec.Struct, frozen=True):
    """One activation and how long it has left. `overdue`: a `hold` past its end, which applies until lifted. `newer`: a
    newer version wrote it, and this is what the present one can read of it."""

    key: str
    profile: str
    scope: FullScope
    reason: str
    incident: str | None
    actor: str
    activated_at: datetime
    expires_at: datetime
    on_expiry: Literal["lift", "hold"]
    left_s: float
    overdue: bool
    newer: bool = False
    origin: Literal["log", "emergency"] = "log"
    """`emergency`: the fleet carries it until Postgres takes it."""

    @property
    def applies(self) -> bool:
        return self.left_s > 0 or self.overdue

    @classmethod
    def of(cls, key: str, spec: SafeModeActivation, now: datetime, *, newer: bool = False) -> "ActiveActivation":
        left_s = max(0.0, (spec.expires_at - now).total_seconds())
        return cls(
            key=key,
            profile=spec.profile,
            scope=FullScope.of(spec.scope),
            reason=spec.reason,
            incident=spec.incident,
            actor=spec.actor,
            activated_at=spec.activated_at,
            expires_at=spec.expires_at,
            on_expiry=spec.on_expiry,
            left_s=left_s,
            overdue=left_s == 0 and spec.on_expiry == "hold",
            newer=newer,
        )


What: TypeAlias = Literal["on", "changed", "off", "expired"]


class Switch(msgspec.Struct, frozen=True):
    """One activation put on, moved or taken off by one commit, and the `reason` for doing so (empty: none was given)."""

    what: What
    revision: int
    at: datetime
    by: str
    key: str
    profile: str
    scope: FullScope
    reason: str
    incident: str | None
    activated_at: datetime
    expires_at: datetime
    message: str


class Effect(msgspec.Struct, frozen=True):
    """One part of a policy that becomes different, in words; empty = nothing is said about it."""

    what: str
    now: str
    then: str


class TouchedClass(msgspec.Struct, frozen=True):
    """A request class as `cohort` (empty = a request of anyone) would find it.

    Where splits decide there is a row for each outcome that changes: `share` of the requests have it now (0 to 1; half a
    basis point at the least is told apart). `anonymous` rows are what requests without a unit to split by get.
    """

    request_class: str
    cohort: str
    effects: tuple[Effect, ...]
    share: float = 1.0
    anonymous: bool = False


class TouchedFlag(msgspec.Struct, frozen=True):
    """A flag that would serve its safe variant, and what it serves now to nobody in particular."""

    flag: str
    now: str
    then: str


class Reach(msgspec.Struct, frozen=True):
    """How much of what runs now is touched: requests a minute, and live instances of services in the scope. 0 of 0: no
    instance reports any.

    Requests are weighed by the shares of splits and, for a scope of services, by those services' share of the live
    instances (`by_instances`), because requests are counted by class and not by service. With `at_most` the scope also
    has cohorts, and how many requests come from them is not counted. `to_people_per_min` and `turned_away_per_min` are
    the requests that would go to people, and be shed or stopped, in addition to those that do now.
    """

    requests_per_min: float = 0.0
    of_requests_per_min: float = 0.0
    to_people_per_min: float = 0.0
    turned_away_per_min: float = 0.0
    by_instances: bool = False
    at_most: bool = False
    instances: int = 0
    of_instances: int = 0


class BlastRadius(msgspec.Struct, frozen=True):
    """`untouched` request classes lie outside the scope, or are as tight already; `unknown` cohorts have no
    member that we could make up. Of the flags that change `flags` lists the first, and `flags_touched` counts all."""

    revision: int
    profile: str
    scope: FullScope
    request_classes: tuple[TouchedClass, ...]
    flags: tuple[TouchedFlag, ...]
    untouched: tuple[str, ...]
    unknown: tuple[str, ...]
    flags_touched: int = 0
    reach: Reach = Reach()
    warnings: tuple[str, ...] = ()
    """Names that match nothing."""


def share_words(share: float) -> str:
    """`99.99 % of requests`."""
    return f"{share * 100:.4g} % of requests"


def reach_notes(reach: Reach) -> tuple[str, ...]:
    """What the number of requests rests on, where it is no plain count."""
    notes = []
    if reach.of_requests_per_min and reach.by_instances:
        notes.append("Requests are estimated by the services' share of the live instances.")
    if reach.of_requests_per_min and reach.at_most:
        notes.append("Requests of these cohorts are not counted apart: the numbers are at most.")
    return tuple(notes)


def in_scope(scope: Scope, service: str) -> bool:
    from brownout.evaluation.safemode import normal

    """Whether an activation may touch what this service does; its classes and cohorts are not known from here."""
    return not scope.services or normal(service) in map(normal, scope.services)


def describe_scope(scope: Scope) -> str:
    """`everything`, or `cohorts beta; request classes support-reply`."""
    parts: Mapping[str, tuple[str, ...]] = {
        "services": scope.services,
        "request classes": scope.request_classes,
        "cohorts": scope.cohorts,
        "providers": scope.providers,
    }
    said = "; ".join(f"{name} {', '.join(values)}" for name, values in parts.items() if values)
    return said or "everything"
