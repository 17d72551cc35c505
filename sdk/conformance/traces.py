"""Golden traces of the ladder: what happened to a request, and what it must do next, for every cell of the table.

A file holds one class of failure. The policy is `POLICY`, with what a trace's `policy` changes. Events and actions are
written as brownout.runner.moves has them, without defaults; times are seconds since the request began.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from brownout.evaluation.policy import Policy
from brownout.runner.ladder import Facts
from brownout.runner.moves import AnyAction, AnyEvent

FOLDER = Path(__file__).parent / "ladder"
COLUMNS = ("nothing delivered", "text delivered", "a tool effect ran")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is different from `POLICY`. Left out: nothing."""

    stop: bool = False
    shed: bool = False
    sensitive: str = "continue"
    model: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    attempt_ms: int | None = None
    retry: dict[str, Any] = msgspec.field(default_factory=lambda: {"max_attempts": 2, "jitter": "none"})
    budget: dict[str, Any] = {}
    terminal: dict[str, str] = {}
    ladder_on_break: str = "surface"
    spare_provider: str = "b"
    spare_window: int | None = 32_000
    spare_on: list[str] = []
    cache_on: list[str] = []
    last: str = "human_review"


def policy(change: Change) -> Policy:
    """`main` at provider a, then `spare` at b, the cache, and a person (or a template); 12 s, two attempts."""
    main = {"name": "main", "provider": "a", "model": "m", "max_context_tokens": 8_000, "attempt_ms": change.attempt_ms}
    spare = {
        "name": "spare",
        "provider": change.spare_provider,
        "model": "s",
        "max_context_tokens": change.spare_window,
    }
    last: dict[str, Any] = {"rung": {"type": change.last}}
    if change.last == "template":
        last = {"rung": {"type": "template", "template": "sorry"}, "text": "Sorry."}
    rungs = [
        {"rung": {"type": "model", "target": "spare", "on": change.spare_on}, "target": spare},
        {"rung": {"type": "cache", "on": change.cache_on}},
        last,
    ]
    ladder = {"rungs": rungs, "terminal": change.terminal, "deadline_ms": 12_000, "on_break": change.ladder_on_break}
    return msgspec.convert(
        {
            "request_class": "reply", "model": main if change.model is msgspec.UNSET else change.model, "ladder": ladder,
            "budget": change.budget, "retry": change.retry, "sensitive": change.sensitive, "stop": change.stop,
            "shed": change.shed,
        },
        Policy,
    )  # fmt: skip


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event: AnyEvent
    action: AnyAction


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    column: str
    """The column of the table; empty for what stands beside it."""
    steps: list[Step]
    policy: Change = Change()
    facts: Facts = Facts()


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    traces: list[Trace]


class Golden(NamedTuple):
    row: str
    trace: Trace

    def __str__(self) -> str:
        return f"{self.row} - {self.trace.column or 'beside'} - {self.trace.name}"


@cache
def traces() -> tuple[Golden, ...]:
    return tuple(
        Golden(path.stem, trace)
        for path in sorted(FOLDER.glob("*.json"))
        for trace in msgspec.json.decode(path.read_bytes(), type=File).traces
    )
