"""The sync thread: one event loop, one connection at a time, and no way to end but being told to."""

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError

from brownout._sync import native
from brownout._sync.chance import spread
from brownout._sync.connection import CannotConnectError
from brownout._sync.direct import NotAnsweredError
from brownout._sync.log import first_time, log
from brownout._sync.loop import Loop
from brownout._sync.reporter import Collect
from brownout._sync.serving import RetiredError
from brownout._sync.session import Session
from brownout.status import SyncState

if TYPE_CHECKING:
    from brownout._sync.progress import Progress
    from brownout._sync.replica import Replica
    from brownout.config import Config
    from brownout.telemetry.windows import Windows

PULSE_S = 0.7
"""The host's switch is looked at as often, and is to take effect within a second."""
_CANCEL_S = 0.5
_BACKOFF_S = (0.1, 5.0)
_GOOD_S = 5.0
"""A connection that lasted this long ends a series of failures."""


class Updater:
    """One life of the sync thread. `pulse`: when its loop last turned (monotonic seconds)."""

    def __init__(
        self, config: "Config", instance: str, replica: "Replica", progress: "Progress", collect: Collect,
        *, windows: "Windows | None" = None,
    ) -> None:  # fmt: skip
        self.replica = replica
        self.pulse = time.monotonic()
        self._config = config
        self._instance = instance
        self._progress = progress
        self._collect = collect
        self._windows = windows
        self._selector = native.selector()
        self._loop: Loop | None = None
        self._retired = False
        self._says_goodbye = False
        self._stopping = asyncio.Event()
        self._session: Session | None = None
        self._thread = native.start(self._run, "brownout-sync")

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Says goodbye and ends the thread; returns whether it ended in time."""
        self._says_goodbye = True
        self.retire()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def let_run(self, timeout_s: float) -> None:
        """Waits until everything that has arrived so far is applied: a turn for this thread where it has few."""
        caught_up = threading.Event()

        async def listen() -> None:
            if self._session:
                await self._session.listen()
            caught_up.set()

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                asyncio.run_coroutine_threadsafe(listen(), self._loop)
                caught_up.wait(timeout_s)

    def retire(self) -> None:
        """Ends the thread as soon as it turns again, if ever; nobody waits for it. Another follows under the same name, so
        it ends without a word."""
        self._retired = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self._stopping.set)

    def abandon(self) -> None:
        """In a forked child: lets go of the parent's descriptors without a word to the parent's peer or its epoll.

        The numbers stay taken (by /dev/null), because objects that nobody can finalise any more still name them.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            held = [key.fd for key in (self._selector.get_map() or {}).values()]
            if fileno := getattr(self._selector, "fileno", None):  # epoll and kqueue are descriptors themselves
                held.append(fileno())
            for number in held:
                with contextlib.suppress(OSError):
                    os.dup2(nowhere, number, inheritable=False)
        finally:
            os.close(nowhere)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._make_loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - whatever ended the thread is told, and the thread replaced
            self._progress.fail(error)

    def _make_loop(self) -> Loop:
        """Never by the application's event loop policy: a uvloop could not be abandoned after a fork."""
        self._loop = Loop(self._selector)
        return self._loop

    async def _main(self) -> None:
        if self._retired:  # before there was a loop to tell it
            return
        self._beat()
        syncing = asyncio.create_task(self._sync())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({syncing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if syncing.done():
            syncing.result()  # it never returns: this raises what nobody expected
        if not syncing.done() and self._session and self._says_goodbye:
            await self._session.farewell()
        while not syncing.done():  # what it waits in may swallow a cancellation (Python 3.11's wait_for does)
            syncing.cancel()
            await asyncio.wait({syncing}, timeout=_CANCEL_S)

    def _beat(self) -> None:
        self.pulse = time.monotonic()
        self.replica.look()  # on this thread, too: a callback of the application may hold up the watch
        asyncio.get_running_loop().call_later(PULSE_S, self._beat)

    async def _sync(self) -> None:
        urls = spread.sample(self._config.urls, len(self._config.urls))
        ceiling_s, attempt = _BACKOFF_S[0], 0
        while True:
            started = time.monotonic()
            self._session = Session(
                self._config, self._instance, self.replica, self._progress, self._collect, windows=self._windows
            )
            why: Exception | str = "the connection was lost"
            try:
                await self._session.run(urls[attempt % len(urls)])
            except CannotConnectError as error:
                why = error.cause
            except (NatsError, NotAnsweredError, OSError, TimeoutError) as error:
                why = self._session.last_error or error
            except RetiredError:
                raise
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the updates
                why = error
                if first_time(type(error).__name__, "session"):
                    log.exception("the connection was given up")
            self._progress.lost(why, attempted=not self._session.was_live)
            self._progress.enter(SyncState.DISCONNECTED)
            self._progress.counters.reconnects += 1
            if self._session.was_live and time.monotonic() - started > _GOOD_S:
                ceiling_s = _BACKOFF_S[0]
            await asyncio.sleep(spread.random() * ceiling_s)
            ceiling_s, attempt = min(ceiling_s * 2, _BACKOFF_S[1]), attempt + 1
