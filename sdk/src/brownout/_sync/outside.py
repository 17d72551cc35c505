"""Safe mode from outside of the log: what operators signed in an emergency, and the host's own switch.

It is joined with the log's by the lattice of `brownout.evaluation.safemode`, so it only tightens, whatever happens here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from brownout import wire
from brownout._sync.clock import SignedTime
from brownout._sync.emergencies import Emergencies
from brownout._sync.host import HostSwitch, Switched
from brownout.evaluation.compile import Compiled
from brownout.evaluation.safemode import Activation, Overlay
from brownout.model.resources import ResourceRef, SafeModeActivation
from brownout.model.strictest import STRICTEST, STRICTEST_KEY
from brownout.wire import Operation
from brownout.wire.bundle import Signed

LOOK_EVERY_S = 0.4
"""How often the host's switch is read."""

MAX_REPORTED = 8
_MAX_REASON = 200
_ALWAYS = datetime.max.replace(tzinfo=UTC)


class Outside:
    """Shared by every life of the sync thread. Callers hold the replica's lock."""

    def __init__(self, time: SignedTime, host: HostSwitch | None = None) -> None:
        self.emergencies = Emergencies()
        self.applied: tuple[wire.Outside, ...] = ()
        """What is in force, as presence reports it."""
        self._time = time
        self._host = host or HostSwitch()
        self._host_version = 0
        self._looked_ms = float("-inf")

    @property
    def watches(self) -> bool:
        """Whether there is something to be read again and again."""
        return self._host.watches

    @property
    def version(self) -> int:
        return self._host_version + self.emergencies.version

    def look_at_host(self) -> None:
        """Reads the host's switch, unless that was done a moment ago."""
        now_ms = self._time.uptime_ms()
        if now_ms - self._looked_ms < LOOK_EVERY_S * 1000:
            return
        self._looked_ms = now_ms
        if self._host.look():
            self._host_version += 1

    def take(self, said: wire.Emergency, message: Signed) -> bool:
        """Takes a verified message; returns whether it changed anything."""
        now_ms, uptime_ms = self._time.now_ms(), self._time.uptime_ms()
        return self.emergencies.take(said, message, uptime_ms=uptime_ms, now_ms=now_ms)

    def settle(self, operations: Sequence[Operation], revision: int) -> None:
        """The log decides about the activations that these operations put or delete."""
        if len(self.emergencies):
            named = (each.key for each in operations if each.kind == "safe_mode_activation")
            self.emergencies.settle(named, revision)

    def settle_present(self, compiled: Compiled) -> None:
        """The same for those that a snapshot holds."""
        if len(self.emergencies):
            keys = (key for key, _ in compiled.of_kind("safe_mode_activation"))
            self.emergencies.settle(keys, compiled.revision)

    def choose(self, compiled: Compiled) -> datetime | None:
        """Puts in force in `compiled` what applies now; returns when that changes by time alone."""
        if not len(self.emergencies) and not self._host.switched:
            if self.applied:
                self._install(compiled, ())
            return None
        emergencies, due_ms = self.emergencies.in_force(
            compiled.revision,
            compiled.profile,
            lambda key: ResourceRef("cohort", key) in compiled.resources,
            now_ms=self._time.now_ms(),
            uptime_ms=self._time.uptime_ms(),
        )
        hosts = tuple(_of_host(each, compiled) for each in self._host.switched)
        self._install(compiled, (*emergencies, *hosts))
        return None if due_ms is None else datetime.fromtimestamp(due_ms / 1000, UTC)

    def _install(self, compiled: Compiled, found: tuple[Activation, ...]) -> None:
        compiled.set_outside(found)
        told = tuple(
            wire.Outside(each.origin, each.key, each.spec.profile, each.spec.reason[:_MAX_REASON]) for each in found
        )
        self.applied = told


def _of_host(switched: Switched, compiled: Compiled) -> Activation:
    profile = compiled.profile(switched.profile)
    named = switched.profile if profile is not None else STRICTEST_KEY
    profile = profile or STRICTEST
    spec = SafeModeActivation(
        profile=named, reason=switched.reason, actor="host", on_expiry="hold", activated_at=_BEGAN, expires_at=_ALWAYS
    )
    return Activation(switched.key, spec, profile, Overlay.of(profile), "host")


_BEGAN = datetime.fromtimestamp(0, UTC)
