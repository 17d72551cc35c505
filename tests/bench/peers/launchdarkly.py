"""launchdarkly-server-sdk over a feature store that is filled beforehand (its daemon mode)."""

import json
from functools import partial
from typing import Any

import ldclient
from ldclient.config import Config
from ldclient.feature_store import InMemoryFeatureStore
from ldclient.versioned_data_kind import FEATURES, SEGMENTS

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag

_TEXTS = ["a", "b", "c", "d", "out"]


class Peer:
    distribution = "launchdarkly-server-sdk"
    module = "ldclient"

    def document(self, flags: list[Flag]) -> bytes:
        members = {"key": "members", "version": 1, "included": list(COHORT), "excluded": [], "rules": [], "salt": "s"}
        return json.dumps(
            {"flags": {flag.key: _spec(flag) for flag in flags}, "segments": {"members": members}}
        ).encode()

    def load(self, document: bytes) -> None:
        found = json.loads(document)
        store = InMemoryFeatureStore()
        store.init({FEATURES: found["flags"], SEGMENTS: found["segments"]})
        self.client = ldclient.LDClient(Config("sdk-key", feature_store=store, use_ldd=True, send_events=False))

    def subject(self, context: Context) -> ldclient.Context:
        builder = ldclient.Context.builder(context["unit"])
        return builder.set("plan", context["plan"]).set("country", context["country"]).build()

    def ask(self, flag: Flag, subject: ldclient.Context) -> Ask:
        return partial(self.client.variation, flag.key, subject, None)

    def value(self, answer: object) -> object:
        return answer


def _spec(flag: Flag) -> dict[str, Any]:
    def clause(attribute: str, op: str, values: tuple[str, ...]) -> dict[str, Any]:
        return {"attribute": attribute, "op": op, "values": list(values), "negate": False}

    def rule(name: str, clauses: list[dict[str, Any]], **serve: Any) -> dict[str, Any]:
        return {"id": name, "clauses": clauses, "trackEvents": False} | serve

    first = FIRST_SHARE * 1_000
    rollout = {"variations": [{"variation": 0, "weight": first}, {"variation": 1, "weight": 100_000 - first}]}
    common = {
        "key": flag.key,
        "version": 1,
        "on": True,
        "offVariation": 0,
        "salt": "s",
        "targets": [],
        "prerequisites": [],
    }
    if flag.shape == "plain":
        return common | {"variations": [True, False], "rules": [], "fallthrough": {"variation": 0}}
    common |= {"variations": _TEXTS}
    if flag.shape == "targeted":
        rules = [
            rule(text, [clause("plan", "in", plans), clause("country", "in", countries)], variation=_TEXTS.index(text))
            for plans, countries, text in RULES
        ]
        return common | {"rules": rules, "fallthrough": {"variation": 0}}
    if flag.shape == "split":
        free = rule("free", [clause("plan", "in", ("free",))], variation=0)
        return common | {"rules": [free], "fallthrough": {"rollout": rollout}}
    inside = rule("in", [clause("", "segmentMatch", ("members",))], rollout=rollout)
    return common | {"rules": [inside], "fallthrough": {"variation": 4}}
