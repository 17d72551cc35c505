"""What health consists of."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

Reasons = Mapping[str, str]
"""By check: what is wrong, in a sentence without secrets; empty while nothing is."""

Probe = Callable[[], Awaitable[Reasons]]
"""Raises UnavailableError when nothing can be found out now: then the last answer stands."""


class Check(msgspec.Struct, frozen=True):
    """One part of the control plane, as this replica sees it. `since`: when its state last changed."""

    name: str
    state: Literal["ok", "failing"]
    reason: str
    since: datetime

    @property
    def failing(self) -> bool:
        return self.state == "failing"

    @property
    def environment(self) -> str:
        """The environment that it is about; empty when it is about all of them."""
        return self.name.partition(" ")[2]
