"""Golden cases: what every evaluator of Brownout must answer, as JSON, and how to read them.

A file holds one environment and cases for it. A flag case asks `flag` (as `type`, when given) with `context` and
`default`, and expects exactly `decision` (absent: None; metadata: empty; revision: the environment's). A policy case
asks `request_class` and expects `policy`, whose fields are compared whole, one by one; those left out are not. `now`
is the SDK's clock, None for one that was never set; `service` the asking service. Vectors: see bucketing/vectors.json.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import FlagType, Instant, ResourceRef

FOLDER = Path(__file__).parent


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revision: int
    resources: dict[str, dict[str, Any]]


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    context: dict[str, Any]
    flag: str | None = None
    type: FlagType | None = None
    default: Any = None
    decision: dict[str, Any] = {}
    request_class: str | None = None
    policy: dict[str, Any] = {}
    now: Instant | None = None
    service: str = ""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    environment: Environment
    cases: list[Case]


class Vector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seed: str
    unit: str
    hash: int
    bucket: int


class Golden(NamedTuple):
    """A case, and the file (relative to this folder) that it stands in."""

    file: str
    case: Case

    def compiled(self) -> Compiled:
        """The case's environment, at its `now`."""
        environment = read(self.file).environment
        compiled = Compiled.load("conformance", environment.revision, resources(self.file))
        if self.case.now is not None:
            compiled.set_now(self.case.now)
        return compiled

    def __str__(self) -> str:
        return f"{self.file} - {self.case.name}"


@cache
def read(file: str) -> File:
    return msgspec.json.decode((FOLDER / file).read_bytes(), type=File)


@cache
def resources(file: str) -> dict[ResourceRef, bytes]:
    """The file's environment as it is stored and published."""
    return {
        ResourceRef(kind, key): encode(parse(kind, key, spec))
        for kind, specs in read(file).environment.resources.items()
        for key, spec in specs.items()
    }


def files() -> list[str]:
    """The files that hold cases."""
    found = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json"))
    return [file for file in found if not file.startswith(("bucketing/", "ladder/", "levels/"))]


def cases() -> Iterator[Golden]:
    for file in files():
        for case in read(file).cases:
            yield Golden(file, case)


def flag_cases() -> list[Golden]:
    return [golden for golden in cases() if golden.case.flag is not None]


def policy_cases() -> list[Golden]:
    return [golden for golden in cases() if golden.case.request_class is not None]


def vectors() -> list[Vector]:
    found = msgspec.json.decode((FOLDER / "bucketing/vectors.json").read_bytes())
    return msgspec.convert(found["vectors"], list[Vector])
