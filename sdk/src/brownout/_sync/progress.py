"""What the sync thread writes and everybody else reads: single assignments, no locks."""

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime

from brownout._sync.clock import SignedTime
from brownout._sync.log import log
from brownout.status import Counters, Source, SyncState


class Progress:
    """`changed` is called, from the thread that noticed, whenever somebody may want to look again."""

    def __init__(self, changed: Callable[[], None], time: SignedTime) -> None:
        self.counters = Counters()
        self.sync = SyncState.INIT
        self.source = Source.DEFAULTS
        self.last_error = ""
        self._time = time
        self._applied: int | None = None
        """The uptime (ms) at which the revision served was applied here."""
        self._was_live = False
        self._changed = changed

    def heir(self) -> "Progress":
        """Goes on from here. What the replaced thread still writes, should it ever move again, is heard by no one."""
        heir = Progress(self._changed, self._time)
        heir.counters, heir.sync, heir.source = copy(self.counters), self.sync, self.source
        heir.last_error, heir._applied, heir._was_live = self.last_error, self._applied, self._was_live
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
            self._changed()

    def applied(self) -> None:
        """Another revision is served, which came from NATS."""
        self.source = Source.NATS
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

    def fail(self, error: BaseException | str) -> None:
        self.last_error = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
