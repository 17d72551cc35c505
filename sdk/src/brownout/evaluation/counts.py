"""How often each answer was given, as telemetry asks for it."""

from typing import NamedTuple, TypeVar

import msgspec

WITHOUT_UNIT = "NO_UNIT"
"""Counted in place of the reason SPLIT: the request had no usable unit, so a split served its fallback."""


class FlagCount(NamedTuple):
    """`flag` is "" for keys that no flag has; `variant` is None for answers that were the caller's default. `reason` is a
    Reason or WITHOUT_UNIT."""

    flag: str
    variant: str | None
    reason: str


class PolicyCount(NamedTuple):
    """`target` is the model's name in its route, None when the policy had no model."""

    request_class: str
    target: str | None
    safe_mode: bool


Key = TypeVar("Key", FlagCount, PolicyCount)


class Counts(msgspec.Struct, frozen=True):
    flags: dict[FlagCount, int] = {}
    policies: dict[PolicyCount, int] = {}

    def move_to(self, other: "Counts") -> None:
        for flag, fresh in self.flags.items():
            add(other.flags, flag, fresh)
        for policy, fresh in self.policies.items():
            add(other.policies, policy, fresh)
        self.flags.clear()
        self.policies.clear()


def add(counts: dict[Key, int], key: Key, fresh: int) -> None:
    if fresh:
        counts[key] = counts.get(key, 0) + fresh
