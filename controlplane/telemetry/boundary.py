"""Where bytes of an SDK become a message that the rest may trust, or a refusal with a reason (ADR 0075).

An SDK key is all that it takes to send here. Every number has a range, every text a length and a set of characters,
every map and list a size. A newer SDK may say more than we know: further fields, labels, measures and classes are
tolerated. Labels that do not fit are counted under `(other)`; a number that cannot be true refuses the message.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from brownout.model.measures import scale
from brownout.telemetry.counters import MAX_ATTRIBUTES
from brownout.telemetry.requests import ERROR_CLASSES, MAX_MODELS, MAX_RUNGS, RUNGS
from brownout.telemetry.sketch import FIRST, LAST
from brownout.telemetry.units import MAX_MEASURES, MAX_TOLD
from brownout.wire import UNREADABLE
from brownout.wire.telemetry import (
    MAX_LEVEL,
    OK,
    OTHER,
    PRIMARY,
    Arm,
    ArmKey,
    ArmTotals,
    AttemptKey,
    AttemptTotals,
    CustomKey,
    CustomTotals,
    EvaluationKey,
    RequestKey,
    RequestTotals,
    RungTotals,
    TelemetryMessage,
    UnitCounts,
    parse_rollout_rule,
)

Reason = Literal[
    "malformed", "too_large", "instance", "shrinks", "restarts", "instances", "bytes_per_minute", "not_stored"
]
"""Why a message was refused: no message of ours, larger than any, another's name, totals that went down, the quotas of
controlplane/telemetry/quotas.py, or what made its transaction fail."""

MAX_BYTES = 1024 * 1024
MAX_LABEL = 1_000
"""Characters of one label: a few names of a hundred, joined."""
MAX_EVALUATIONS, MAX_REQUESTS, MAX_CUSTOM, MAX_ARMS = 2_001, 201, 201, 64
"""Series of one message, each what an SDK keeps at most, with `(other)`."""
LARGEST_COUNT = 2**48
"""Of anything that one instance counts: 280 trillion tokens, and small enough that sums of them can be stored."""
LARGEST_INSTANT = 2**53
"""Unix ms, and every other number that JSON carries exactly."""

OUTCOMES = ERROR_CLASSES | {OK}

_Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
_Instant = Annotated[int, Meta(ge=0, le=LARGEST_INSTANT)]
_Number = Annotated[float, Meta(ge=-1e250, le=1e250)]
_Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
"""What a NATS subject carries of an instance."""
_Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Labels = tuple[str, ...]
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_Sketch = dict[Annotated[int, Meta(ge=FIRST, le=LAST)], _Count]


class RefusedError(Exception):
    """`reason` is for counting, the message for whoever looks for the cause."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason: Reason = reason


class Opening(msgspec.Struct, array_like=True, frozen=True):
    """The beginning of a telemetry message: all that has to be known to keep the newest."""

    version: _Count
    instance: _Name
    start: _Instant
    sequence: _Instant


class _Rung(msgspec.Struct, array_like=True):
    served: _Count = 0
    known: _Count = 0
    completed: _Count = 0
    escalated: _Count = 0
    abandoned: _Count = 0


class _Attempts(msgspec.Struct, array_like=True):
    outcomes: dict[str, _Count] = {}
    retries: _Count = 0
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    duration: _Sketch = {}


class _Requests(msgspec.Struct, array_like=True):
    requests: _Count = 0
    errors: dict[str, _Count] = {}
    fallbacks: dict[str, _Count] = {}
    refusals: _Count = 0
    format_checked: _Count = 0
    format_errors: _Count = 0
    escalations: _Count = 0
    completion_known: _Count = 0
    completions: _Count = 0
    retrievals: _Count = 0
    retrieval_misses: _Count = 0
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    duration: _Sketch = {}
    time_to_first_token: _Sketch = {}
    quality_n: _Count = 0
    quality_total: _Number = 0.0
    rungs: dict[str, _Rung] = {}
    attempts: dict[_Labels, _Attempts] = {}
    unanswered: _Count = 0
    provisional: _Count = 0
    shed: _Count = 0
    stopped: _Count = 0
    queued: _Count = 0
    abandoned: _Count = 0
    prompt: _Sketch = {}
    cache_age: _Sketch = {}


class _Custom(msgspec.Struct, array_like=True):
    n: _Count = 0
    total: _Number = 0.0
    values: _Sketch = {}


class _ArmTotals(msgspec.Struct, array_like=True):
    units: _Count = 0
    at_risk: dict[str, _Count] = {}
    bad: dict[str, _Count] = {}
    mean_n: dict[str, _Count] = {}
    mean_total: dict[str, _Number] = {}
    mean_squares: dict[str, _Number] = {}


class _Arm(msgspec.Struct, array_like=True):
    totals: _ArmTotals
    level: Annotated[int, Meta(ge=0, le=MAX_LEVEL)]
    measures: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=MAX_MEASURES)]
    units: list[UnitCounts]


class _Message(msgspec.Struct, array_like=True):
    version: _Count
    instance: _Name
    start: _Instant
    sequence: _Instant
    service: _Text
    sent_at: _Instant
    evaluations: dict[_Labels, _Count]
    policies: dict[_Labels, _Count]
    requests: dict[_Labels, _Requests]
    custom: dict[_Labels, _Custom]
    arms: dict[_Labels, _Arm]
    dropped: _Count


MAX_OUTSIDE = 8


class Outside(msgspec.Struct, frozen=True):
    """An activation that an instance applies and that is not in the log."""

    origin: Annotated[str, Meta(max_length=20, pattern=r"^[a-z_]*$")]
    key: _Text
    profile: _Text
    reason: Annotated[str, Meta(max_length=500)] = ""


class Present(msgspec.Struct, frozen=True):
    """The fields of wire.Presence that are read a thousand times a second."""

    service: _Text
    sdk_version: _Text
    ep: _Instant
    rev: Annotated[int, Meta(ge=-1, le=LARGEST_INSTANT)]
    """-1 while the instance holds nothing."""
    state: Annotated[str, Meta(max_length=40, pattern=r"^[A-Z_a-z]*$")]
    age_s: Annotated[float, Meta(ge=0, le=1e12)]
    ts: _Instant
    applied_at: _Instant = 0
    closing: bool = False
    clock_skew_ms: Annotated[int, Meta(ge=-(2**53), le=2**53)] = 0
    schema_level: Annotated[int, Meta(ge=1, le=32_767)] = 1
    outside: Annotated[tuple[Outside, ...], Meta(max_length=MAX_OUTSIDE)] = ()


_opening = msgspec.msgpack.Decoder(Opening).decode
_message = msgspec.msgpack.Decoder(_Message).decode
_presence = msgspec.json.Decoder(Present).decode
T = TypeVar("T")
Key = TypeVar("Key", EvaluationKey, RequestKey, CustomKey, ArmKey)


class Speaker(NamedTuple):
    """Who spoke, as the subject says it: NATS vouches for environment and key, not for the instance's name."""

    environment: str
    key: str
    instance: str

    @classmethod
    def of(cls, subject: str) -> "Speaker":
        """Raises RefusedError for another kind of subject."""
        parts = subject.split(".")
        if len(parts) != 5:
            raise RefusedError("malformed", "not a subject of an instance")
        return cls(*parts[1:4])


def read_opening(data: bytes, speaker: Speaker) -> Opening:
    """Cheap, whatever `data` is. Raises RefusedError."""
    if len(data) > MAX_BYTES:
        raise RefusedError("too_large", f"{len(data)} bytes, {MAX_BYTES} at most")
    found: Opening = _decoded(_opening, data)
    if found.instance != speaker.instance:
        raise RefusedError("instance", "the message names another instance than its subject")
    return found


def read_presence(data: bytes) -> Present:
    """Raises RefusedError."""
    if len(data) > MAX_BYTES:
        raise RefusedError("too_large", f"{len(data)} bytes, {MAX_BYTES} at most")
    found: Present = _decoded(_presence, data)
    return found


def read_message(data: bytes) -> TelemetryMessage:
    """Raises RefusedError, and nothing else, whatever `data` is."""
    said: _Message = _decoded(_message, data)
    clipped = _Clipped()
    return TelemetryMessage(
        said.version,
        said.instance,
        said.start,
        said.sequence,
        said.service,
        said.sent_at,
        clipped.series(said.evaluations, EvaluationKey, MAX_EVALUATIONS, _plain),
        clipped.series(said.policies, RequestKey, MAX_REQUESTS, _plain),
        clipped.series(said.requests, RequestKey, MAX_REQUESTS, _requests),
        clipped.series(said.custom, CustomKey, MAX_CUSTOM, _custom),
        _arms(said.arms),
        said.dropped + clipped.count,
    )


def _decoded(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except (*UNREADABLE, OverflowError, MemoryError) as error:
        raise RefusedError("malformed", str(error)[:200]) from None


class _Clipped:
    """Puts what does not fit under `(other)`. `count` is of series, so it only grows from message to message."""

    def __init__(self) -> None:
        self.count = 0

    def series(self, said: Mapping[_Labels, Any], key: type[Key], limit: int, convert: Any) -> dict[Key, Any]:
        found: dict[Key, Any] = {}
        size, needed = len(key._fields), len(key._fields) - len(key._field_defaults)
        other = key(OTHER, *[""] * (size - 1))
        for labels, value in said.items():
            name = key(*labels[:size]) if len(labels) >= needed and fits(labels[:size]) else other
            if key is CustomKey and name[1].count(",") >= MAX_ATTRIBUTES:
                name = other
            if name not in found and len(found) >= limit:
                name = other
            self.count += name == other and labels[:needed] != other[:needed]
            present, new = found.get(name), convert(value)
            found[name] = new if present is None else _sum(present, new)
        return found


def fits(labels: Iterable[str]) -> bool:
    """Whether Postgres, a metric and a page can show these."""
    return all(len(label) <= MAX_LABEL and not _UNFIT.search(label) for label in labels)


def _sum(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, int) else a.plus(b)


def _plain(n: int) -> int:
    return n


def _requests(said: _Requests) -> RequestTotals:
    fields = [getattr(said, name) for name in said.__struct_fields__]
    totals = RequestTotals(*fields)
    totals.errors = _named(said.errors, ERROR_CLASSES)
    totals.fallbacks = _named(said.fallbacks, RUNGS)
    totals.rungs = _gathered(said.rungs, _rung_name, OTHER, MAX_RUNGS, _rung)
    totals.attempts = _gathered(said.attempts, _attempt_key, AttemptKey(OTHER, ""), MAX_MODELS, _attempts)
    return totals


def _gathered(said: Mapping[Any, Any], name: Any, other: Any, limit: int, convert: Any) -> dict[Any, Any]:
    """Under the names that fit, and `limit` of them at most; the rest together under `other`."""
    found: dict[Any, Any] = {}
    for key, value in said.items():
        place = name(key) or other
        if place not in found and len(found) >= limit:
            place = other
        known = found.get(place)
        found[place] = known.plus(convert(value)) if known else convert(value)
    return found


def _rung_name(said: str) -> str | None:
    rung, _, _ = said.partition(":")
    return said if (rung in RUNGS or rung == PRIMARY) and fits((said,)) else None


def _attempt_key(said: _Labels) -> AttemptKey | None:
    return AttemptKey(*said[:2]) if len(said) >= 2 and fits(said[:2]) else None


def _rung(said: _Rung) -> RungTotals:
    return RungTotals(*[getattr(said, name) for name in said.__struct_fields__])


def _attempts(said: _Attempts) -> AttemptTotals:
    return AttemptTotals(
        _named(said.outcomes, OUTCOMES), said.retries, said.input_tokens, said.output_tokens, said.duration
    )


def _named(said: Mapping[str, int], known: frozenset[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, n in said.items():
        place = name if name in known else OTHER
        found[place] = found.get(place, 0) + n
    return found


def _custom(said: _Custom) -> CustomTotals:
    return CustomTotals(said.n, said.total, said.values)


def _arms(said: Mapping[_Labels, _Arm]) -> dict[ArmKey, Arm]:
    """Those of rollouts' rules: any other means nothing to anybody."""
    found: dict[ArmKey, Arm] = {}
    for labels, arm in said.items():
        if len(labels) < 2 or not fits(labels[:2]) or parse_rollout_rule(labels[0]) is None:
            continue
        if len(found) < MAX_ARMS:
            found[ArmKey(*labels[:2])] = _arm(arm)
    return found


def _arm(said: _Arm) -> Arm:
    """Measures that we do not know are a newer SDK's. They count as `(other)`, which no rollout compares."""
    totals = ArmTotals(said.totals.units, *(_known(getattr(said.totals, name)) for name in _MAPS))
    measures = [measure if scale(measure) is not None else OTHER for measure in said.measures]
    return Arm(totals, said.level, measures, said.units[:MAX_TOLD])


_MAPS = ("at_risk", "bad", "mean_n", "mean_total", "mean_squares")


def _known(said: dict[str, T]) -> dict[str, T]:
    return {measure: n for measure, n in said.items() if scale(measure) is not None}
