"""A board goes on whatever one look finds: a resource that this version cannot read, a template's fault, a lost stream."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.errors import UnavailableError
from controlplane.kit.tasks import end
from controlplane.web.overview import live
from controlplane.web.overview.live import LiveBoards

pytestmark = pytest.mark.anyio


class FakeFleet:
    """Tells of a change whenever `step` is set; `breaks` once when told to."""

    def __init__(self) -> None:
        self.step = asyncio.Event()
        self.breaks = False

    async def events(self, _actor: object, _environment: str) -> AsyncIterator[bytes]:
        while True:
            yield b"{}"
            await self.step.wait()
            self.step.clear()
            if self.breaks:
                self.breaks = False
                raise ValueError("the stream is gone")


class FakeTemplates:
    def render(self, view: Any) -> str:
        return f"<p>{view['frame'].environment.revision}</p>"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Exception | int]:
    """What each look finds, in turn: a revision, or what it raises; then the last one for ever."""
    found: list[Exception | int] = []

    async def build_frame(*_: object) -> Any:
        one = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(one, Exception):
            raise one
        return SimpleNamespace(environment=SimpleNamespace(revision=one))

    async def nothing(*_: object) -> tuple[()]:
        return ()

    monkeypatch.setattr(live, "build_frame", build_frame)
    monkeypatch.setattr(live, "panel_fleet", nothing)
    monkeypatch.setattr(live, "signal_rows", nothing)
    monkeypatch.setattr(live, "health_part", lambda *_: None)
    monkeypatch.setattr(live, "LiveView", lambda **fields: fields)
    monkeypatch.setattr(live, "TICK_S", 0.01)
    monkeypatch.setattr(live, "RESTART_S", 0.01)
    return found


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def boards(fleet: FakeFleet) -> LiveBoards:
    async def active(*_: object) -> tuple[()]:
        return ()

    services: Any = SimpleNamespace(
        telemetry=SimpleNamespace(fleet=fleet),
        safe_mode=SimpleNamespace(active=active),
        health=SimpleNamespace(changed=asyncio.Event().wait),
    )
    return LiveBoards(services, FakeTemplates())  # type: ignore[arg-type]


async def shown(boards: LiveBoards, wanted: str) -> None:
    async for event in boards.events("production", 0):
        if wanted in event.decode():
            return


async def test_a_look_that_fails_is_followed_by_another(boards: LiveBoards, looks: list[Exception | int]) -> None:
    looks.extend([1, ValueError("a resource of a newer version"), UnavailableError("away"), KeyError("template"), 2])
    async with asyncio.timeout(20):
        await shown(boards, "<p>2</p>")


async def test_a_board_that_lost_its_events_finds_them_again(
    boards: LiveBoards, looks: list[Exception | int], fleet: FakeFleet
) -> None:
    looks.extend([1, 1, 2, 3])
    fleet.breaks = True
    fleet.step.set()
    watching = asyncio.create_task(shown(boards, "<p>3</p>"))
    async with asyncio.timeout(20):
        await watching
    await end(watching)
    assert not fleet.breaks


async def test_whoever_joins_a_board_whose_first_look_failed_sees_the_next(
    boards: LiveBoards, looks: list[Exception | int]
) -> None:
    looks.extend([RuntimeError("first"), RuntimeError("second"), 7])
    async with asyncio.timeout(20):
        await asyncio.gather(*(shown(boards, "<p>7</p>") for _ in range(3)))
