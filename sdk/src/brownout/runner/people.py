"""The seam to a review queue: what a person is given, and where it goes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from brownout.model.frozen import FrozenDict
from brownout.runner.calls import ToolCall


class Ticket(msgspec.Struct, frozen=True):
    """What a person takes over: a request that no model may answer, or a tool that needs approval."""

    id: str
    """The same for the same request, so a repeated ticket is no second one."""
    request_class: str
    reason: str
    """A class of failure, `sensitive`, or `approval`."""
    queue: str | None = None
    text: str = ""
    """What the model had said."""
    done: tuple[str, ...] = ()
    """Tools with side effects that ran, by name."""
    tool: ToolCall | None = None
    """For `approval`: what the model wants to run."""
    arguments: tuple[Any, ...] = ()
    given: Mapping[str, Any] = FrozenDict()
    """What the request was given: the messages, usually."""
    context: Mapping[str, Any] = FrozenDict()


People = Callable[[Ticket], str | Awaitable[str | None] | None]
"""Takes a ticket and returns its own name for it; None keeps the ticket's id. Raises if it could not take it."""


class MemoryPeople:
    """A queue for tests and examples: tickets stay in `tickets`."""

    blocks = False

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []

    def __call__(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)
