"""One cell of coverage: what answers one request class in one failure mode. Light: the command line reads it, too."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from brownout.model.operating import Pattern
from brownout.model.values import ErrorClass, RungType

NONE = ""
"""The profile of the normal state."""

Requirement = Pattern | Literal["other_provider"]
"""What a tier can ask of a request class."""

CellState = Literal["not_possible", "answered", "silent", "raw", "nothing", "too_many"]
GAPS = frozenset({"silent", "raw", "nothing", "too_many"})


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What answers one request class in one failure mode.

    `profile` is the safe-mode profile in force, empty for none. `rung` and `answer` say what answers: a model by its
    target, a template by its key, a person by the queue. `error` and `variants` are those of the worst case.
    """

    request_class: str
    mode: str
    profile: str = NONE
    state: CellState
    rung: RungType | None = None
    answer: str = ""
    error: ErrorClass | None = None
    variants: Mapping[str, str] = {}
    accepted: str = ""
    """Why the gap is acceptable; empty if no one has said so."""
    accepted_until: datetime | None = None

    @property
    def is_gap(self) -> bool:
        """Whether users get nothing, a failure as it is, or an answer without the notice that the mode asks for."""
        return self.state in GAPS and not self.accepted

    @property
    def place(self) -> tuple[str, str, str]:
        return self.request_class, self.mode, self.profile
