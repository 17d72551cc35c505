"""growthbook with its features handed in. The attributes are set beforehand, which a service does per request."""

import json
from functools import partial
from typing import Any

from growthbook import GrowthBook

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class Peer:
    distribution = "growthbook"
    module = "growthbook"

    def __init__(self) -> None:
        self.book = GrowthBook()
        self.asked: tuple[str, ...] = ()

    def document(self, flags: list[Flag]) -> bytes:
        return json.dumps(
            {"features": {flag.key: _spec(flag) for flag in flags}, "groups": {"members": COHORT}}
        ).encode()

    def load(self, document: bytes) -> None:
        found = json.loads(document)
        self.book = GrowthBook(features=found["features"], saved_groups=found["groups"])

    def subject(self, context: Context) -> dict[str, str]:
        return {"id": context["unit"], "plan": context["plan"], "country": context["country"]}

    def ask(self, flag: Flag, subject: dict[str, str]) -> Ask:
        self.book.set_attributes(subject)
        return partial(self.book.get_feature_value, flag.key, None)

    def value(self, answer: object) -> object:
        return answer


def _spec(flag: Flag) -> dict[str, Any]:
    weights = [FIRST_SHARE / 100, 1 - FIRST_SHARE / 100]
    split = {"key": flag.key, "variations": ["a", "b"], "weights": weights, "hashAttribute": "id", "hashVersion": 2}
    if flag.shape == "plain":
        return {"defaultValue": True}
    if flag.shape == "targeted":
        rules = [
            {"condition": {"plan": {"$in": list(plans)}, "country": {"$in": list(countries)}}, "force": text}
            for plans, countries, text in RULES
        ]
        return {"defaultValue": "a", "rules": rules}
    if flag.shape == "split":
        return {"defaultValue": "a", "rules": [{"condition": {"plan": {"$in": ["free"]}}, "force": "a"}, split]}
    return {"defaultValue": "out", "rules": [split | {"condition": {"id": {"$inGroup": "members"}}}]}
