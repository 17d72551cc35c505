"""flagsmith in offline mode. It evaluates the whole environment for an identity; there is no way to ask for one flag."""

import json
from functools import partial
from typing import Any

from flagsmith import Flagsmith

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class _Handler:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def get_environment(self) -> dict[str, Any]:
        return self._document


class Peer:
    distribution = "flagsmith"
    module = "flagsmith"

    def document(self, flags: list[Flag]) -> bytes:
        found: dict[str, Any] = {"api_key": "k", "name": "bench", "identity_overrides": [], "feature_states": []}
        found["project"] = {"id": 1, "name": "bench", "segments": []}
        for number, flag in enumerate(flags, 1):
            _add(found, number, flag)
        return json.dumps(found).encode()

    def load(self, document: bytes) -> None:
        self.client = Flagsmith(offline_mode=True, offline_handler=_Handler(json.loads(document)))

    def subject(self, context: Context) -> dict[str, str]:
        return dict(context)

    def ask(self, flag: Flag, subject: dict[str, str]) -> Ask:
        return partial(self._ask, flag, subject["unit"], subject)

    def _ask(self, flag: Flag, unit: str, traits: dict[str, str]) -> object:
        flags = self.client.get_identity_flags(unit, traits)
        return flags.is_feature_enabled(flag.key) if flag.shape == "plain" else flags.get_feature_value(flag.key)

    def value(self, answer: object) -> object:
        return answer


def _add(document: dict[str, Any], number: int, flag: Flag) -> None:
    def state(value: str | None, *, split: bool = False, priority: int | None = None) -> dict[str, Any]:
        shares = {"a": FIRST_SHARE, "b": 100 - FIRST_SHARE} if split else {}
        return {
            "enabled": True,
            "feature": {"id": number, "name": flag.key, "type": "STANDARD"},
            "feature_state_value": value,
            "featurestate_uuid": f"00000000-0000-4000-8000-{number:012}",
            "feature_segment": None if priority is None else {"priority": priority},
            "multivariate_feature_state_values": [
                {
                    "id": number * 10 + n,
                    "multivariate_feature_option": {"value": name},
                    "percentage_allocation": share,
                    "mv_fs_value_uuid": f"00000000-0000-4000-9000-{number * 10 + n:012}",
                }
                for n, (name, share) in enumerate(shares.items())
            ],
        }

    def segment(conditions: dict[str, tuple[str, ...]], override: dict[str, Any]) -> None:
        tests = [
            {"operator": "IN", "property_": name, "value": ",".join(values)} for name, values in conditions.items()
        ]
        rule = {"type": "ALL", "conditions": [], "rules": [{"type": "ALL", "conditions": tests, "rules": []}]}
        segments = document["project"]["segments"]
        segments.append(
            {"id": len(segments) + 1, "name": f"s{len(segments)}", "rules": [rule], "feature_states": [override]}
        )

    if flag.shape == "targeted":
        for order, (plans, countries, text) in enumerate(RULES):
            segment({"plan": plans, "country": countries}, state(text, priority=order))
    elif flag.shape == "split":
        segment({"plan": ("free",)}, state("a", priority=0))
    elif flag.shape == "cohort":
        segment({"unit": COHORT}, state("b", split=True, priority=0))
    default = {"plain": None, "targeted": "a", "split": "b", "cohort": "out"}[flag.shape]
    document["feature_states"].append(state(default, split=flag.shape == "split"))
