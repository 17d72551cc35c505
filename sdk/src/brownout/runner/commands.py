"""What a request needs done that takes time. The flow yields commands; a driver carries them out, in asyncio or in threads."""

from collections.abc import Callable, Generator, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from brownout.runner.calls import Call, Text, ToolCall
from brownout.runner.reply import Event

T = TypeVar("T")


class Ended(NamedTuple):
    """A callable returned: an Output, a text, or None after a stream that had no Output."""

    result: Any


class Broke(NamedTuple):
    """A callable raised."""

    error: Exception


Item = Text | ToolCall | Ended | Broke


class Channel(Protocol):
    """What arrives from one attempt."""

    def close(self) -> None:
        """Abandons the attempt: it is cancelled where it can be, and whatever still arrives is dropped."""


class Open(NamedTuple):
    """Start an attempt. Answered with its Channel, at once."""

    function: Callable[..., Any]
    call: Call
    arguments: tuple[Any, ...]
    given: Mapping[str, Any]


class Next(NamedTuple):
    """Wait for the next Item. Answered with None after `timeout_s`."""

    channel: Channel
    timeout_s: float | None


class Sleep(NamedTuple):
    seconds: float


class Invoke(NamedTuple):
    """Call a function, plain or async, off the event loop if plain. Raises TimeoutError after `timeout_s`; what it then
    still does is its own."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    given: Mapping[str, Any] = {}
    timeout_s: float | None = None


class Background(NamedTuple):
    """Call a function and do not wait for it. What it raises is logged."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


class Emit(NamedTuple):
    """Give the reader an event."""

    event: Event


Command = Open | Next | Sleep | Invoke | Background | Emit


class Steps(Generic[T]):
    """A flow under way. `send` and `throw` return its next command, None when it is over: then `value` is its result."""

    value: T

    def __init__(self, flow: "Generator[Command, Any, T]") -> None:
        self._flow = flow

    def send(self, answer: Any = None) -> Command | None:
        try:
            return self._flow.send(answer)
        except StopIteration as over:
            self.value = over.value
            return None

    def throw(self, error: BaseException) -> Command | None:
        try:
            return self._flow.throw(error)
        except StopIteration as over:
            self.value = over.value
            return None

    def close(self) -> None:
        self._flow.close()
