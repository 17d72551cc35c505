"""Everything behind a client that moves: its threads, their supervision, and starting again after a fork."""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from brownout import wire
from brownout._sync import fork
from brownout._sync.clock import SignedTime, uptime
from brownout._sync.disk import DiskCopy
from brownout._sync.emergency_copy import EmergencyCopy
from brownout._sync.host import HostSwitch
from brownout._sync.log import first_time, log
from brownout._sync.notices import Notices
from brownout._sync.outside import LOOK_EVERY_S, Outside
from brownout._sync.progress import Progress, Trouble
from brownout._sync.replica import Replica
from brownout._sync.reporter import Collect
from brownout._sync.serving import Serving
from brownout._sync.updater import PULSE_S, Updater
from brownout._sync.watch import TICK_S, Watch
from brownout._sync.watchdog import MAX_STUCK, Watchdog
from brownout.config import Config
from brownout.errors import BundleError
from brownout.evaluation.compile import Compiled
from brownout.status import Change, Source, State, Status, SyncState
from brownout.wire import bundle
from brownout.wire.bundle import Bundle

if TYPE_CHECKING:
    from brownout.telemetry.windows import Windows

_T = TypeVar("_T")

_SKEW_MS = 30_000
"""A host whose clock is further off has it said in the log."""

_LOOK_EVERY_S = 0.2
"""Who waits is woken by news; this bounds what one misses that was looking elsewhere just then."""

_LOCK_S = 1.0
"""How long saving waits for a thread that may be stuck."""

_TURN_EVERY_S, _TURN_S = 0.1, 0.05


def new_instance() -> str:
    """A name unlike any other's that tells a person where to look. NATS permissions allow no other characters."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{uuid4().hex[:12]}"


class Engine:
    """`install` puts what is to be evaluated in place; `collect` as in Session; `reborn` is called in a forked child."""

    def __init__(
        self,
        config: Config,
        verifier: wire.Verifier,
        *,
        compiled: Compiled,
        install: Callable[[Compiled], None],
        collect: Collect,
        on_reborn: Callable[[], None],
        windows: "Callable[[], Windows | None]" = lambda: None,
    ) -> None:
        self.config = config
        self.instance = new_instance()
        self.time = SignedTime()
        self.progress = Progress(self._changed, self.time)
        self.on_change: list[Callable[[Change], None]] = []
        self.on_status: list[Callable[[Status], None]] = []
        self._verifier = verifier
        self._collect = collect
        self._on_reborn = on_reborn
        self._windows = windows
        self._outside = Outside(self.time, HostSwitch(config.safe_mode, config.safe_mode_file))
        self._serving = Serving(
            config.environment, compiled, install, self._announce, self.time.now, outside=self._outside
        )
        self._replica = self._make_replica()
        self._still = self._replica.lock
        self._disk = DiskCopy(config.disk) if config.disk else None
        self._emergencies = EmergencyCopy(config.disk) if config.disk else None
        self._moved = threading.Event()
        self._watch: Watch | None = None
        self._updater: Updater | None = None
        self._said_outside: tuple[wire.Outside, ...] = ()
        self._told: tuple[State, SyncState, Source, Trouble | None] | None = None
        self._notices = Notices(config)
        self._watchdog = Watchdog()
        self._stuck: list[Updater] = []
        """Replaced sync threads that have not ended."""
        self._turn_at = float("-inf")
        self._pid = os.getpid()
        self._closed = False

    def start(self) -> None:
        """Loads what is on disk and starts the threads. Raises nothing; what went wrong is in `status`."""
        self._replica.look()
        if not self._start_from(Source.DISK, self._disk.load if self._disk else None):
            path = self.config.bundle
            self._start_from(Source.BUNDLE, (lambda: bundle.read(path)) if path else None)
        for message in self._emergencies.load() if self._emergencies else ():
            self._replica.hear_emergency(message)
        fork.register(self)
        if not fork.must_wait():
            self._launch()

    def start_offline(self, content: Bundle) -> None:
        """Serves a file for good. Raises BundleError."""
        self._replica.adopt(content)
        self.progress.source = Source.BUNDLE
        self.progress.enter(SyncState.OFFLINE)
        fork.register(self)
        self._launch()

    @property
    def status(self) -> Status:
        self.check_process()
        progress, skew_ms = self.progress, self.time.skew_ms
        return Status(
            state=self._state(),
            sync=progress.sync,
            source=progress.source,
            environment=self.config.environment,
            service=self.config.service,
            instance=self.instance,
            revision=self._replica.revision,
            epoch=self._replica.epoch,
            age_s=self.time.age_s,
            applied_at=progress.applied_at,
            clock_skew_s=None if skew_ms is None else skew_ms / 1000,
            last_error=progress.last_error,
            counters=copy(progress.counters),
        )

    def wait_ready(self, timeout_s: float | None) -> bool:
        return self._wait(lambda: self._state() is State.READY, timeout_s)

    def wait_configured(self, timeout_s: float | None) -> bool:
        return self._wait(lambda: self._replica.revision >= 0, timeout_s)

    def _wait(self, holds: Callable[[], bool], timeout_s: float | None) -> bool:
        """In uWSGI's master the threads run only until this returns: they must not be there when it forks."""
        self.check_process()
        alone = self._updater is None and not self._closed and fork.must_wait()
        if alone:
            self._launch()
        deadline = uptime() + (float("inf") if timeout_s is None else timeout_s)
        while not holds() and not self._closed and (left_s := deadline - uptime()) > 0:
            self._moved.wait(min(left_s, _LOOK_EVERY_S))
            self._moved.clear()
        if alone:
            self._halt(2.0)
        return holds()

    def close(self, timeout_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        if self._pid == os.getpid():
            self._halt(timeout_s)
            self._save(last=True)
            try:
                self._save_emergencies()
            except OSError as error:
                log.warning("emergency messages are not saved: %s", error)
        if self._disk:
            self._disk.release()
        self.progress.enter(SyncState.CLOSED)

    def take_turn(self) -> None:
        """Lets the sync thread run for a moment, where nothing else lets it."""
        if self._updater and time.monotonic() - self._turn_at > _TURN_EVERY_S:
            self._updater.let_run(_TURN_S)
            self._turn_at = time.monotonic()

    def check_process(self) -> None:
        """Catches a fork that no hook told us of (one made in C)."""
        if self._pid != os.getpid():
            self.reborn()

    def hold_still(self, timeout_s: float) -> bool:
        """Before a fork: the state must be whole in the copy."""
        lock = self._replica.lock
        if not lock.acquire(timeout=timeout_s):
            return False
        self._still = lock
        return True

    def move_on(self) -> None:
        """Releases what was held: another sync thread, with a replica of its own, may have taken over meanwhile."""
        self._still.release()

    def reborn(self) -> None:
        """In a forked child: goes on under a name of its own, from the inherited state, with new threads."""
        self._pid = os.getpid()
        for updater in (self._updater, *self._stuck):
            if updater:
                updater.abandon()
        self._watchdog, self._stuck = Watchdog(), []
        if self._disk:
            self._disk.release()
        self.instance = new_instance()
        inherited, self._replica = self._replica, self._make_replica()
        self._replica.inherit(inherited)
        self._moved = threading.Event()
        self._updater = self._watch = None
        self._on_reborn()
        if not self._closed:
            if self.config.urls:
                self.progress.sync = SyncState.INIT
            self._launch()

    def post(self, job: Callable[[], None]) -> None:
        if self._watch:
            self._watch.post(job)

    def _launch(self) -> None:
        self._watch = Watch(self._tick)
        if self.config.urls:
            self._updater = self._make_updater()

    def _halt(self, timeout_s: float) -> None:
        """Ends the watch first, which would take the end of the sync thread for its death."""
        deadline = time.monotonic() + timeout_s
        watch, self._watch = self._watch, None
        if watch:
            watch.stop(timeout_s / 2)
        updater, self._updater = self._updater, None
        if updater and not updater.stop(max(0.1, deadline - time.monotonic())):
            log.warning("the sync thread did not end within %s s", timeout_s)

    @property
    def fleet(self) -> int | None:
        """Live instances of the environment; None if unknown."""
        return self._replica.fleet

    def _make_replica(self) -> Replica:
        keep = self.config.disk is not None
        counters = self.progress.counters
        return Replica(
            self.config.environment,
            self._verifier,
            self._serving,
            counters,
            time=self.time,
            keep=keep,
            outside=self._outside,
        )

    def _make_updater(self) -> Updater:
        windows = self._windows()
        return Updater(self.config, self.instance, self._replica, self.progress, self._collect, windows=windows)

    def _start_from(self, source: Source, read: Callable[[], Bundle | None] | None) -> bool:
        try:
            content = read() if read else None
            if content is None:
                return False
            self._replica.adopt(content)
        except (OSError, BundleError) as error:
            self.progress.counters.refused_files += isinstance(error, BundleError)
            self.progress.fail(error, "file")
            log.warning("the %s is not used: %s", "disk copy" if source is Source.DISK else "bundle", error)
            return False
        self.progress.source = source
        return True

    def _state(self) -> State:
        if self._replica.revision < 0:
            return State.NOT_READY
        if self.progress.sync is SyncState.OFFLINE:
            return State.READY
        age_s = self.time.age_s
        fresh = self.time.is_live and age_s is not None and age_s <= self.config.stale_after_s
        return State.READY if fresh and self.progress.sync is not SyncState.CLOSED else State.STALE

    def _changed(self) -> None:
        self._moved.set()
        self.post(_look)

    def _announce(self, change: Change) -> None:
        heard_by = tuple(self.on_change)  # whoever subscribes later is served this change already
        self.post(lambda: self._call([callback for callback in heard_by if callback in self.on_change], change))

    def _tick(self) -> float:
        """On the watch thread. Returns the seconds until it wants to be called again."""
        for step in (
            self._supervise,
            self._look_at_the_clock,
            self._look_outside,
            self._expire,
            self._say_outside,
            self._tell,
            self._save,
            self._save_emergencies,
        ):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - safe mode expires although no thread can be started, say
                if first_time(type(error).__name__, step.__name__):
                    log.exception("the watch stumbled")
        expires_at = self._serving.expires_at
        tick_s = min(TICK_S, LOOK_EVERY_S) if self._must_watch() else TICK_S
        return tick_s if expires_at is None else min(tick_s, (expires_at - self.time.now()).total_seconds())

    def _look_outside(self) -> None:
        self._replica.look()

    def _must_watch(self) -> bool:
        """Whether no other thread looks at the host's switch. The sync thread does, as long as it turns."""
        updater = self._updater
        turns = updater is not None and time.monotonic() - updater.pulse < 2 * PULSE_S
        return self._outside.watches and not turns

    def _expire(self) -> None:
        if self._serving.must_look(self.time.now()):
            with self._replica.lock:
                self._serving.expire(self.time.now())

    def _say_outside(self) -> None:
        """Logs what is switched on and off outside of the log, once a change."""
        before, now = self._said_outside, self._outside.applied
        self._said_outside = now
        for each in [each for each in now if each not in before]:
            log.warning("safe mode: %s is on here (%s): %s", each.profile, each.origin, each.reason)
        for each in [each for each in before if each not in now]:
            log.warning("safe mode: %s is off here (%s)", each.profile, each.origin)

    def _tell(self) -> None:
        status = self.status
        self._notices.look(status, self.progress.trouble)
        told = (status.state, self.progress.settled, status.source, self.progress.trouble)
        if told != self._told:
            self._told = told
            self._call(self.on_status, status)

    def _look_at_the_clock(self) -> None:
        skew_ms = self.time.skew_ms
        if skew_ms is not None and abs(skew_ms) > _SKEW_MS and first_time("clock", self.config.environment):
            how = "fast" if skew_ms > 0 else "slow"
            log.warning("this host's clock is %.0f s %s; the control plane's is used", abs(skew_ms) / 1000, how)

    def _call(self, callbacks: list[Callable[[_T], None]], argument: _T) -> None:
        for callback in list(callbacks):
            try:
                callback(argument)
            except BaseException:  # noqa: BLE001 - a callback's fault is its author's, also SystemExit and CancelledError
                log.exception("a callback failed")

    def _save(self, *, last: bool = False) -> None:
        if self._disk is None or (self.progress.source is not Source.NATS and not last):
            return
        if self.progress.source is Source.NATS:
            try:
                self._disk.keep(self._replica, last=last)
                self.progress.mend("disk")
            except OSError as error:
                self.progress.fail(error, "disk")

    def _save_emergencies(self) -> None:
        file, emergencies, lock = self._emergencies, self._outside.emergencies, self._replica.lock
        if file is None or file.saved == emergencies.version or not lock.acquire(timeout=_LOCK_S):
            return
        try:
            messages, version = emergencies.messages(), emergencies.version
        finally:
            lock.release()
        file.keep(messages, version)

    def _supervise(self) -> None:
        updater, now = self._updater, time.monotonic()
        if updater is None:
            return
        stuck = self._watchdog.is_stuck(now, (updater.pulse, self.progress.counters.steps))
        if not updater.is_alive():
            if self._watchdog.may_replace(now):
                self._replace(updater, "the sync thread died: " + self.progress.last_error)
        elif not stuck:
            self.progress.stuck(None)
        elif (left := self._still_stuck()) >= MAX_STUCK:
            self.progress.stuck(f"the sync thread is stuck, like {left} before it: nothing is updated until one moves")
        elif self._watchdog.may_replace(now):
            self._stuck.append(updater)
            self._replace(updater, "the sync thread is stuck")

    def _still_stuck(self) -> int:
        self._stuck = [updater for updater in self._stuck if updater.is_alive()]
        return len(self._stuck)

    def _replace(self, updater: Updater, why: str) -> None:
        if self._updater is not updater:
            return  # it was told to end meanwhile
        log.error("%s; another one takes over", why)
        self.progress.counters.restarts += 1
        self.progress.fail(why)
        updater.retire()
        self.progress = self.progress.heir()
        self._serving = self._serving.heir()
        inherited, self._replica = self._replica, self._make_replica()
        self._replica.inherit(inherited)
        self._updater = self._make_updater()


def _look() -> None:
    """A job that does nothing: the tick after it looks."""
