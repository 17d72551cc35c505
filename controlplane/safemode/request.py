"""What somebody asks safe mode for, checked before anything is written. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from brownout.model.resources import SafeModeActivation, Scope
from brownout.model.values import Name
from controlplane.errors import Fault, InvalidInputError

MIN_DURATION = timedelta(seconds=5)
MAX_REASON = 2_000
MAX_EXCLUDED = 50
_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?", re.ASCII)


class ActivationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which profile, where, why and until when: exactly one of `expires_at` and `for_s`. An empty scope list = all.

    `exclude_providers` instead of a profile: the profile that excludes them is made on the way.
    """

    profile: str = ""
    reason: str = ""
    scope: Scope = Scope()
    expires_at: datetime | None = None
    for_s: int | None = None
    incident: str | None = None
    on_expiry: Literal["lift", "hold"] = "lift"
    exclude_providers: tuple[Name, ...] = ()


class ExtensionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new end: exactly one of `expires_at` and `for_s` (counted from now)."""

    expires_at: datetime | None = None
    for_s: int | None = None
    reason: str = ""


class LiftRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str = ""


def activation(request: ActivationRequest, actor: str, now: datetime, longest: timedelta) -> SafeModeActivation:
    """The resource to write.

    Raises:
        InvalidInputError: with every fault; pointers point into the request.
    """
    faults: list[Fault] = []
    faults += profile_faults(request)
    if not request.reason.strip():
        faults.append(Fault("required", "safe mode needs a reason: the next person will want to know", "/reason"))
    faults += reason_faults(request.reason)
    end, wrong = expiry(request.expires_at, request.for_s, now, longest)
    faults += wrong
    refuse(faults)
    return SafeModeActivation(
        profile=request.profile,
        reason=request.reason.strip(),
        actor=actor,
        activated_at=now,
        expires_at=end,
        scope=request.scope,
        incident=request.incident or None,
        on_expiry=request.on_expiry,
    )


def profile_faults(request: ActivationRequest) -> tuple[Fault, ...]:
    """What is wrong with what safe mode is to do: one profile, or the providers to exclude."""
    if not request.profile and not request.exclude_providers:
        return (Fault("required", "name a profile, or a provider to exclude", "/profile"),)
    if request.profile and request.exclude_providers:
        message = "name a profile or providers to exclude, not both"
        return (Fault("invalid_value", message, "/exclude_providers"),)
    if len(request.exclude_providers) > MAX_EXCLUDED:
        return (Fault("too_long", f"more than {MAX_EXCLUDED} providers: exclude * instead", "/exclude_providers"),)
    if not all(map(str.strip, request.exclude_providers)):
        return (Fault("invalid_value", "a provider's name is empty", "/exclude_providers"),)
    return ()


def refuse(faults: Sequence[Fault]) -> None:
    """Raises InvalidInputError when there are any."""
    if faults:
        raise InvalidInputError("; ".join(fault.message for fault in faults), tuple(faults))


def reason_faults(reason: str) -> tuple[Fault, ...]:
    if len(reason) > MAX_REASON:
        return (Fault("too_long", f"the reason is longer than {MAX_REASON} characters", "/reason"),)
    return (Fault("invalid_value", "the reason holds a NUL character", "/reason"),) if "\0" in reason else ()


def expiry(
    expires_at: datetime | None, for_s: int | None, now: datetime, longest: timedelta
) -> tuple[datetime, tuple[Fault, ...]]:
    """The instant asked for, and what is wrong with it."""
    if (expires_at is None) == (for_s is None):
        what = "safe mode needs an end" if expires_at is None else "say when it ends once"
        return now, (Fault("required", f"{what}: for how long (--for, for_s), or expires_at", "/expires_at"),)
    if for_s is not None:
        if not MIN_DURATION.total_seconds() <= for_s <= longest.total_seconds():
            return now, (_out_of_range("/for_s", longest),)
        return now + timedelta(seconds=for_s), ()
    assert expires_at is not None
    if expires_at.tzinfo is None:
        return now, (Fault("invalid_value", "say the time zone: 2030-01-31T12:00:00Z", "/expires_at"),)
    end = expires_at.astimezone(UTC)
    if end <= now:
        return now, (Fault("expired", "the expiry is in the past", "/expires_at"),)
    if not MIN_DURATION <= end - now <= longest:
        return now, (_out_of_range("/expires_at", longest),)
    return end, ()


def parse_duration(text: str) -> int:
    """Seconds in `90s`, `30m`, `2h`, `1d`, `1h30m`.

    Raises:
        InvalidInputError: it is none of these.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if not text.strip() or not found:
        fault = Fault("invalid_value", f"{text!r} is no duration: 90s, 30m, 2h, 1d or 1h30m", "/for_s")
        raise InvalidInputError(fault.message, (fault,))
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _out_of_range(pointer: str, longest: timedelta) -> Fault:
    hours = int(longest.total_seconds() // 3600)
    shortest = int(MIN_DURATION.total_seconds())
    return Fault("invalid_value", f"safe mode lasts from {shortest} s to {hours} h at a time; extend it later", pointer)
