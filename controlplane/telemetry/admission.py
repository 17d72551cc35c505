"""Which series a key may use today: those beyond its quota are counted under `(other)` (ADR 0075)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from brownout.wire.telemetry import OTHER, CustomKey, EvaluationKey, RequestKey
from controlplane.kit.database import WriteConnection
from controlplane.telemetry import series, tables
from controlplane.telemetry.fold import Counted
from controlplane.telemetry.quotas import ARM_SERIES, Quotas

Kind = Literal["series", "evaluation", "arm"]
Names = dict[Kind, dict[tuple[str, Any], int]]
"""The hash of each series by what it counts and its labels, in the order in which it was counted first."""


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
        for kind, hashes in names.items():
            known = self._admitted.get((place, kind), set()) if day == self._day else set()
            if not known.issuperset(hashes.values()):
                known = await tables.admit_series(
                    connection, *place, kind, day=day, wanted=list(dict.fromkeys(hashes.values())),
                    limit=self._limits[kind],
                )  # fmt: skip
            found[kind] = known
        return found

    def committed(self, place: Place, admitted: Mapping[Kind, set[int]], day: date) -> None:
        if day != self._day:
            self._day, self._admitted = day, {}
        for kind, known in admitted.items():
            self._admitted[place, kind] = known


def names(counted: Counted) -> Names:
    """What `counted` uses."""
    series_: list[tuple[str, Mapping[Any, Any]]] = [
        ("request", counted.requests), ("policy", counted.policies), ("custom", counted.custom),
    ]  # fmt: skip
    return {
        "series": {(kind, key): _hash(kind, key) for kind, found in series_ for key in found},
        "evaluation": {("evaluation", key): _hash("evaluation", key) for key in counted.evaluations},
        "arm": {("arm", key): _hash("arm", key) for key in counted.units},
    }


def limited(counted: Counted, used: Names, admitted: Mapping[Kind, set[int]]) -> Counted:
    """`counted`, which uses `used`, without the series that were not admitted: they are under `(other)`, and dropped."""
    kept = Counted(dropped=counted.dropped)
    requests, evaluation, custom = RequestKey(OTHER, "", "", ""), EvaluationKey(OTHER, "", ""), CustomKey(OTHER, "")
    parts: list[tuple[Kind, str, Mapping[Any, Any], Any, Any, Callable[[Any, Any], Any]]] = [
        ("series", "request", counted.requests, kept.requests, requests, _plus),
        ("series", "policy", counted.policies, kept.policies, requests, int.__add__),
        ("series", "custom", counted.custom, kept.custom, custom, _plus),
        ("evaluation", "evaluation", counted.evaluations, kept.evaluations, evaluation, int.__add__),
    ]
    for kind, what, found, into, other, add in parts:
        hashes, allowed = used[kind], admitted[kind]
        for key, value in found.items():
            name = key if hashes[what, key] in allowed or key == other else other
            kept.dropped += name != key
            into[name] = add(into[name], value) if name in into else value
    kept.levels = counted.levels
    for arm, units in counted.units.items():
        if used["arm"]["arm", arm] in admitted["arm"]:
            kept.units[arm] = units
        else:
            kept.dropped += 1
    return kept


def _plus(a: Any, b: Any) -> Any:
    return a.plus(b)


def _hash(kind: str, labels: Iterable[str]) -> int:
    digest = hashlib.blake2b(f"{kind}{series.SEPARATOR}{series.name(labels)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
