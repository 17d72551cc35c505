"""What happens to a request, and what it does next: the events and the actions of the ladder. Times are monotonic seconds."""

from typing import Literal

import msgspec

from brownout.model.values import ErrorClass, Purpose


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower, omit_defaults=True):
    now_s: float = 0.0


class Began(Event, frozen=True):
    """The first event of every request."""


class Delivered(Event, frozen=True):
    """The reader has been given text of the attempt under way."""


class EffectRan(Event, frozen=True):
    """A tool with a side effect was started."""


class Answered(Event, frozen=True):
    """The attempt returned. `problem` is what makes the answer unusable."""

    finish: Literal["stop", "length", "tool_calls", "refusal", "content_filter"] = "stop"
    problem: Literal["", "empty", "invalid"] = ""


class Failure(Event, frozen=True):
    """The attempt failed, or one of the tools that its answer asked for (`tool_error`)."""

    error: ErrorClass = "server_error"
    retry_after_s: float | None = None
    chance: float = 0.0
    """A random number from 0 to 1, for the backoff."""
    ours: bool = False
    """For `budget_exhausted`: the limit is the policy's, not the provider's. The attempt was not started."""
    unsupported: bool = False
    """For `bad_request`: the model does not know a parameter; another one may."""
    idempotent: bool = False
    """For `tool_error`: the tool may run again under its key."""
    unknown: bool = False
    """For `tool_error`: the tool has a side effect, and may have had it."""


class NotAdmitted(Event, frozen=True):
    """The attempt was not started: its target's breaker, rate gate or limiter is closed."""

    error: ErrorClass = "overloaded"


class Waited(Event, frozen=True):
    """The wait is over."""


class Denied(Event, frozen=True):
    """The retry budget is spent: there is no wait and no retry."""


class Succeeded(Event, frozen=True):
    """What was served or asked for is there: a text, a ticket, the results of tools."""


class Missed(Event, frozen=True):
    """It is not there, or it failed."""


class Suspended(Event, frozen=True):
    """A person must approve a tool first."""


class Cancelled(Event, frozen=True):
    """The caller has gone."""


AnyEvent = (
    Began | Delivered | EffectRan | Answered | Failure | NotAdmitted | Waited | Denied | Succeeded | Missed
    | Suspended | Cancelled
)  # fmt: skip

TakeBack = Literal["", "reset", "withdrawn"]
Outcome = Literal["answered", "surfaced", "queued", "pending", "stopped", "shed", "failed", "cancelled"]


class Action(msgspec.Struct, frozen=True, tag_field="action", tag=str.lower, omit_defaults=True):
    """`take_back` comes first: what the reader was given does not stand, because another attempt starts (`reset`) or for
    good (`withdrawn`)."""

    take_back: TakeBack = ""


class Attempt(Action, frozen=True):
    """Call a model. `rung` is the position in the ladder, -1 for the policy's own model."""

    target: str = ""
    rung: int = -1
    number: int = 1
    """Counts the attempts at this target."""
    purpose: Purpose = "answer"
    timeout_s: float | None = None
    """The most time for it; None is unlimited."""
    spare: bool = False
    """Whether another rung answers if this attempt fails."""


class Wait(Action, frozen=True):
    """Take a retry token, wait, and go on with the attempt or the tool that failed."""

    seconds: float = 0.0
    then: Literal["attempt", "tool"] = "attempt"


class Serve(Action, frozen=True):
    """Answer with the text of a template."""

    rung: int = 0


class Ask(Action, frozen=True):
    """Ask something other than a model. `tools`: the reader runs what the model asked for."""

    what: Literal["cache", "evidence", "human", "later", "tools"] = "cache"
    rung: int | None = None


class Finish(Action, frozen=True):
    """The request is over. `rung` is the one that answered, None for the policy's own model or nothing."""

    outcome: Outcome = "answered"
    error: ErrorClass | None = None
    rung: int | None = None
    incomplete: bool = False
    format_ok: bool = True


AnyAction = Attempt | Wait | Serve | Ask | Finish
