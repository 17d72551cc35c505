"""Brownout itself: the public client over a compiled environment, counters on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from brownout.client import Brownout
from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class Peer:
    distribution = "brownout"
    module = "brownout"

    def __init__(self) -> None:
        self.client = Brownout(Compiled.load("bench", 1, {}))

    def document(self, flags: list[Flag]) -> bytes:
        resources = [["cohort", "members", {"include": list(COHORT)}]] + [["flag", f.key, spec(f)] for f in flags]
        stored = [[kind, key, msgspec.Raw(encode(parse(kind, key, spec)))] for kind, key, spec in resources]
        return msgspec.json.encode(stored)

    def load(self, document: bytes) -> None:
        resources = msgspec.json.decode(document, type=list[tuple[str, str, msgspec.Raw]])
        compiled = Compiled.load("bench", 1, {ResourceRef(kind, key): bytes(raw) for kind, key, raw in resources})
        self.client = Brownout(compiled)

    def subject(self, context: Context) -> Mapping[str, object]:
        return {"targeting_key": context["unit"], "plan": context["plan"], "country": context["country"]}

    def ask(self, flag: Flag, subject: Mapping[str, object]) -> Ask:
        if flag.shape == "plain":
            return partial(self.client.boolean, flag.key, subject, False)
        return partial(self.client.string, flag.key, subject, "")

    def value(self, answer: object) -> object:
        return answer


def clause(attribute: str, values: tuple[str, ...]) -> dict[str, Any]:
    return {"attribute": attribute, "op": "in", "values": list(values)}


def spec(flag: Flag) -> dict[str, Any]:
    split = {
        "split": [
            {"variant": "a", "weight_bp": FIRST_SHARE * 100},
            {"variant": "b", "weight_bp": 10_000 - FIRST_SHARE * 100},
        ]
    }
    if flag.shape == "plain":
        return {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"}
    text = {"type": "string", "variants": {name: name for name in ("a", "b", "c", "d", "out")}, "off_variant": "a"}
    if flag.shape == "targeted":
        rules = [
            {"id": served, "if": [clause("plan", plans), clause("country", countries)], "serve": served}
            for plans, countries, served in RULES
        ]
        return text | {"rules": rules, "default": "a"}
    if flag.shape == "split":
        return text | {"rules": [{"id": "free", "if": [clause("plan", ("free",))], "serve": "a"}], "default": split}
    return text | {
        "rules": [{"id": "in", "if": [{"op": "in_cohort", "values": ["members"]}], "serve": split}],
        "default": "out",
    }
