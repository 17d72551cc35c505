"""Which rollouts run, and what of a service's requests and events they compare. Pure, read from a configuration."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from brownout.model.measures import AMOUNT, EVENT, VALUE, tracked
from brownout.telemetry.units import Outcome


class _Rule(msgspec.Struct, frozen=True):
    measure: str = ""


class _Progress(msgspec.Struct, frozen=True):
    state: str = "draft"


class Watched(msgspec.Struct, frozen=True):
    """What matters here of a rollout's spec, whatever else a newer version wrote."""

    flag: str
    unit: str = "targeting_key"
    guardrails: tuple[_Rule, ...] = ()
    gates: tuple[_Rule, ...] = ()
    progress: _Progress = _Progress()


_decode = msgspec.json.Decoder(Watched).decode


class Watch(NamedTuple):
    """One rollout. `unit` is the attribute that its split hashes."""

    rollout: str
    running: bool
    flag: str
    unit: str
    measures: frozenset[str]

    def outcome(self, name: str, value: float) -> Outcome:
        """What one tracked event says, in the measures that are compared."""
        bad = {EVENT + name: True} if EVENT + name in self.measures else {}
        valued = bool(self.measures & {VALUE + name, AMOUNT + name})
        return Outcome(bad, {VALUE + name: value} if valued else {})


class Watches(NamedTuple):
    """Of those that run, `of_events` is by the name that services track; `of_requests` compare what services record."""

    by_rollout: Mapping[str, Watch] = {}
    of_events: Mapping[str, tuple[Watch, ...]] = {}
    of_requests: tuple[Watch, ...] = ()

    @classmethod
    def read(cls, rollouts: Iterable[tuple[str, bytes]]) -> "Watches":
        """`rollouts` are keys and specs; one that cannot be read compares nothing."""
        found = [watch for key, spec in rollouts if (watch := _watch(key, spec)) is not None]
        of_events: dict[str, tuple[Watch, ...]] = {}
        running = [watch for watch in found if watch.running]
        for watch in running:
            for name in sorted({name for measure in watch.measures if (name := tracked(measure)) is not None}):
                of_events[name] = (*of_events.get(name, ()), watch)
        of_requests = tuple(watch for watch in running if any(tracked(measure) is None for measure in watch.measures))
        return cls({watch.rollout: watch for watch in found}, of_events, of_requests)


def _watch(key: str, spec: bytes) -> Watch | None:
    try:
        read = _decode(spec)
    except msgspec.DecodeError:
        return None
    running = read.progress.state == "running"
    measures = frozenset(rule.measure for rule in (*read.guardrails, *read.gates))
    return Watch(key, running, read.flag, read.unit, measures)
