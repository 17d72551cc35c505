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
    """One activation and how long it has left. `overdue`: a `hold` past its end, which applies until lifted."""

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

    @property
    def applies(self) -> bool:
        return self.left_s > 0 or self.overdue

    @classmethod
    def of(cls, key: str, spec: SafeModeActivation, now: datetime) -> "ActiveActivation":
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
    """A request class as `cohort` (empty = a request of nobody in particular) would find it."""

    request_class: str
    cohort: str
    effects: tuple[Effect, ...]


class TouchedFlag(msgspec.Struct, frozen=True):
    """A flag that would serve its safe variant, and what it serves now to nobody in particular."""

    flag: str
    now: str
    then: str


class Reach(msgspec.Struct, frozen=True):
    """How much of what runs now is touched: requests a minute of the touched classes, and live instances of services
    in the scope. 0 of 0: nobody reports any."""

    requests_per_min: float = 0.0
    of_requests_per_min: float = 0.0
    instances: int = 0
    of_instances: int = 0


class BlastRadius(msgspec.Struct, frozen=True):
    """`untouched` request classes lie outside the scope, or are as tight already; `unknown` cohorts have no
    member that we could make up."""

    revision: int
    profile: str
    scope: FullScope
    request_classes: tuple[TouchedClass, ...]
    flags: tuple[TouchedFlag, ...]
    untouched: tuple[str, ...]
    unknown: tuple[str, ...]
    reach: Reach = Reach()


def in_scope(scope: Scope, service: str) -> bool:
    """Whether an activation may touch what this service does; its classes and cohorts are not known from here."""
    return not scope.services or service in scope.services


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
