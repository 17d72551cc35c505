"""What a request returns: the events of a stream, and the reply at its end."""

from datetime import datetime
from typing import Any

import msgspec

from brownout.evaluation.policy import Policy
from brownout.model.values import ErrorClass, RungType
from brownout.runner.calls import Text, ToolCall
from brownout.runner.moves import Outcome
from brownout.telemetry.attempted import Attempted


class Evidence(msgspec.Struct, frozen=True):
    """The sources that came with the request, before any model speaks."""

    sources: tuple[Any, ...]


class Reset(msgspec.Struct, frozen=True):
    """The text of this turn does not stand: another attempt starts."""


class Withdrawn(msgspec.Struct, frozen=True):
    """The text of this turn does not stand: the model refused, or a filter stopped it."""


class Notice(msgspec.Struct, frozen=True):
    """What users are told beside a degraded reply."""

    text: str


Event = Evidence | Text | ToolCall | Reset | Withdrawn | Notice


class Reply(msgspec.Struct, frozen=True):
    """How a request ended."""

    policy: Policy
    outcome: Outcome
    """`answered`, or `surfaced` (what there was, perhaps incomplete), `queued` (a person or a later run has it), `pending`
    (a tool waits for approval), `stopped` and `shed` (by policy), `failed`, `cancelled`."""
    text: str = ""
    rung: RungType | None = None
    """What answered; None: nothing did."""
    target: str | None = None
    """The name of the target, where a model answered."""
    error: ErrorClass | None = None
    """The latest failure on the way."""
    notice: str | None = None
    """What to tell users, from the policy."""
    provisional: bool = False
    """Whether this is less than an answer of a model: cached, sources only, queued, or cut off."""
    as_of: datetime | None = None
    """When a cached answer was made."""
    incomplete: bool = False
    format_ok: bool = True
    ticket: str | None = None
    """What the review queue or the outbox calls this request, or what `resume` takes."""
    tools: tuple[ToolCall, ...] = ()
    """Tools that the model asked for and no one ran."""
    sources: tuple[Any, ...] = ()
    done: tuple[str, ...] = ()
    """Tools with side effects that ran, by name."""
    missing: tuple[str, ...] = ()
    """What the prompt needs and no one passed: no model was asked."""
    attempts: tuple[Attempted, ...] = ()
    usage: tuple[int, int] = (0, 0)
    """Tokens of all attempts: of prompts and of completions."""
    duration_ms: float = 0.0

    @property
    def answered_by(self) -> str | None:
        """What answered: the target's name, or the rung where no model did. None: nothing."""
        return self.target if self.rung == "model" else self.rung

    @property
    def degraded(self) -> bool:
        """Whether anything but the policy's own model answered in full."""
        own = self.rung == "model" and self.policy.model is not None and self.target == self.policy.model.name
        return not own or self.incomplete or not self.format_ok or self.outcome != "answered"
