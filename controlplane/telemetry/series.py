"""How counters become rollup rows: kinds, steps, and the names of series.

A series' name is its labels joined by U+001F, most significant first, so a prefix selects a request class or a flag.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from zlib import crc32

import msgspec

from brownout.wire.telemetry import (
    LARGEST_SUM,
    ArmTotals,
    CustomKey,
    CustomTotals,
    EvaluationKey,
    RequestKey,
    RequestTotals,
)
from controlplane.telemetry import tables
from controlplane.telemetry.fold import Counted
from controlplane.telemetry.tables import RollupKey

Kind = Literal["request", "policy", "custom", "arm", "evaluation"]

RECENT_S, FINE_S, COARSE_S = tables.RECENT_S, 60, 900
"""Rollups are kept in steps: ten seconds of requests for the last days, where detection and backtests look; minutes for
the last hours of a chart, quarters of an hour for the rest."""

SHARDS = 16
"""Evaluations of many flags share a row: counting them must not cost a row write a flag."""

SEPARATOR = "\x1f"

_ENCODER = msgspec.msgpack.Encoder()
_EVALUATIONS = msgspec.msgpack.Decoder(dict[EvaluationKey, int])
_COUNT = msgspec.msgpack.Decoder(int)
_REQUEST = msgspec.msgpack.Decoder(RequestTotals)
_CUSTOM = msgspec.msgpack.Decoder(CustomTotals)
_ARM = msgspec.msgpack.Decoder(ArmTotals)


def name(labels: Iterable[str]) -> str:
    """Postgres text takes no NUL, and a label must not pretend to be two. Optional labels that are empty at the end are
    left out: a name stays what older versions write."""
    said = [label.replace("\0", "").replace(SEPARATOR, " ") for label in labels]
    for _ in getattr(labels, "_field_defaults", ()):
        if said[-1]:
            break
        said.pop()
    return SEPARATOR.join(said)


def request_key(series: str) -> RequestKey:
    return RequestKey(*series.split(SEPARATOR))


def custom_key(series: str) -> CustomKey:
    return CustomKey(*series.split(SEPARATOR))


class ArmSeries(NamedTuple):
    """Evidence of a rollout is kept of all SDK keys together, as `key` "", and of each: none of them may decide alone (ADR
    0075)."""

    rule: str
    variant: str
    key: str


def arm_series(series: str) -> ArmSeries:
    return ArmSeries(*series.split(SEPARATOR))


def shard(flag: str) -> str:
    return f"{crc32(flag.encode()) % SHARDS:02d}"


decode_evaluations = _EVALUATIONS.decode
decode_count = _COUNT.decode
decode_request = _REQUEST.decode
decode_custom = _CUSTOM.decode
decode_arm = _ARM.decode
decode_arms = msgspec.msgpack.Decoder(dict[str, ArmTotals]).decode
encode = _ENCODER.encode


def floor(instant: datetime, step_s: int) -> datetime:
    return datetime.fromtimestamp(instant.timestamp() // step_s * step_s, UTC)


def merge(counted: Counted, present: Mapping[RollupKey, bytes], now: datetime) -> dict[RollupKey, bytes]:
    """The rows after folding in what was `counted`, given those of `keys` that exist."""
    rows: dict[RollupKey, bytes] = {}
    for row, value in _values(counted, now):
        before = present.get(row)
        rows[row] = _ENCODER.encode(_sum(row.kind, before, value) if before is not None else value)
    return rows


def keys(counted: Counted, now: datetime) -> list[RollupKey]:
    """The rows that folding `counted` touches."""
    return [row for row, _ in _values(counted, now)]


def _sum(kind: str, before: bytes, value: object) -> object:
    if isinstance(value, RequestTotals):
        return decode_request(before).plus(value)
    if isinstance(value, CustomTotals):
        return decode_custom(before).plus(value)
    if isinstance(value, ArmTotals):
        return decode_arm(before).plus(value)
    if isinstance(value, dict):
        merged = decode_evaluations(before)
        for key, n in value.items():
            merged[key] = min(LARGEST_SUM, merged.get(key, 0) + n)
        return merged
    if isinstance(value, int):
        return min(LARGEST_SUM, decode_count(before) + value)
    raise TypeError(kind)


def _values(counted: Counted, now: datetime) -> Iterable[tuple[RollupKey, object]]:
    recent, fine, coarse = floor(now, RECENT_S), floor(now, FINE_S), floor(now, COARSE_S)
    for key, requests in counted.requests.items():
        yield RollupKey("request", RECENT_S, recent, name(key)), requests
    both: list[tuple[Kind, Mapping[Any, object]]] = [
        ("request", counted.requests),
        ("policy", counted.policies),
        ("custom", counted.custom),
    ]
    for kind, series in both:
        for labels, totals in series.items():
            yield RollupKey(kind, FINE_S, fine, name(labels)), totals
            yield RollupKey(kind, COARSE_S, coarse, name(labels)), totals
    for arm, totals in counted.arms.items():
        yield RollupKey("arm", FINE_S, fine, name(arm)), totals
    shards: dict[str, dict[EvaluationKey, int]] = {}
    for evaluation, n in counted.evaluations.items():
        shards.setdefault(shard(evaluation.flag), {})[evaluation] = n
    for number, evaluations in shards.items():
        yield RollupKey("evaluation", COARSE_S, coarse, number), evaluations
