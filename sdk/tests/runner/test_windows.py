"""What a request spends from its budget's window, and what it does when nothing is left of it."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from brownout.evaluation.policy import Policy
from brownout.model.values import Window
from brownout.runner import AsyncRunner, Attempted, Call, Failed, Output
from brownout.runner.guard import GuardedRequest
from brownout.runner.guarded import Guarded
from brownout.runner.watch import Observation
from brownout.telemetry.posted import RecordInput
from brownout.telemetry.windows import Windows, counted
from brownout.testing import FakeBrownout
from brownout.wire.leases import MOST, Grant, encode_request

NOW = 1_800_000_000.0
TEMPLATE = {"type": "template", "template": "sorry"}
CHEAP = {"input_usd_per_million": 0.5, "output_usd_per_million": 2}


class Client(FakeBrownout):
    """A client with a ledger, and a service that has granted so much of its only window."""

    def __init__(
        self, granted: int, unit: str = "tokens", limit: int = 10_000, scope: tuple[str, ...] = (), **budget: Any
    ):
        super().__init__()
        window = {"unit": unit, "limit": limit, "per": "day", "scope": scope}
        targets = {
            "main": {"provider": "a", "model": "m-1", "price": CHEAP},
            "spare": {"provider": "b", "model": "s-1", "price": CHEAP},
        }
        rungs = [{"type": "model", "target": "spare"}, TEMPLATE]
        self.put("response_template", "sorry", {"text": "Later, please."})
        for key, type_, value in (
            ("budget", "token_budget", {"window": window, "reserve_cap": 100, **budget}),
            ("route", "model_route", {"targets": targets, "primary": "main"}),
            ("ladder", "fallback_ladder", {"rungs": rungs, "deadline_ms": 10_000}),
        ):
            spec = {"type": type_, "enabled": True, "variants": {"v": value}, "off_variant": "v", "default": "v"}
            self.put("flag", key, spec)
        self.put(
            "request_class",
            "reply",
            {"criticality": "critical", "sensitive": False, "model": "route", "ladder": "ladder", "budget": "budget"},
        )
        self.wakes = 0
        self._windows = Windows(lambda: NOW, lambda: 1)
        self._windows.wake = self._wake
        self.granted = granted
        self.lease()

    def _wake(self) -> None:
        self.wakes += 1

    def lease(self, context: dict[str, Any] | None = None) -> None:
        self.policy("reply", context or {})
        assert self._windows
        number, asks = self._windows.ask()
        left = 0 if not self.granted else 5_000
        self._windows.answered(
            number, [Grant(*each[:3], each.start, self.granted, 0, left) for each in map(_fields, asks)]
        )

    @property
    def ledger(self) -> Any:
        assert self._windows
        (entry,) = self._windows._ledger._entries.values()
        return entry


class _Asked(tuple[Any, ...]):
    start: int


def _fields(ask: Any) -> Any:
    found = _Asked((ask.flag, ask.variant, ask.scope))
    found.start = ask.start
    return found


async def answer(call: Call, question: str) -> Output:
    return Output("hello", (40, 10))


async def fail(call: Call, question: str) -> Output:
    raise Failed("server_error")


async def hang_on(call: Call, question: str) -> Output:
    raise Failed("timeout")


def run(client: Client, a: Any = answer, b: Any = answer, context: dict[str, Any] | None = None) -> Any:
    return asyncio.run(AsyncRunner(client, {"a": a, "b": b}).run("reply", context or {}, "hi there?"))


def test_an_answer_spends_what_the_provider_counted() -> None:
    client = Client(1_000)
    assert run(client).text == "hello"
    assert (client.ledger.spent, client.ledger.reserved) == (50, 0)


def test_while_an_attempt_runs_its_estimate_and_the_reserve_cap_are_taken() -> None:
    client, seen = Client(1_000), []

    async def ask(call: Call, question: str) -> Output:
        seen.append((client.ledger.spent, client.ledger.reserved))
        return await answer(call, question)

    run(client, ask)
    ((spent, reserved),) = seen
    assert spent == 0
    assert 100 < reserved < 120


def test_a_failure_costs_nothing_and_a_timeout_what_was_reserved() -> None:
    failing, hanging = Client(1_000), Client(1_000)
    assert run(failing, fail).target == "spare"
    assert failing.ledger.spent == 50
    assert run(hanging, hang_on).target == "spare"
    assert hanging.ledger.spent > 150


@pytest.mark.parametrize(
    ("on_exceeded", "outcome", "text"),
    [("reject", "stopped", ""), ("fallback", "answered", "Later, please."), ("warn", "answered", "hello")],
)
def test_beyond_the_window_the_policy_says_what_happens(on_exceeded: str, outcome: str, text: str) -> None:
    client = Client(0, on_exceeded=on_exceeded)
    called: list[str] = []

    async def ask(call: Call, question: str) -> Output:
        called.append(call.target)
        return await answer(call, question)

    policy = client.policy("reply", {})
    assert policy.window is not None
    assert (policy.window.exceeded, policy.window.degraded, policy.window.available) == (True, False, 0)
    reply = run(client, ask, ask)
    assert (reply.outcome, reply.text, reply.error) == (outcome, text, "budget_exhausted")
    assert called == (["main"] if on_exceeded == "warn" else []), "no other model either: it is the fleet's budget"
    assert client.ledger.spent == (50 if on_exceeded == "warn" else 0)
    assert client.wakes


@pytest.mark.parametrize(
    ("usage", "tokens", "micros"),
    [
        ((Decimal(40), Decimal(10)), 50, 40), ((2**70, 1), MOST, None), ((float("nan"), float("inf")), 0, 0),
        ((1, 2, 3), None, None), (7, None, None), (None, None, None), (("a", None), 0, 0),
    ],
)  # fmt: skip
def test_what_a_provider_counts_oddly_costs_a_whole_number_or_counts_as_not_counted(
    usage: Any, tokens: int | None, micros: int | None
) -> None:
    client = Client(1_000)
    target = client.policy("reply", {}).model
    assert counted(Window("tokens", 10, "day"), target, usage) == tokens
    cost = counted(Window("usd_micros", 10, "day"), target, usage)
    assert cost == (micros if micros is not None or tokens is None else 2**52 + 2)
    client.record(client.policy("reply", {}), input_tokens=[usage], output_tokens=3)  # type: ignore[arg-type]
    assert client.ledger.spent == 3
    assert encode_request(*client._windows.ask())  # type: ignore[union-attr]


def test_a_window_of_requests_counts_a_request_once_however_many_models_it_asks() -> None:
    client = Client(3, unit="requests")
    assert run(client, hang_on).target == "spare"
    assert client.ledger.spent == 1
    assert run(client).target == "main"
    assert client.ledger.spent == 2


def test_a_window_of_money_counts_each_targets_own_price() -> None:
    client = Client(1_000, unit="usd_micros")
    run(client)
    assert client.ledger.spent == 40 * 0.5 + 10 * 2


def test_the_attributes_of_the_scope_count_apart() -> None:
    client = Client(1_000, scope=("tenant",))
    one, other = client.policy("reply", {"tenant": "a"}).window, client.policy("reply", {"tenant": "b"}).window
    assert one is not None
    assert other is not None
    assert one.scope != other.scope
    assert "tenant" not in repr(one)
    assert client.policy("reply", {"tenant": "a", "plan": "pro"}).window == one


def test_what_a_service_records_by_itself_is_spent_once() -> None:
    client = Client(1_000)
    policy = client.policy("reply", {})
    client.record(policy, input_tokens=30, output_tokens=5)
    assert client.ledger.spent == 35
    attempts = [Attempted("main", "a", "m-1", usage=(7, 1)), Attempted("spare", "b", "s-1", error="timeout")]
    client.record(policy, attempts=attempts)
    assert client.ledger.spent == 43
    client.record(policy, input_tokens=20, output_tokens=5, attempts=[Attempted("main", "a", "m-1")])
    assert client.ledger.spent == 68, "attempts without usage hide no tokens"
    client.record(msgspec.structs.replace(policy, stop=True), input_tokens=500)
    run(client)
    assert client.ledger.spent == 118


def test_what_a_sidecar_is_told_is_spent_too() -> None:
    client = Client(1_000, unit="usd_micros")
    sent = msgspec.json.encode({"policy": msgspec.to_builtins(client.policy("reply", {})), "input_tokens": 100})
    told = msgspec.json.decode(sent, type=RecordInput)
    client.record(told.policy.policy(), **told.said())
    assert client.ledger.spent == 50


def guarded(client: Client) -> Guarded | Failed:
    runner = AsyncRunner(client, {})
    return runner.admit(GuardedRequest("reply", "m-1", 200, 50), 0.0)


def test_a_guarded_client_spends_and_is_refused_alike() -> None:
    client = Client(1_000)
    admitted = guarded(client)
    assert isinstance(admitted, Guarded)
    assert client.ledger.reserved > 100
    admitted.observe(Observation(None, usage=(40, 10)), 1.0)
    assert (client.ledger.spent, client.ledger.reserved) == (50, 0)
    refused = guarded(Client(0))
    assert isinstance(refused, Failed)
    assert refused.error_class == "budget_exhausted"
    assert isinstance(guarded(Client(0, on_exceeded="warn")), Guarded)


def test_a_client_of_a_test_counts_against_no_window() -> None:
    policy = msgspec.convert(
        {"request_class": "reply", "budget": {"window": {"unit": "tokens", "limit": 1, "per": "day"}}}, Policy
    )
    client = FakeBrownout(policies={"reply": policy})
    assert client.policy("reply", {}).window is None
