"""Which series a key may use today: those beyond its quota are counted under `(other)` (ADR 0075)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from brownout.telemetry_wire import OTHER, CustomKey, EvaluationKey, RequestKey
from controlplane.database import WriteConnection
from controlplane.telemetry import series, tables
from controlplane.telemetry.fold import Counted
from controlplane.telemetry.quotas import ARM_SERIES, Quotas

Kind = Literal["series", "evaluation", "arm"]
Names = dict[Kind, dict[int, None]]


class Place(NamedTuple):
    environment: str
    key: str


class Admission:
    """Remembers what was admitted today, so that a series costs the database one row a day and key."""

    def __init__(self, quotas: Quotas) -> None:
        self._limits: dict[Kind, int] = {
            "series": quotas.series, "evaluation": quotas.evaluations, "arm": ARM_SERIES,
        }  # fmt: skip
        self._day = date.min
        self._admitted: dict[tuple[Place, Kind], set[int]] = {}

    async def admit(self, connection: WriteConnection, place: Place, names: Names, day: date) -> dict[Kind, set[int]]:
        """Of each kind, at least those of `names` that may be used. In a transaction that holds the fold's lock."""
        found: dict[Kind, set[int]] = {}
        for kind, wanted in names.items():
            known = self._admitted.get((place, kind), set()) if day == self._day else set()
            if not wanted.keys() <= known:
                known = await tables.admit_series(
                    connection, *place, kind, day=day, wanted=list(wanted), limit=self._limits[kind]
                )
            found[kind] = known
        return found

    def committed(self, place: Place, admitted: Mapping[Kind, set[int]], day: date) -> None:
        if day != self._day:
            self._day, self._admitted = day, {}
        for kind, known in admitted.items():
            self._admitted[place, kind] = known


def names(counted: Counted) -> Names:
    """What `counted` uses, hashed, in the order in which it was counted first."""
    return {
        "series": dict.fromkeys(
            [_hash("request", key) for key in counted.requests]
            + [_hash("policy", key) for key in counted.policies]
            + [_hash("custom", key) for key in counted.custom]
        ),
        "evaluation": dict.fromkeys(_hash("evaluation", key) for key in counted.evaluations),
        "arm": dict.fromkeys(_hash("arm", key) for key in counted.arms),
    }


def limited(counted: Counted, admitted: Mapping[Kind, set[int]]) -> Counted:
    """`counted` without the series that were not admitted: they are under `(other)`, and counted as dropped."""
    used = admitted["series"]
    kept = Counted(dropped=counted.dropped)
    parts: list[tuple[str, Mapping[Any, Any], Any, Any, set[int], Callable[[Any, Any], Any]]] = [
        ("request", counted.requests, kept.requests, RequestKey(OTHER, "", "", ""), used, _plus),
        ("policy", counted.policies, kept.policies, RequestKey(OTHER, "", "", ""), used, int.__add__),
        ("custom", counted.custom, kept.custom, CustomKey(OTHER, ""), used, _plus),
        ("evaluation", counted.evaluations, kept.evaluations, EvaluationKey(OTHER, "", ""), admitted["evaluation"],
         int.__add__),
    ]  # fmt: skip
    for kind, found, into, other, allowed, add in parts:
        for key, value in found.items():
            name = key if key == other or _hash(kind, key) in allowed else other
            kept.dropped += name != key
            into[name] = add(into[name], value) if name in into else value
    for arm, totals in counted.arms.items():
        if _hash("arm", arm) in admitted["arm"]:
            kept.arms[arm] = totals
            kept.bad_units[arm] = counted.bad_units[arm]
            kept.sample[arm] = counted.sample[arm]
        else:
            kept.dropped += 1
    return kept


def _plus(a: Any, b: Any) -> Any:
    return a.plus(b)


def _hash(kind: str, labels: Iterable[str]) -> int:
    digest = hashlib.blake2b(f"{kind}{series.SEPARATOR}{series.name(labels)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
