"""The windows of a client's policies: which one a request spends from, and how much. Safe for threads."""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence

import msgspec

from brownout.context import Context
from brownout.evaluation.attributes import dotted, unit
from brownout.evaluation.policy import Policy, PolicyTarget, PolicyWindow
from brownout.model.values import Window
from brownout.telemetry.attempted import Attempted
from brownout.telemetry.ledger import Key, Ledger, Reservation, whole
from brownout.wire.leases import EVERYONE, Ask, Grant, scope_of

UNBOUNDED_OUTPUT = 1_000
"""Tokens reserved for an answer that nothing bounds."""


class Windows:
    """One process's ledger. `now_s` returns the control plane's time in Unix seconds, `fleet` how many instances share a
    window."""

    def __init__(self, now_s: Callable[[], float], fleet: Callable[[], int | None]) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called when something is to be asked for soon."""
        self._now_s, self._fleet = now_s, fleet
        self._lock = threading.Lock()
        self._ledger = Ledger()

    def seen(self, policy: Policy, context: Context) -> Policy:
        """`policy` with how its window stands; as it is, if it has none."""
        window, decision = policy.budget.window, policy.provenance.get("budget")
        if window is None or decision is None or decision.variant is None:
            return policy
        scope = _scope(window, context)
        key = Key(decision.flag, decision.variant, scope, window.unit, window.per)
        now = self._now_s()
        with self._lock:
            fill, presses = self._at().fill(key, window, now), self._ledger.presses(key, now)
        if presses:
            self.wake()
        told = PolicyWindow(
            key.flag,
            key.variant,
            scope.hex(),
            fill.used_bp,
            fill.available,
            fill.resets_at,
            fill.exceeded,
            fill.degraded,
        )
        return msgspec.structs.replace(policy, window=told)

    def reserve(
        self, policy: Policy, target: PolicyTarget, input_tokens: int, *, force: bool = False
    ) -> Reservation | None:
        """Takes what one attempt may cost; None if the window has not so much left."""
        window, key = policy.budget.window, _key(policy)
        assert window is not None
        assert key is not None
        amount = cost(window, target, input_tokens, _output(policy, target))
        now = self._now_s()
        with self._lock:
            taken = self._at().reserve(key, window, amount, now, force=force)
            presses = self._ledger.presses(key, now)
        if presses:
            self.wake()
        return taken

    def settle(self, reservation: Reservation, used: int) -> None:
        with self._lock:
            self._ledger.settle(reservation, used)

    def told(self, policy: Policy, input_tokens: int, output_tokens: int, attempts: Sequence[Attempted]) -> None:
        """Spends what a service reports that makes its calls by itself. Never raises, whatever it passes."""
        with contextlib.suppress(Exception):
            key, window = _key(policy), policy.budget.window
            if key is None or window is None or policy.stop or policy.shed:
                return
            spent = _spent(policy, window, input_tokens, output_tokens, attempts)
            now = self._now_s()
            with self._lock:
                self._at().spend(key, window, spent, now)
                presses = self._ledger.presses(key, now)
            if presses:
                self.wake()

    def ask(self) -> tuple[int, list[Ask]]:
        with self._lock:
            return self._at().ask(self._now_s())

    def answered(self, number: int, grants: list[Grant]) -> None:
        with self._lock:
            self._ledger.answered(number, grants, self._now_s())

    def unanswered(self, number: int) -> None:
        with self._lock:
            self._ledger.unanswered(number, self._now_s())

    def lost(self) -> None:
        with self._lock:
            self._ledger.lost(self._now_s())

    def is_waiting(self) -> bool:
        """Whether there may be something to ask for, now or later."""
        with self._lock:
            return self._ledger.is_waiting()

    def heir(self) -> "Windows":
        """For a forked child: what the parent holds is the parent's."""
        return Windows(self._now_s, self._fleet)

    def _at(self) -> Ledger:
        self._ledger.fleet = self._fleet()
        return self._ledger


def counts(policy: Policy) -> bool:
    """Whether requests of this policy spend from a window."""
    return policy.window is not None and policy.budget.window is not None


def cost(window: Window, target: PolicyTarget | None, input_tokens: int, output_tokens: int) -> int:
    """What a call costs in the window's unit. A target without a price costs nothing in money. Takes whatever a service
    or a provider reports as a count of tokens."""
    if window.unit == "requests":
        return 1
    tokens = whole(input_tokens), whole(output_tokens)
    if window.unit == "tokens":
        return whole(sum(tokens))
    price = target.price if target is not None else None
    return 0 if price is None else whole(math.ceil(price.of(*tokens)))


def counted(window: Window, target: PolicyTarget | None, usage: tuple[int, int] | None) -> int | None:
    """What a call costs by the provider's own count; None if the provider did not count, or `usage` is no pair."""
    try:
        input_tokens, output_tokens = usage  # type: ignore[misc]
    except (TypeError, ValueError):
        return None
    return cost(window, target, input_tokens, output_tokens)


def find_target(policy: Policy, name: str) -> PolicyTarget | None:
    """The target of the route that has this name."""
    targets = (policy.model, *(rung.target for rung in policy.ladder.rungs))
    return next((target for target in targets if target is not None and target.name == name), None)


def _spent(policy: Policy, window: Window, input_tokens: int, output_tokens: int, attempts: Sequence[Attempted]) -> int:
    if window.unit == "requests" or not any(each.usage for each in attempts):
        return cost(window, policy.model, input_tokens, output_tokens)
    costs = (counted(window, find_target(policy, each.target), each.usage) for each in attempts)
    return sum(each for each in costs if each is not None)


def _output(policy: Policy, target: PolicyTarget) -> int:
    limits = (policy.budget.per_request.max_output_tokens, target.params.max_output_tokens, policy.budget.reserve_cap)
    return min((limit for limit in limits if limit is not None), default=UNBOUNDED_OUTPUT)


def _key(policy: Policy) -> Key | None:
    told, window = policy.window, policy.budget.window
    if told is None or window is None:
        return None
    return Key(told.flag, told.variant, bytes.fromhex(told.scope), window.unit, window.per)


def _scope(window: Window, context: Context) -> bytes:
    if not window.scope:
        return EVERYONE
    return scope_of({name: _value(context, name) for name in window.scope})


def _value(context: Context, name: str) -> str | None:
    try:
        return unit(dotted(context, name, tuple(name.split("."))))
    except Exception:  # noqa: BLE001 - whatever was passed as a context
        return None
