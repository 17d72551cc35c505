"""What a sender tells, and what came of it."""

from typing import Literal, Protocol

import msgspec

Fault = Literal["", "later", "message", "channel"]
"""Nothing; worth another try; this message is never taken; the channel leads nowhere until someone changes it."""
Action = Literal["trigger", "resolve", "acknowledge", "change"]
"""What a paging service is asked to do. `change`: show it, and page no one."""

MAX_RETRY_AFTER_S = 3600.0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`timestamp` is Unix seconds of this attempt, `at` the event's instant in ISO 8601. Links are empty when there are
    none."""

    message_id: str
    timestamp: int
    at: str
    type: str
    environment: str
    severity: str
    dedupe: str
    action: Action
    title: str
    fields: tuple[tuple[str, str], ...]
    data: dict[str, str]
    link: str = ""
    ack_link: str = ""

    @property
    def lines(self) -> list[str]:
        return [f"{label}: {text}" for label, text in self.fields]


class Sent(msgspec.Struct, frozen=True):
    """`error` is empty when the receiver took it; it never holds the address or anything that was answered."""

    error: str = ""
    retry_after_s: float = 0.0
    fault: Fault = ""


class Sender(Protocol):
    async def send(self, config: bytes, message: Message) -> Sent:
        """Never raises for what a receiver does. `config` is what the channel keeps sealed."""
        ...


def fault_of(status: int) -> Fault:
    """What an HTTP status says of a message."""
    if status in {401, 403, 404, 410}:
        return "channel"
    if 400 <= status < 500 and status not in {408, 409, 425, 429}:
        return "message"
    return "later"


def retry_after_s(text: str) -> float:
    """Seconds; a date, which other clocks would have to read, counts as nothing said."""
    return min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
