"""What was refused, by SDK key and reason: in the log once an instance, in metrics, and on the fleet page for a day."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

import structlog

from controlplane.telemetry.boundary import RefusedError, Speaker

log = structlog.get_logger(__name__)

MAX_NAMED = 10
"""Instances that the log names of one key and reason: their names are self-chosen."""


class Refusal(NamedTuple):
    """`messages` refused since the last time this was taken; `instance` is the last of them."""

    environment: str
    key: str
    reason: str
    messages: int
    instance: str
    at: datetime


class Refusals:
    """`total` is by environment and reason, since this process started."""

    def __init__(self) -> None:
        self.total: Counter[tuple[str, str]] = Counter()
        self._fresh: dict[tuple[str, str, str], Refusal] = {}
        self._named: dict[tuple[str, str, str], set[str]] = {}

    def note(self, speaker: Speaker, error: RefusedError, at: datetime) -> None:
        place = (speaker.environment, speaker.key, error.reason)
        self.total[speaker.environment, error.reason] += 1
        known = self._fresh.get(place)
        self._fresh[place] = Refusal(*place, (known.messages if known else 0) + 1, speaker.instance, at)
        named = self._named.setdefault(place, set())
        if speaker.instance not in named and len(named) < MAX_NAMED:
            named.add(speaker.instance)
            log.warning("telemetry_refused", **speaker._asdict(), reason=error.reason, detail=str(error))

    def take(self) -> list[Refusal]:
        taken = list(self._fresh.values())
        self._fresh.clear()
        return taken

    def put_back(self, refusals: list[Refusal]) -> None:
        """What could not be written down."""
        for one in refusals:
            place = (one.environment, one.key, one.reason)
            known = self._fresh.get(place)
            self._fresh[place] = known._replace(messages=known.messages + one.messages) if known else one
