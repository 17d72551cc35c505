"""What a client says about itself: is it answering, from what, how old is that, and what went wrong so far."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from brownout.model.resources import ResourceRef


class State(StrEnum):
    """The one word to alert on."""

    READY = "READY"
    """A verified configuration is held, and the control plane vouched for it within `stale_after_s`."""
    STALE = "STALE"
    """A verified configuration is held and served, but the control plane has not vouched for it lately, or not yet in
    this process; or the client is closed."""
    NOT_READY = "NOT_READY"
    """Nothing is held: every decision is the caller's default."""


class SyncState(StrEnum):
    """Where the synchronisation stands (docs/adr/0003-transport.md)."""

    INIT = "INIT"
    CONNECTING = "CONNECTING"
    SYNC = "SYNC"
    LIVE = "LIVE"
    SUSPECT = "SUSPECT"
    DISCONNECTED = "DISCONNECTED"
    STUCK = "STUCK"
    """The sync thread hangs, as those that it replaced do, and no more are started: it goes on when one moves."""
    OFFLINE = "OFFLINE"
    """This client was opened on a file and never connects."""
    CLOSED = "CLOSED"


class Source(StrEnum):
    """Where the configuration that is served now came from."""

    NATS = "nats"
    DISK = "disk"
    BUNDLE = "bundle"
    DEFAULTS = "defaults"


class Counters(msgspec.Struct):
    """Events since the client started. Everything counted as refused had no effect on any decision."""

    steps: int = 0
    """Messages looked at and pieces of snapshots loaded: it moves for as long as the sync thread is busy."""
    applied: int = 0
    """Revisions applied one by one, each on the one before."""
    snapshots: int = 0
    fills: int = 0
    """Revisions fetched by Direct Get because they were missed."""
    gaps: int = 0
    """Times a message showed that an earlier one was missed."""
    reconnects: int = 0
    restarts: int = 0
    """Times the sync thread died or was stuck, and was replaced."""
    bad_signatures: int = 0
    replays: int = 0
    """Validly signed, but of a revision, epoch or instant already passed; harmless repeats are counted too."""
    malformed: int = 0
    """Validly signed, but not understood, or contradicting the hash chain."""
    emergencies: int = 0
    """Messages taken that switch safe mode on or off beside the log."""
    refused_files: int = 0
    """Disk copies or bundles that were damaged, foreign or forged."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One coherent picture of a client."""

    state: State
    sync: SyncState
    source: Source
    environment: str
    service: str
    instance: str
    revision: int
    """-1 when nothing is held."""
    epoch: int
    age_s: float | None
    """The age of the newest signed instant at which the control plane had exactly this head; None when none is known."""
    applied_at: datetime | None = None
    """When this instance applied the revision that it serves; None when that came from a file or nothing is held."""
    clock_skew_s: float | None = None
    """How far this host's clock is ahead of the control plane's; None until the control plane was heard."""
    last_error: str
    """The latest of what is wrong now; empty when nothing is."""
    counters: Counters

    @property
    def configured(self) -> bool:
        """Whether a verified configuration is held, however old."""
        return self.state is not State.NOT_READY


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a client can be asked for, in order of keys, and the safe-mode profiles in force."""

    revision: int
    flags: tuple[str, ...]
    request_classes: tuple[str, ...]
    safe_mode: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """Something that may change decisions. No `resources`: any of them may have changed."""

    revision: int
    cause: Literal["commit", "snapshot", "expiry", "safe_mode"]
    """`safe_mode`: it was switched on or off outside of the log, in an emergency or by the host's own switch."""
    resources: frozenset[ResourceRef] = frozenset()
