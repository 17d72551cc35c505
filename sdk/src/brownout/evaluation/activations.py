"""The activations of an environment, kept up to date one by one: a change costs what it touches, however many there are."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from datetime import datetime
from operator import itemgetter

from brownout.evaluation.safemode import Activation, Overlay
from brownout.model.resources import ResourceRef, SafeModeActivation, SafeModeProfile

ReadActivation = Callable[[str], SafeModeActivation | None]
ReadProfile = Callable[[str], SafeModeProfile | None]

KINDS = frozenset({"safe_mode_activation", "safe_mode_profile"})


class Activations:
    """Which activations there are and which are in force. Callers hold the kernel's lock.

    `read_activation` and `read_profile` return the spec under a key; None when there is none that can be read.
    """

    def __init__(self, read_activation: ReadActivation, read_profile: ReadProfile) -> None:
        self._read_activation = read_activation
        self._read_profile = read_profile
        self._now: datetime | None = None
        self._specs: dict[str, SafeModeActivation] = {}
        self._profiles: dict[str, tuple[SafeModeProfile, Overlay] | None] = {}
        """Those that `_specs` name; each is read once, however many name it."""
        self._naming: dict[str, set[str]] = {}
        """Keys of activations by their profile."""
        self._ends: list[tuple[datetime, str]] = []
        """When each activation with a profile ends, the soonest first."""
        self._complete: dict[str, Activation] = {}
        self._in_force: dict[str, Activation] = {}
        self._sorted: tuple[Activation, ...] | None = None
        self._outside: tuple[Activation, ...] = ()
        """Those that are not in the log. They only add to what it tightens."""

    @property
    def in_force(self) -> tuple[Activation, ...]:
        """Those of the log in order of keys, then those from outside of it."""
        if self._sorted is None:
            logged = tuple(activation for _, activation in sorted(self._in_force.items()))
            self._sorted = (*logged, *self._outside)
        return self._sorted

    def set_outside(self, outside: tuple[Activation, ...]) -> list[Activation]:
        """Puts these in force beside the log's; returns what `change` does."""
        before, self._outside = self._outside, outside
        if before == outside:
            return []
        self._sorted = None
        return [each for each in (*before, *outside) if not (each in before and each in outside)]

    def overdue(self) -> tuple[Activation, ...]:
        """Held ones past their end, in order of keys."""
        ended = [] if self._now is None else self._ends[: self._index(self._now)]
        return tuple(self._in_force[key] for key in sorted(key for _, key in ended if key in self._in_force))

    def next_end(self) -> datetime | None:
        """When the next one ends, as of the last `set_now`."""
        index = 0 if self._now is None else self._index(self._now)
        return self._ends[index][0] if index < len(self._ends) else None

    def change(self, refs: Iterable[ResourceRef]) -> list[Activation]:
        """Reads what has changed; returns what was in force and is not any more, or is and was not."""
        touched: dict[str, None] = {}
        for kind, key in refs:
            if kind == "safe_mode_activation":
                self._reread(key)
                touched[key] = None
            elif kind == "safe_mode_profile" and key in self._profiles:
                del self._profiles[key]
                touched.update(dict.fromkeys(self._naming[key]))
        return [moved for key in touched for moved in self._complete_one(key)]

    def set_now(self, now: datetime) -> list[Activation]:
        """Lets time pass, or come back; returns what `change` does. Until it is called everything is in force."""
        before, self._now = self._now, now
        if before == now:
            return []
        start = 0 if before is None else self._index(min(before, now))
        end = self._index(now if before is None else max(before, now))
        return [moved for _, key in self._ends[start:end] for moved in self._settle(key)]

    def _index(self, now: datetime) -> int:
        """How many end by `now`."""
        return bisect_right(self._ends, now, key=itemgetter(0))

    def _reread(self, key: str) -> None:
        old, new = self._specs.pop(key, None), self._read_activation(key)
        if old is not None:
            naming = self._naming[old.profile]
            naming.discard(key)
            if not naming:
                del self._naming[old.profile]
                self._profiles.pop(old.profile, None)
        if new is not None:
            self._specs[key] = new
            self._naming.setdefault(new.profile, set()).add(key)

    def _complete_one(self, key: str) -> list[Activation]:
        """Joins an activation and its profile anew."""
        old = self._complete.pop(key, None)
        if old is not None:
            del self._ends[bisect_left(self._ends, (old.spec.expires_at, key))]
        spec = self._specs.get(key)
        found = None if spec is None else self._profile(spec.profile)
        if spec is not None and found is not None:
            self._complete[key] = Activation(key, spec, *found)
            insort(self._ends, (spec.expires_at, key))
        return self._settle(key)

    def _profile(self, key: str) -> tuple[SafeModeProfile, Overlay] | None:
        if key not in self._profiles:
            profile = self._read_profile(key)
            self._profiles[key] = None if profile is None else (profile, Overlay.of(profile))
        return self._profiles[key]

    def _settle(self, key: str) -> list[Activation]:
        """Puts it in force or out of it, as its end and the time say."""
        before, after = self._in_force.get(key), self._complete.get(key)
        if after is not None and not self._applies(after.spec):
            after = None
        if before == after:
            return []
        self._sorted = None
        if after is None:
            del self._in_force[key]
        else:
            self._in_force[key] = after
        return [moved for moved in (before, after) if moved is not None]

    def _applies(self, spec: SafeModeActivation) -> bool:
        return self._now is None or spec.on_expiry == "hold" or spec.expires_at > self._now
