"""What the sync thread writes and everybody else reads: single assignments, no locks."""

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime

from brownout._sync.log import log
from brownout.status import Counters, Source, SyncState, uptime


class Progress:
    """`changed` is called, from the thread that noticed, whenever somebody may want to look again."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.counters = Counters()
        self.sync = SyncState.INIT
        self.source = Source.DEFAULTS
        self.last_error = ""
        self.applied_at_ms = 0
        """Unix ms at which the revision served was applied here."""
        self.confirmed = False
        """Whether the head was ever confirmed by this process, not only by a file."""
        self._dated: float | None = None
        self._changed = changed

    def heir(self) -> "Progress":
        """Goes on from here. What the replaced thread still writes, should it ever move again, is heard by no one."""
        heir = Progress(self._changed)
        heir.counters, heir.sync, heir.source = copy(self.counters), self.sync, self.source
        heir.last_error, heir.applied_at_ms = self.last_error, self.applied_at_ms
        heir.confirmed, heir._dated = self.confirmed, self._dated
        self._changed = lambda: None
        return heir

    @property
    def applied_at(self) -> datetime | None:
        return datetime.fromtimestamp(self.applied_at_ms / 1000, UTC) if self.applied_at_ms else None

    @property
    def age_s(self) -> float | None:
        return None if self._dated is None else max(0.0, uptime() - self._dated)

    def enter(self, sync: SyncState) -> None:
        if sync is not self.sync:
            self.sync = sync
            self._changed()

    def confirm(self) -> None:
        """The control plane is known, by a signature received now, to have exactly the head that is served."""
        self._dated = uptime()
        if not self.confirmed:
            self.confirmed = True
            self._changed()

    def date(self, age_s: float) -> None:
        """A file that is `age_s` old is served from now on."""
        self._dated = uptime() - age_s

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
