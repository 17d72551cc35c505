"""UnleashClient, bootstrapped from a cache that a test fills, its fetching, metrics and registration off."""

import json
from functools import partial
from typing import Any

from UnleashClient import UnleashClient
from UnleashClient.cache import BaseCache
from UnleashClient.constants import FEATURES_URL

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class _Memory(BaseCache):
    bootstrapped = True

    def __init__(self, document: bytes) -> None:
        self._kept: dict[str, Any] = {FEATURES_URL: document.decode()}

    def set(self, key: str, value: Any) -> None:
        self._kept[key] = value

    def mset(self, data: dict[str, Any]) -> None:
        self._kept.update(data)

    def get(self, key: str, default: Any = None) -> Any:
        return self._kept.get(key, default)

    def exists(self, key: str) -> bool:
        return key in self._kept

    def destroy(self) -> None:
        self._kept.clear()


class Peer:
    distribution = "UnleashClient"
    module = "UnleashClient"

    def __init__(self) -> None:
        self.client: UnleashClient | None = None

    def document(self, flags: list[Flag]) -> bytes:
        members = {"id": 1, "name": "members", "constraints": [_one_of("userId", COHORT)]}
        return json.dumps({"version": 2, "features": [_spec(flag) for flag in flags], "segments": [members]}).encode()

    def load(self, document: bytes) -> None:
        if self.client is not None:
            self.client.destroy()
        self.client = UnleashClient(
            "http://127.0.0.1:9", "bench", cache=_Memory(document), disable_metrics=True, disable_registration=True
        )
        self.client.initialize_client(fetch_toggles=False)

    def subject(self, context: Context) -> dict[str, Any]:
        return {"userId": context["unit"], "properties": {"plan": context["plan"], "country": context["country"]}}

    def ask(self, flag: Flag, subject: dict[str, Any]) -> Ask:
        assert self.client is not None
        return partial(self.client.is_enabled if flag.shape == "plain" else self.client.get_variant, flag.key, subject)

    def value(self, answer: object) -> object:
        return answer["name"] if isinstance(answer, dict) else answer


def _one_of(attribute: str, values: tuple[str, ...]) -> dict[str, Any]:
    return {"contextName": attribute, "operator": "IN", "values": list(values)}


def _spec(flag: Flag) -> dict[str, Any]:
    def strategy(constraints: list[dict[str, Any]], shares: dict[str, int], **more: Any) -> dict[str, Any]:
        variants = [
            {"name": name, "weight": weight, "stickiness": "userId", "payload": {"type": "string", "value": name}}
            for name, weight in shares.items()
        ]
        everyone = {"rollout": "100", "stickiness": "userId", "groupId": flag.key}
        return {
            "name": "flexibleRollout",
            "parameters": everyone,
            "constraints": constraints,
            "variants": variants,
        } | more

    split = {"a": FIRST_SHARE * 10, "b": 1_000 - FIRST_SHARE * 10}
    if flag.shape == "plain":
        strategies: list[dict[str, Any]] = [{"name": "default", "parameters": {}, "constraints": []}]
    elif flag.shape == "targeted":
        strategies = [
            strategy([_one_of("plan", plans), _one_of("country", countries)], {text: 1_000})
            for plans, countries, text in RULES
        ] + [strategy([], {"a": 1_000})]
    elif flag.shape == "split":
        strategies = [strategy([_one_of("plan", ("free",))], {"a": 1_000}), strategy([], split)]
    else:
        strategies = [strategy([], split, segments=[1]), strategy([], {"out": 1_000})]
    return {"name": flag.key, "type": "release", "enabled": True, "strategies": strategies, "variants": []}
