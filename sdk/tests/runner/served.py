"""Policies and clients for the runner's tests."""

from collections.abc import Mapping
from typing import Any

import msgspec

from brownout.evaluation.policy import Policy
from brownout.testing import FakeBrownout

MAIN = {"name": "main", "provider": "a", "model": "m-1"}
SPARE = {"name": "spare", "provider": "b", "model": "s-1"}


def made(*rungs: Mapping[str, Any], **more: Any) -> Policy:
    """A policy with these rungs; `deadline_ms`, `terminal` and `on_break` are the ladder's."""
    names = ("deadline_ms", "terminal", "on_break")
    ladder = {"rungs": rungs, "deadline_ms": 12_000} | {name: more.pop(name) for name in names if name in more}
    return msgspec.convert({"request_class": "reply", "model": MAIN, "ladder": ladder} | more, Policy)


def rung(type_: str, text: str | None = None, target: Mapping[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    named = {"target": target["name"]} if target else {}
    found: dict[str, Any] = {"rung": {"type": type_, **named, **own}}
    return found | ({"target": target} if target else {}) | ({"text": text} if text else {})


TO_SPARE = rung("model", target=SPARE)


class Client(FakeBrownout):
    """Serves one policy, and keeps what is recorded."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policies={"reply": policy})
        self.recorded: list[dict[str, Any]] = []

    def record(self, policy: Policy, **said: Any) -> None:
        self.recorded.append({name: value for name, value in said.items() if value not in {None, False, "", ()}})
        super().record(policy, **said)

    def _who(self) -> tuple[str, str]:
        return "i-1", "support"
