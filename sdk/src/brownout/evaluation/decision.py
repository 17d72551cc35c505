"""What an evaluation answers. Reasons and error codes are OpenFeature's own."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import msgspec

from brownout.evaluation.counts import WITHOUT_UNIT, Counts, FlagCount, add
from brownout.model.frozen import FrozenDict

if TYPE_CHECKING:
    from brownout.model.resources import FlagValue

T = TypeVar("T")

Metadata: TypeAlias = Mapping[str, bool | int | float | str]


class Reason(StrEnum):
    """Why a flag has its value, in OpenFeature's words."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why a decision is the caller's default, in OpenFeature's words."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


NO_METADATA: Metadata = FrozenDict()


class Decision(msgspec.Struct, Generic[T], frozen=True):
    """One evaluated flag. With an `error_code`, `value` is the caller's default and `variant` is None.

    `metadata` may hold `safe_mode` (the key of the activation that chose the variant or changed its value), `tightened`
    (True: the value is the variant's without what safe mode excludes and within its limits), `excluded` (True: safe mode
    left nothing of it, so the caller's default is served) and `unit_missing` (True: the context lacks what the split
    hashes, so the split's fallback was served).
    """

    flag: str
    value: T
    variant: str | None = None
    reason: Reason = Reason.ERROR
    rule: str | None = None
    revision: int = 0
    error_code: ErrorCode | None = None
    metadata: Metadata = NO_METADATA


class Missing:
    """The value of an outcome that has none: the caller's default takes its place."""

    __slots__ = ()


MISSING = Missing()


class Validity:
    """How long a compiled thing told the truth: until the commit `retired`, or still (None)."""

    __slots__ = ("retired",)

    def __init__(self) -> None:
        self.retired: int | None = None

    def revision(self, current: int) -> int:
        """The revision to put on an answer, given the environment's revision read after it was found."""
        return current if self.retired is None else min(current, self.retired - 1)


class Outcome:
    """One way in which a flag can turn out, made once when the flag is compiled.

    `count` is how often it was answered. Callers add to it in one statement; CPython with the GIL switches
    threads only at calls and backward jumps, so no increment is lost (docs/adr/0011). `decision` is the last
    Decision made for it; it is made again when the environment's revision has moved on.
    """

    __slots__ = (
        "count",
        "decision",
        "error",
        "flag",
        "metadata",
        "reason",
        "reported",
        "rule",
        "validity",
        "value",
        "variant",
    )

    def __init__(
        self,
        flag: str,
        value: "FlagValue | Missing" = MISSING,
        variant: str | None = None,
        reason: Reason = Reason.ERROR,
        rule: str | None = None,
        *,
        error: ErrorCode | None = None,
        metadata: Metadata = NO_METADATA,
        validity: Validity,
    ) -> None:
        self.flag = flag
        self.value = value
        self.variant = variant
        self.reason = reason
        self.rule = rule
        self.error = error
        self.metadata = metadata
        self.validity = validity
        self.count = 0
        self.reported = 0
        self.decision = NEVER

    def decide(self, revision: int) -> "Decision[FlagValue]":
        """The decision at `revision`, the environment's as read after this outcome was found.

        Only for an outcome without an error: an error's value is the caller's.
        """
        decision = self.decision
        if decision.revision == revision:
            return decision
        at = self.validity.revision(revision)
        assert not isinstance(self.value, Missing)
        decision = Decision(self.flag, self.value, self.variant, self.reason, self.rule, at, None, self.metadata)
        self.decision = decision
        return decision

    def fail(self, flag: str, default: T, revision: int) -> Decision[T]:
        """The decision that gives the caller's default back, with the reason why."""
        return Decision(flag, default, None, Reason.ERROR, None, revision, self.error, self.metadata)

    def count_into(self, counts: Counts, besides: int = 0) -> None:
        """Adds how often it was answered since this was asked last, and `besides` as part of policies."""
        fresh = self.count - self.reported
        self.reported += fresh
        reason = WITHOUT_UNIT if self.metadata.get("unit_missing") else self.reason.value
        add(counts.flags, FlagCount(self.flag, self.variant, reason), fresh + besides)


NEVER: "Decision[FlagValue]" = Decision("", None, revision=-2)
"""Of no revision, not even that of a client which holds nothing yet (-1)."""
