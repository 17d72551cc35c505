"""The emergency activations that this replica knows, and what the fleet is told of them. Pure: it is told the time.

A record merges like an SDK's: `off` is final, the newest `on` counts, `settled` hands over to the log. So replicas that
heard different messages come to the same, in whatever order they hear them.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from brownout import wire
from brownout.model.resources import SafeModeActivation
from controlplane.access.actor import Actor
from controlplane.contract.activations import read_activation
from controlplane.emergency.book import Told
from controlplane.safemode.request import ActivationRequest

TELL_MS = 2 * wire.LONGEST_MS
"""How long after its last message the fleet is told of one that is over."""

MAX_CARRIED = 64
"""In an environment, at once. SDKs refuse more."""


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the commit will be made from: the request, and who made it."""

    request: ActivationRequest
    actor: Actor


def read_asked(message: wire.Emergency) -> Asked | None:
    """None when there is nothing that this version can read."""
    if isinstance(message.asked, msgspec.UnsetType):
        return None
    try:
        return msgspec.json.decode(bytes(message.asked), type=Asked)
    except wire.UNREADABLE:
        return None


class Said(NamedTuple):
    message: wire.Emergency
    told: Told


class Record:
    """One activation. `on` is the newest that was said, `first` the one that began it."""

    def __init__(self, environment: str, key: str) -> None:
        self.environment = environment
        self.key = key
        self.on: Said | None = None
        self.off: Said | None = None
        self.settled: Said | None = None

    @property
    def spec(self) -> SafeModeActivation:
        assert self.on is not None
        raw = self.on.message.spec
        return read_activation(None if isinstance(raw, msgspec.UnsetType) else bytes(raw))

    @property
    def ends_at(self) -> datetime:
        """When SDKs stop applying it: an hour after it was signed, or earlier at its own end. A `hold` outlasts its
        end."""
        assert self.on is not None
        longest = _instant(self.on.message.at + wire.LONGEST_MS)
        spec = self.spec
        return longest if spec.on_expiry == "hold" else min(spec.expires_at, longest)

    def asked(self) -> Asked | None:
        """None when what was asked cannot be read."""
        return None if self.on is None else read_asked(self.on.message)

    def newest(self) -> int:
        return max(said.message.at for said in self.said())

    def is_settled(self) -> bool:
        """Whether the log has everything that was said of it: nothing was signed after the hand-over."""
        said = max((each.message.at for each in (self.on, self.off) if each is not None), default=0)
        return self.settled is not None and said <= self.settled.message.at

    def said(self) -> Iterator[Said]:
        return (each for each in (self.on, self.off, self.settled) if each is not None)


class Carried:
    """Everything by environment and key. `version` moves with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._records: dict[tuple[str, str], Record] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def find(self, environment: str, key: str) -> Record | None:
        return self._records.get((environment, key))

    def take(self, said: Said) -> bool:
        """Returns whether it was news."""
        message, place = said.message, (said.told.environment, said.message.key)
        record = self._records.get(place) or Record(*place)
        if message.what == "off":
            news = record.off is None
            record.off = record.off or said
        elif message.what == "settled":
            news = record.settled is None or message.at > record.settled.message.at
            record.settled = said if news else record.settled
        else:
            news = record.on is None or message.at > record.on.message.at
            if news and record.on is None and len(self.active(place[0], _instant(message.at))) >= MAX_CARRIED:
                return False
            record.on = said if news else record.on
        if news:
            self._records[place] = record
            self.version += 1
        return news

    def active(self, environment: str, now: datetime | None) -> list[Record]:
        """Those that the fleet is to apply beside the log at `now`; with None, also those that have run out."""
        return [
            record
            for record in self
            if record.environment == environment
            and record.on is not None
            and record.off is None
            and record.settled is None
            and (now is None or record.ends_at > now)
        ]

    def unsettled(self) -> list[Record]:
        """Those that Postgres has not taken, or not as they were last renewed or lifted; the oldest first. What has ended
        meanwhile belongs in history, too."""
        found = [record for record in self if record.on is not None and not record.is_settled()]
        return sorted(found, key=lambda record: (record.environment, record.spec.activated_at, record.key))

    def to_tell(self, environment: str, now_ms: int) -> list[Told]:
        """What the fleet is told again with each heartbeat."""
        found: list[Told] = []
        for record in self:
            if record.environment != environment or record.newest() < now_ms - TELL_MS:
                continue
            over = record.off is not None or record.settled is not None
            found += [said.told for said in record.said() if not (over and said is record.on)]
        return found

    def forget(self, now_ms: int) -> None:
        """Those that are settled, and of which the fleet need not be told any more."""
        for place, record in list(self._records.items()):
            done = record.is_settled() or record.on is None
            if done and record.newest() < now_ms - TELL_MS:
                del self._records[place]
                self.version += 1

    def all_told(self) -> tuple[Told, ...]:
        return tuple(said.told for record in self for said in record.said())


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def read(told: Told, verifier: wire.Verifier) -> Said | None:
    """The message, when it is signed by the environment's key; None if not. Raises wire.UnknownKeyError."""
    if len(told.payload) > wire.MAX_EMERGENCY_BYTES:
        return None
    if not verifier.verify("emergency", told.payload, told.signature):
        return None
    try:
        message = wire.read(told.payload, wire.Emergency)
    except wire.UNREADABLE:
        return None
    return Said(message, told) if message.env == told.environment and message.v == 1 else None


def merge(carried: Carried, messages: Iterable[Said]) -> int:
    """Returns how many were news."""
    return sum(carried.take(said) for said in messages)
