"""Requests that services report over HTTP: each replica counts them like one SDK instance for each key."""

from collections import OrderedDict
from collections.abc import Iterator
from uuid import uuid4

from brownout.evaluation.compile import Compiled
from brownout.telemetry.posted import RecordInput
from brownout.telemetry.recording import Recording
from controlplane.telemetry.admission import Place
from controlplane.telemetry.boundary import Speaker

MAX_KEYS = 1_000
"""Keys whose counters are kept in memory. Beyond, the one that was silent longest hands over its last message."""


class _Instance(Recording):
    def __init__(self, place: Place) -> None:
        self._compiled = Compiled.load(place.environment, -1, {})
        self._speaker = Speaker(*place, f"http-{uuid4().hex[:12]}")
        self._start_counting()

    def messages(self, *, final: bool) -> Iterator[tuple[Speaker, bytes]]:
        data = self._collect(final)
        if data is not None:
            yield self._speaker, data

    def _who(self) -> tuple[str, str]:
        return self._speaker.instance, ""


class Posted:
    def __init__(self) -> None:
        self._instances: OrderedDict[Place, _Instance] = OrderedDict()
        self._retired: list[tuple[Speaker, bytes]] = []

    def record(self, environment: str, key: str, told: RecordInput) -> None:
        place = Place(environment, key)
        instance = self._instances.get(place) or self._instances.setdefault(place, _Instance(place))
        self._instances.move_to_end(place)
        if len(self._instances) > MAX_KEYS:
            _, oldest = self._instances.popitem(last=False)
            self._retired += oldest.messages(final=True)
        instance.record(told.policy.policy(), **told.said())

    def messages(self, *, final: bool = False) -> Iterator[tuple[Speaker, bytes]]:
        """Those that are due, one in ten seconds for a key; all when the replica ends."""
        retired, self._retired = self._retired, []
        yield from retired
        for instance in self._instances.values():
            yield from instance.messages(final=final)
