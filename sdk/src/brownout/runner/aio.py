"""The runner for asyncio. Nothing that a callable does can hold a request beyond its deadline."""

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Self

from brownout.context import NOTHING, Context
from brownout.runner.calls import ToolCall
from brownout.runner.commands import Background, Command, Emit, Invoke, Next, Open, Sleep, Steps
from brownout.runner.core import Core, is_async, is_quick
from brownout.runner.drain import decode, drain_async, whole
from brownout.runner.flow import conduct
from brownout.runner.outbox import Saved
from brownout.runner.pump import AsyncChannel, pump, pump_plain
from brownout.runner.reply import Event, Reply
from brownout.runner.request import Request, log
from brownout.runner.tools import run_tool
from brownout.runner.workers import Workers


class AsyncRunner(Core):
    """Obeys policies in asyncio. Plain callables, tools and stores run in threads."""

    _workers = Workers()

    async def run(self, request_class: str, context: Context = NOTHING, /, *arguments: Any, **given: Any) -> Reply:
        """One request, answered at its end.

        `arguments` and `given` go to the callables unchanged, but for the options of brownout.runner.request.Options
        (`validate`, `evidence`, `trim`, `values`, `scope`, `version`, `request_id`). It raises only what callers do
        wrong, and its own cancellation: what fails is in the reply.
        """
        steps = Steps(conduct(self.begin(request_class, context, arguments, given, streams=False)))
        command = steps.send()
        while command is not None:
            command = await self._advance(steps, command)
        return steps.value

    def stream(self, request_class: str, context: Context = NOTHING, /, *arguments: Any, **given: Any) -> "AsyncStream":
        """One request, answered as it arrives: `async with` it, and iterate over its events. `resets=True` says that the
        reader takes back text on `Reset`."""
        return AsyncStream(self, self.begin(request_class, context, arguments, given, streams=True))

    def resume(self, ticket: str, *, approved: bool = True) -> "AsyncStream":
        """The request that waited for this approval, from where it stood. Raises LookupError if none waits."""
        return AsyncStream(self, self.resumed(ticket, approved=approved))

    async def drain(self, deliver: Callable[[Saved, Reply], Any], *request_classes: str) -> int:
        """As Runner.drain. `deliver` is plain and quick, or async."""

        async def answer(saved: Saved) -> None:
            again = decode(saved.payload)
            reply = await self.run(
                again.request_class, again.context, *again.arguments, **again.given | {"request_id": saved.key}
            )
            delivered = deliver(saved, whole(reply))
            if inspect.isawaitable(delivered):
                await delivered

        return await drain_async(self._drainable(), answer, self._rooms(request_classes))

    async def _advance(self, steps: Steps[Any], command: Command) -> Command | None:
        try:
            answer = await self._do(command)
        except BaseException as error:  # noqa: BLE001 - the flow decides: a cancellation comes out of it again
            return steps.throw(error)
        return steps.send(answer)

    async def _do(self, command: Command) -> Any:
        kind = type(command)
        if kind is Next:
            return await command.channel.get(command.timeout_s)  # type: ignore[union-attr]
        if kind is Open:
            return self._open(command)  # type: ignore[arg-type]
        if isinstance(command, Invoke):
            work = self._call(command.function, command.arguments, command.given)
            task = asyncio.ensure_future(work)
            done, _ = await _wait(task, command.timeout_s)
            if not done:
                raise TimeoutError
            return task.result()
        if isinstance(command, Sleep):
            return await asyncio.sleep(command.seconds)
        if isinstance(command, Background):
            task = asyncio.ensure_future(self._call(command.function, command.arguments, {}))
            task.add_done_callback(_logged)
            _BACKGROUND.add(task)
        return None

    def _open(self, command: Open) -> "AsyncChannel":
        channel = AsyncChannel(asyncio.get_running_loop())
        start = partial(command.function, command.call, *command.arguments, **command.given)
        if _is_async(command.function):
            channel.task = channel.loop.create_task(pump(channel, start))
        else:
            context = copy_context()
            self._workers.run(lambda: context.run(pump_plain, channel, start))
        return channel

    async def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...], given: Any) -> Any:
        if is_async(function):
            return await function(*arguments, **given)
        if is_quick(function):
            return function(*arguments, **given)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        work = partial(copy_context().run, partial(function, *arguments, **given))
        self._workers.run(partial(_settle, loop, future, work))
        result = await future
        return await result if inspect.isawaitable(result) else result


class AsyncStream:
    """A request whose events are read one by one. After the last, `reply` says how it ended."""

    def __init__(self, runner: AsyncRunner, request: Request) -> None:
        self._runner, self._request = runner, request
        self._steps = Steps(conduct(request))

    @property
    def reply(self) -> Reply | None:
        """How the request ended; None while it runs."""
        return self._request.reply

    async def tool(
        self, call: ToolCall, function: Callable[..., Any], *, effect: bool = False, idempotent: bool = False
    ) -> Any:
        """Runs a tool that the model asked for, with the call's arguments, and returns what the model will be told.

        Args:
            call: The event.
            function: Plain or async. If it takes an `idempotency_key`, it gets the effect's key.
            effect: It changes something outside: it runs once by its key, and its result is logged before it is used.
            idempotent: It may run again under its key after it failed.
        """
        steps = Steps(run_tool(self._request, call, function, effect=effect, idempotent=idempotent))
        command = steps.send()
        while command is not None:
            command = await self._runner._advance(steps, command)
        return steps.value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        command = self._steps.send()
        while command is not None:
            if isinstance(command, Emit):
                return command.event
            command = await self._runner._advance(self._steps, command)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A stream that is left early is cancelled."""
        self._steps.close()


_is_async = lru_cache(256)(is_async)
"""For callables, which are few and live long."""


async def _wait(task: "asyncio.Future[Any]", timeout_s: float | None) -> tuple[set[Any], set[Any]]:
    """Waits for a task, and no longer: one that does not end when cancelled is left behind."""
    try:
        done, pending = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        task.cancel()
        raise
    for late in pending:
        late.cancel()
        late.add_done_callback(_forget)
    return done, pending


def _settle(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", work: Callable[[], Any]) -> None:
    try:
        result: Any = work()
        settle = partial(_set, future, result, None)
    except Exception as error:  # noqa: BLE001 - given to the one who waits
        settle = partial(_set, future, None, error)
    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass  # the loop has closed, and no one waits


def _set(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


_BACKGROUND: set["asyncio.Future[Any]"] = set()
"""Keeps tasks alive that no one waits for."""


def _logged(task: "asyncio.Future[Any]") -> None:
    _BACKGROUND.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.warning("a cache could not keep an answer", exc_info=task.exception())


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()
