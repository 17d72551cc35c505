"""`python -m tests.bench.peers.extras`: what only Brownout is asked: decide beside value, policies, commits, threads."""

import json
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from brownout.client import Brownout
from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from tests.bench.peers.brownout_sdk import Peer, spec
from tests.bench.peers.measure import CALLS, per_call
from tests.bench.peers.workloads import SMALL, WORKLOADS, Flag

CONTEXT = {"targeting_key": "u-7", "plan": "pro", "country": "us"}
ACTIVATION = {
    "profile": "calm",
    "reason": "bench",
    "actor": "bench",
    "activated_at": "2026-01-01T00:00:00Z",
    "expires_at": "2030-01-01T00:00:00Z",
}


def governed(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """An LLM flag with two targeted rules and a default."""
    rules = [
        {"id": f"r{n}", "if": [{"attribute": "plan", "op": "in", "values": [plan]}], "serve": "v"}
        for n, plan in enumerate(("free", "trial"))
    ]
    return {"type": kind, "variants": {"v": value}, "off_variant": "v", "default": "v", "rules": rules}


def environment(*, safe_mode: bool) -> Compiled:
    targets = {"main": {"provider": "one", "model": "big"}, "spare": {"provider": "two", "model": "mid"}}
    specs: dict[tuple[str, str], dict[str, Any]] = {
        ("flag", "model"): governed("model_route", {"targets": targets, "primary": "main"}),
        ("flag", "ladder"): governed("fallback_ladder", {"rungs": [{"type": "model", "target": "spare"}]}),
        ("flag", "budget"): governed("token_budget", {"per_request": {"max_output_tokens": 900}}),
        ("flag", "tools"): governed("tool_policy", {"exclude": ["shell"]}),
        ("flag", "retry"): governed("retry_policy", {"max_attempts": 3}),
        ("flag", "alone"): spec(Flag("alone", "targeted")),
        ("cohort", "staff"): {"include": ["u-7"]},
        ("request_class", "reply"): {"criticality": "critical"}
        | {name: name for name in ("model", "ladder", "budget", "tools", "retry")},
        ("safe_mode_profile", "calm"): {"exclude_targets": ["main"], "max_attempts": 1},
    }
    if safe_mode:
        specs["safe_mode_activation", "all"] = ACTIVATION
        specs["safe_mode_activation", "staff"] = ACTIVATION | {"scope": {"cohorts": ["staff"]}}
    return Compiled.load("bench", 1, {ResourceRef(*ref): encode(parse(*ref, found)) for ref, found in specs.items()})


def decide_beside_value() -> dict[str, float]:
    peer = Peer()
    peer.load(peer.document(SMALL))
    found = {}
    for name, (flag, context) in WORKLOADS.items():
        subject = peer.subject(context)
        default: object = False if flag.shape == "plain" else ""
        value = per_call([peer.ask(flag, subject)] * CALLS)
        found[name] = per_call([partial(peer.client.decide, flag.key, subject, default)] * CALLS) / value
    return found


def policy_beside_decide(*, safe_mode: bool) -> float:
    client = Brownout(environment(safe_mode=safe_mode))
    found = client.policy("reply", CONTEXT)
    assert found.model is not None
    assert found.model.name == ("spare" if safe_mode else "main")
    decide = per_call([partial(client.decide, "alone", CONTEXT, "")] * CALLS)
    return per_call([partial(client.policy, "reply", CONTEXT)] * CALLS) / decide


def apply_us(flags: int) -> tuple[float, float]:
    """Microseconds to apply a commit that changes one flag, and to apply it and decide that flag again."""
    raw = {
        ResourceRef("flag", f"flag-{n}"): encode(parse("flag", "f", spec(Flag("f", "targeted")))) for n in range(flags)
    }
    compiled = Compiled.load("bench", 1, raw)
    client = Brownout(compiled)
    for ref in raw:
        client.string(ref.key, CONTEXT)
    change = [Operation("put", "flag", "flag-0", msgspec.Raw(raw[ResourceRef("flag", "flag-0")]))]
    applied = decided = float("inf")
    for revision in range(2, 2_000):
        started = perf_counter()
        compiled.apply(change, revision)
        applied = min(applied, perf_counter() - started)
        client.string("flag-0", CONTEXT)
        decided = min(decided, perf_counter() - started)
    return applied * 1e6, decided * 1e6


def threads_beside_one() -> float:
    """The evaluations of four threads together, as a share of one thread's in the same time."""
    client = Brownout(environment(safe_mode=False))
    calls = 40_000

    def work() -> None:
        ask = partial(client.string, "alone", CONTEXT, "")
        for _ in range(calls):
            ask()

    def rate(threads: int) -> float:
        running: list[Callable[[], None]] = [work] * threads
        made = [threading.Thread(target=target) for target in running]
        started = perf_counter()
        for thread in made:
            thread.start()
        for thread in made:
            thread.join()
        return threads * calls / (perf_counter() - started)

    rates = [(rate(4), rate(1)) for _ in range(10)]
    return max(four for four, _ in rates) / max(one for _, one in rates)


def main() -> None:
    logging.disable()
    found = {
        "decide": decide_beside_value(),
        "policy": policy_beside_decide(safe_mode=False),
        "policy_safe_mode": policy_beside_decide(safe_mode=True),
        "apply_us": {str(flags): apply_us(flags) for flags in (50, 5_000)},
        "threads": threads_beside_one(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
