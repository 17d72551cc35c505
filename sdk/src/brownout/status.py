"""What a client says about itself: is it answering, from what, how old is that, and what went wrong so far."""

import time
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from brownout.model import ResourceRef


class State(StrEnum):
    """The one word to alert on."""

    READY = "READY"
    """Configuration is held and its head was confirmed within `stale_after_s`."""
    STALE = "STALE"
    """Configuration is held, but nobody has confirmed it for too long, or not yet in this process."""
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
    """Seconds since the control plane was last known, by signature, to have exactly this head; None when it never was."""
    applied_at: datetime | None = None
    """When this instance applied the revision that it serves; None when that came from a file or nothing is held."""
    last_error: str
    counters: Counters


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a client can be asked for, in order of keys, and the safe-mode profiles in force."""

    revision: int
    flags: tuple[str, ...]
    request_classes: tuple[str, ...]
    safe_mode: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """Something that may change decisions. No `resources`: any of them may have changed."""

    revision: int
    cause: Literal["commit", "snapshot", "expiry"]
    resources: frozenset[ResourceRef] = frozenset()


def uptime() -> float:
    """Seconds on a clock that only moves forward and, where the system has one, also counts suspended time."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
