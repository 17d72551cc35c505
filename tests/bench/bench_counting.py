"""What counting costs an evaluation: the client as it is, beside one that does not count."""

import time

from brownout.context import ambient, merged
from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import MISSING
from brownout.evaluation.evaluate import Evaluator
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.telemetry.recording import Recording
from tests.bench.report import Ratio, Report

FLAG = {
    "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off",
    "rules": [
        {"id": "paying", "if": [{"op": "in", "attribute": "plan", "values": ["pro", "enterprise"]}], "serve": "on"},
    ],
    "default": {"split": [{"variant": "on", "weight_bp": 5_000}, {"variant": "off", "weight_bp": 5_000}]},
}  # fmt: skip
CONTEXT = {"targeting_key": "u-1", "plan": "free", "country": "de"}
EACH, ROUNDS = 2_000, 800


class Counting(Recording):
    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._start_counting()

    def _who(self) -> tuple[str, str]:
        return "i-1", "bench"


class Uncounted(Evaluator):
    """`boolean` of the client, without its one line that counts."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled

    def boolean(self, key: str, context: object = None, default: bool = False) -> bool:
        try:
            if around := ambient():
                context = merged(around, context)
            outcome = self._compiled.boolean[key](context)  # type: ignore[arg-type]
        except Exception:
            outcome = self._compiled.failed
        value = outcome.value
        return self._defaulted(key, outcome, default) if value is MISSING else value  # type: ignore[return-value]


def run() -> Report:
    compiled = Compiled.load("production", 1, {ResourceRef("flag", "f"): encode(parse("flag", "f", FLAG))})
    counting, plain = Counting(compiled), Uncounted(compiled)
    on, off = [], []
    for _ in range(ROUNDS):  # short turns, so that both meet the same machine; the least of each is compared
        off.append(_time(plain))
        on.append(_time(counting))
    assert counting._collect(True)
    on_ns, off_ns = min(on) / EACH * 1e9, min(off) / EACH * 1e9
    return Report(
        "one boolean evaluation with and without telemetry",
        {"telemetry on": f"{on_ns:.0f} ns", "telemetry off": f"{off_ns:.0f} ns"},
        (Ratio("on / off", on_ns / off_ns, 1.1),),
    )


def _time(client: Evaluator) -> float:
    began = time.thread_time()
    for _ in range(EACH):
        client.boolean("f", CONTEXT, False)
    return time.thread_time() - began
