"""What the fleet does, on the page as it happens: one board an environment, rendered once, whoever watches.

The database is asked as often for one viewer as for thousands: a board looks when the fleet changed, and every TICK_S.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import ClassVar

import structlog
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from controlplane.access.actor import Action, system_actor
from controlplane.errors import BrownoutError
from controlplane.http.streams import while_allowed
from controlplane.services import Services
from controlplane.web.fleet.health import HealthPart, health_part
from controlplane.web.kit.frame import Frame, Person
from controlplane.web.kit.framing import build_frame
from controlplane.web.kit.render import Templates, View
from controlplane.web.kit.visit import Viewer, Visit
from controlplane.web.overview.page import SignalRow, signal_rows
from controlplane.web.safe_mode.page import panel_fleet
from controlplane.web.safe_mode.panel import FleetNow

log = structlog.get_logger(__name__)

TICK_S = 5.0
RESTART_S = 1.0
KEEP_ALIVE_S = 10.0
"""The page waits 2.5 times as long (ui/static/js/live.js) before it says that it is not live."""
MAX_S = 600.0
"""Then the page connects again, and shows that it still may."""

ACTOR = system_actor("system:console")
NOBODY = Person("", "", "")


class LiveView(View, frozen=True, kw_only=True):
    """Everything that moves; each element replaces the one of the same id."""

    template: ClassVar[str] = "kit/live.html"

    frame: Frame
    fleet: FleetNow
    health: HealthPart
    signals: tuple[SignalRow, ...]


class Board:
    """One environment's live parts. `version` counts what was said."""

    def __init__(self, viewer: Viewer, environment: str) -> None:
        self._viewer = viewer
        self._environment = environment
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self.watching = 0
        self.version = 0
        self.html = ""
        self.revision = 0

    def join(self) -> None:
        self.watching += 1
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name=f"board {self._environment}")

    def leave(self) -> None:
        self.watching -= 1
        if self.watching == 0 and self._task is not None:
            self._task.cancel()
            self._task = None
            self.version, self.html, self.revision = 0, "", 0  # what nobody kept true is shown to nobody

    async def catch_up(self, revision: int) -> None:
        """Looks at once, when it last did before `revision`: a page must not be taken back to before its own commit."""
        async with self._looking:
            if self.html and self.revision < revision:
                try:
                    await self._look()
                except Exception:  # the page is live, if a look behind: its board looks again by itself
                    log.exception("board_not_drawn", environment=self._environment)

    async def wait(self, seen: int, timeout_s: float) -> bool:
        """Whether there is something newer than version `seen`, waiting for it a while."""
        if self.version == seen:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
        return self.version != seen

    async def _follow(self) -> None:
        """Goes on whatever one look finds: the next change, or TICK_S, is another."""
        while True:
            try:
                await self._follow_events()
            except Exception:
                log.exception("board_lost_its_events", environment=self._environment)
            await asyncio.sleep(RESTART_S)

    async def _follow_events(self) -> None:
        events = self._viewer.services.telemetry.fleet.events(ACTOR, self._environment)
        following = asyncio.ensure_future(anext(events))
        turning = asyncio.ensure_future(self._viewer.services.health.changed())
        try:
            while True:
                await asyncio.wait({following, turning}, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
                    following = asyncio.ensure_future(anext(events))
                if turning.done():
                    turning = asyncio.ensure_future(self._viewer.services.health.changed())
                try:
                    async with self._looking:
                        await self._look()
                except BrownoutError as error:
                    log.warning("board_not_drawn", environment=self._environment, error=error.message)
                except Exception:
                    log.exception("board_not_drawn", environment=self._environment)
        finally:
            following.cancel()
            turning.cancel()

    async def _look(self) -> None:
        viewer, environment = self._viewer, self._environment
        frame = await build_frame(viewer.services, ACTOR, environment, "", NOBODY)
        active = await viewer.services.safe_mode.active(ACTOR, environment)
        view = LiveView(
            frame=frame,
            fleet=await panel_fleet(viewer, environment, active),
            health=health_part(viewer, environment),
            signals=await signal_rows(viewer, environment),
        )
        html = viewer.templates.render(view)
        if html == self.html:
            return
        self.html, self.revision = html, frame.environment.revision
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LiveBoards:
    def __init__(self, services: Services, templates: Templates) -> None:
        self._viewer = Viewer(services, ACTOR, templates)
        self._boards: dict[str, Board] = {}

    async def events(self, environment: str, shown: int) -> AsyncIterator[bytes]:
        """Server-sent events: `html` to be put in place, whose id is the revision that it shows.

        `shown` is the revision that the page was made at.
        """
        board = self._boards.setdefault(environment, Board(self._viewer, environment))
        board.join()
        seen = -1
        ends = asyncio.get_running_loop().time() + MAX_S
        try:
            yield b"retry: 2000\n\n"
            await board.catch_up(shown)
            while asyncio.get_running_loop().time() < ends:
                if not (board.version and board.version != seen) and not await board.wait(board.version, KEEP_ALIVE_S):
                    yield _event("here", "still")
                    continue
                seen = board.version
                yield _event("html", board.html, board.revision)
            yield _event("bye", "again")
        finally:
            board.leave()


def _event(name: str, data: str, revision: int | None = None) -> bytes:
    identity = "" if revision is None else f"id: {revision}\n"
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"event: {name}\n{identity}{lines}\n".encode()


class LiveController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @get("/live", opt={"action": Action.READ})
    async def watch(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        boards: NamedDependency[LiveBoards],
        shown: FromQuery[int] = 0,
    ) -> Stream:
        await visit.services.reads.head(visit.actor, environment)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        watched = while_allowed(visit.request, visit.services, environment, boards.events(environment, shown))
        return Stream(watched, media_type="text/event-stream", headers=headers)
