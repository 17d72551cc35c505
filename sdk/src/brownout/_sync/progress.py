"""What the sync thread writes and everybody else reads: single assignments, no locks."""

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum

from brownout._sync.clock import SignedTime
from brownout._sync.log import log
from brownout.status import Counters, Source, SyncState

_REFUSALS = ("authorization", "authentication")
"""What nats-server says to a key that it does not know, in either of its words."""


class Trouble(StrEnum):
    """Why no connection comes about."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class Progress:
    """`changed` is called, from the thread that noticed, whenever somebody may want to look again."""

    def __init__(self, changed: Callable[[], None], time: SignedTime) -> None:
        self.counters = Counters()
        self.sync = SyncState.INIT
        self.source = Source.DEFAULTS
        self.trouble: Trouble | None = None
        self._errors: dict[str, str] = {}
        """What is wrong now, by what it is about; the latest is last."""
        self._time = time
        self._applied: int | None = None
        """The uptime (ms) at which the revision served was applied here."""
        self._was_live = False
        self._changed = changed

    def heir(self) -> "Progress":
        """Goes on from here. What the replaced thread still writes, should it ever move again, is heard by no one."""
        heir = Progress(self._changed, self._time)
        heir.counters, heir.sync, heir.source = copy(self.counters), self.sync, self.source
        heir.trouble, heir._errors = self.trouble, dict(self._errors)
        heir._applied, heir._was_live = self._applied, self._was_live
        self._changed = lambda: None
        return heir

    @property
    def applied_at_ms(self) -> int:
        """Unix ms, by the same clock as everything else; 0 when what is served came from a file."""
        return 0 if self._applied is None else self._time.now_ms() - (self._time.uptime_ms() - self._applied)

    @property
    def applied_at(self) -> datetime | None:
        return None if self._applied is None else datetime.fromtimestamp(self.applied_at_ms / 1000, UTC)

    def enter(self, sync: SyncState) -> None:
        if sync is not self.sync:
            self.sync = sync
            if sync is SyncState.LIVE:
                self.trouble = None
                self.mend("sync")
            self._changed()

    def applied(self) -> None:
        """Another revision is served, which came from NATS."""
        self.source = Source.NATS
        self.mend("file")
        self._applied = self._time.uptime_ms()

    def vouched(self) -> None:
        """To be called when the control plane may have vouched for the head: who waits for the first time is told."""
        if self._time.is_live and not self._was_live:
            self._was_live = True
            self._changed()

    def stuck(self, why: str | None) -> None:
        """Says, once a change of state, that the sync thread is stuck and not replaced any more; None: it is not."""
        if (why is not None) == (self.sync is SyncState.STUCK):
            return
        if why is None:
            log.warning("the sync thread moves again")
            self.enter(SyncState.SUSPECT)
        else:
            log.error("%s", why)
            self.fail(why)
            self.enter(SyncState.STUCK)

    @property
    def last_error(self) -> str:
        """The latest of what is wrong now; empty when nothing is."""
        errors = list(self._errors.values())
        return errors[-1] if errors else ""

    @property
    def settled(self) -> SyncState:
        """Where the synchronisation stands; one attempt after another that fails is one state, DISCONNECTED."""
        trying = self.trouble is not None and self.sync in {SyncState.CONNECTING, SyncState.SYNC}
        return SyncState.DISCONNECTED if trying else self.sync

    def fail(self, error: BaseException | str, about: str = "sync") -> None:
        """Something is wrong until `mend` is called about it; being LIVE mends "sync"."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
        self._errors.pop(about, None)
        self._errors[about] = text

    def mend(self, about: str) -> None:
        self._errors.pop(about, None)

    def lost(self, error: BaseException | str, *, attempted: bool) -> None:
        """A connection has ended; `attempted`: it never came as far as the configuration."""
        self.fail(error)
        if not attempted:
            return
        refused = any(word in self.last_error.lower() for word in _REFUSALS)
        self.trouble = Trouble.REFUSED if refused else Trouble.UNREACHABLE
