"""The runner obeys a policy: attempts, retries, fallbacks, budgets, one deadline (docs/sdk/runner.md)."""

from brownout.runner.aio import AsyncRunner, AsyncStream
from brownout.runner.calls import Call, Failed, Output, Reason, Text, ToolCall, Turn
from brownout.runner.effects import MemoryEffects, SqliteEffects
from brownout.runner.judge import Answer, Judge
from brownout.runner.people import MemoryPeople, Ticket
from brownout.runner.reply import Evidence, Notice, Reply, Reset, Withdrawn
from brownout.runner.threads import Runner, Stream
from brownout.telemetry.attempted import Attempted

__all__ = [
    "Answer",
    "AsyncRunner",
    "AsyncStream",
    "Attempted",
    "Call",
    "Evidence",
    "Failed",
    "Judge",
    "MemoryEffects",
    "MemoryPeople",
    "Notice",
    "Output",
    "Reason",
    "Reply",
    "Reset",
    "Runner",
    "SqliteEffects",
    "Stream",
    "Text",
    "Ticket",
    "ToolCall",
    "Turn",
    "Withdrawn",
]
