"""The runner for threads. A call that outlives its deadline is abandoned in a thread of its own, and its late result runs
nothing."""

import queue
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from brownout.context import NOTHING, Context
from brownout.runner.calls import ToolCall
from brownout.runner.commands import (
    Background,
    Broke,
    Channel,
    Command,
    Emit,
    Ended,
    Invoke,
    Item,
    Next,
    Open,
    Sleep,
    Steps,
)
from brownout.runner.core import Core, is_async
from brownout.runner.drain import decode, drain, whole
from brownout.runner.flow import conduct
from brownout.runner.outbox import Saved
from brownout.runner.pump import pieces
from brownout.runner.reply import Event, Reply
from brownout.runner.request import Request, log
from brownout.runner.tools import run_tool
from brownout.runner.workers import Workers

if TYPE_CHECKING:
    from brownout.client import Brownout


class Waiting(Protocol):
    """How time passes for a runner: for real, or in a test."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def start(self, items: Callable[[Callable[[], bool]], Any]) -> "Inbox":
        """Runs what yields items beside the caller. Its argument says whether it is abandoned."""
        ...


class Inbox(Channel, Protocol):
    def get(self, timeout_s: float | None) -> Item | None:
        """The next item; None after `timeout_s`."""
        ...


class Runner(Core):
    """Obeys policies in threads: for services without asyncio. It takes what AsyncRunner takes."""

    def __init__(self, client: "Brownout", *arguments: Any, waiting: Waiting | None = None, **parts: Any) -> None:
        self._waiting: Waiting = RealTime() if waiting is None else waiting
        super().__init__(client, *arguments, now=self._waiting.now, **parts)

    def run(self, request_class: str, context: Context = NOTHING, /, *arguments: Any, **given: Any) -> Reply:
        """As AsyncRunner.run."""
        steps = Steps(conduct(self.begin(request_class, context, arguments, given, streams=False)))
        command = steps.send()
        while command is not None:
            command = self._advance(steps, command)
        return steps.value

    def stream(self, request_class: str, context: Context = NOTHING, /, *arguments: Any, **given: Any) -> "Stream":
        """As AsyncRunner.stream, with `with` and `for`."""
        return Stream(self, self.begin(request_class, context, arguments, given, streams=True))

    def resume(self, ticket: str, *, approved: bool = True) -> "Stream":
        """The request that waited for this approval, from where it stood. Raises LookupError if none waits."""
        return Stream(self, self.resumed(ticket, approved=approved))

    def drain(self, deliver: Callable[[Saved, Reply], object], *request_classes: str) -> int:
        """Asks saved requests again, one after another, while the models of these classes have room; returns how many
        were answered.

        A request that no model answers in full rests for a minute. `deliver` gets the others; if it raises, they rest too.
        Effects of a request that runs again are not repeated: it has its own key.
        """

        def answer(saved: Saved) -> None:
            again = decode(saved.payload)
            reply = self.run(
                again.request_class, again.context, *again.arguments, **again.given | {"request_id": saved.key}
            )
            deliver(saved, whole(reply))

        return drain(self._drainable(), answer, self._rooms(request_classes))

    def _advance(self, steps: Steps[Any], command: Command) -> Command | None:
        try:
            answer = self._do(command)
        except BaseException as error:  # noqa: BLE001 - the flow decides: an interrupt comes out of it again
            return steps.throw(error)
        return steps.send(answer)

    def _do(self, command: Command) -> Any:
        match command:
            case Next():
                return command.channel.get(command.timeout_s)  # type: ignore[attr-defined]
            case Open():
                call = partial(command.function, command.call, *command.arguments, **command.given)
                return self._waiting.start(partial(pieces, _plain(command.function, call)))
            case Invoke():
                return self._invoke(command)
            case Sleep():
                self._waiting.sleep(command.seconds)
            case Background():
                self._waiting.start(partial(_logged, partial(command.function, *command.arguments)))
        return None

    def _invoke(self, command: Invoke) -> Any:
        call = partial(command.function, *command.arguments, **command.given)
        inbox = self._waiting.start(partial(pieces, _plain(command.function, call)))
        try:
            item = inbox.get(command.timeout_s)
        finally:
            inbox.close()
        if isinstance(item, Broke):
            raise item.error
        if item is None:
            raise TimeoutError
        assert isinstance(item, Ended)
        return item.result


class Stream:
    """A request whose events are read one by one. After the last, `reply` says how it ended."""

    def __init__(self, runner: Runner, request: Request) -> None:
        self._runner, self._request = runner, request
        self._steps = Steps(conduct(request))

    @property
    def reply(self) -> Reply | None:
        """How the request ended; None while it runs."""
        return self._request.reply

    def tool(
        self, call: ToolCall, function: Callable[..., Any], *, effect: bool = False, idempotent: bool = False
    ) -> Any:
        """As AsyncStream.tool."""
        steps = Steps(run_tool(self._request, call, function, effect=effect, idempotent=idempotent))
        command = steps.send()
        while command is not None:
            command = self._runner._advance(steps, command)
        return steps.value

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        command = self._steps.send()
        while command is not None:
            if isinstance(command, Emit):
                return command.event
            command = self._runner._advance(self._steps, command)
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A stream that is left early is cancelled."""
        self._steps.close()


class RealTime:
    """Time as it passes, and threads to wait in."""

    _workers = Workers()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def start(self, items: Callable[[Callable[[], bool]], Any]) -> "_Inbox":
        inbox = _Inbox()
        context = copy_context()
        self._workers.run(lambda: context.run(inbox.fill, items))
        return inbox


class _Inbox:
    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._closed = False

    def fill(self, items: Callable[[Callable[[], bool]], Any]) -> None:
        for item in items(lambda: self._closed):
            self._items.put(item)

    def get(self, timeout_s: float | None) -> Item | None:
        try:
            return self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._closed = True


def _plain(function: Callable[..., Any], call: Callable[[], Any]) -> Callable[[], Any]:
    if is_async(function):
        raise TypeError(f"{function!r} is async: it needs an AsyncRunner")
    return call


def _logged(call: Callable[[], Any], _: Callable[[], bool]) -> Any:
    try:
        call()
    except Exception:  # noqa: BLE001 - whatever a cache raises
        log.warning("a cache could not keep an answer", exc_info=True)
    return ()
