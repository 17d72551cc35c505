"""What the runner asks of a tracer: a span for each request, and one for each attempt in it (ADR 0163)."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from brownout.evaluation.policy import Policy, PolicyTarget
from brownout.telemetry.attempted import Attempted


class Span(Protocol):
    def current(self) -> AbstractContextManager[Any]:
        """Makes it the parent of what is traced inside."""
        ...


class AttemptSpan(Span, Protocol):
    def end(self, attempted: Attempted | None) -> None:
        """None: it was given up."""
        ...


class RequestSpan(Span, Protocol):
    def attempt(self, target: PolicyTarget) -> AttemptSpan: ...

    def end(
        self, outcome: str, *, error: str | None, rung: str | None, answered_by: str | None, provisional: bool
    ) -> None: ...


class Tracer(Protocol):
    def begin(self, policy: Policy) -> RequestSpan: ...
