"""statsig-python-core (Rust) with its specs handed in by a data store; network, logging and exposures off."""

import json
from functools import partial
from typing import Any

from statsig_python_core import (
    DynamicConfigEvaluationOptions,
    FeatureGateEvaluationOptions,
    Statsig,
    StatsigOptions,
    StatsigUser,
)
from statsig_python_core.data_store import DataStore, DataStoreResponse

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class _Memory(DataStore):
    def __init__(self, document: bytes) -> None:
        super().__init__()
        self._document = document.decode()

    def get(self, key: str) -> DataStoreResponse:  # noqa: ARG002 - its interface
        return DataStoreResponse(result=self._document, time=1)


class Peer:
    distribution = "statsig-python-core"
    module = "statsig_python_core"

    def __init__(self) -> None:
        self.client: Statsig | None = None

    def document(self, flags: list[Flag]) -> bytes:
        found: dict[str, Any] = {
            "dynamic_configs": {},
            "feature_gates": {},
            "layer_configs": {},
            "condition_map": {},
            "experiment_to_layer": {},
            "has_updates": True,
            "time": 1,
            "response_format": "dcs-v2",
        }
        for flag in flags:
            where = "feature_gates" if flag.shape == "plain" else "dynamic_configs"
            found[where][flag.key] = _spec(flag, found["condition_map"])
        return json.dumps(found).encode()

    def load(self, document: bytes) -> None:
        if self.client is not None:
            self.client.shutdown().wait()
        options = StatsigOptions(
            data_store=_Memory(document),
            disable_network=True,
            disable_all_logging=True,
            disable_country_lookup=True,
        )
        self.client = Statsig("secret-bench", options)
        self.client.initialize().wait()

    def subject(self, context: Context) -> StatsigUser:
        return StatsigUser(context["unit"], country=context["country"], custom={"plan": context["plan"]})

    def ask(self, flag: Flag, subject: StatsigUser) -> Ask:
        assert self.client is not None
        if flag.shape == "plain":
            quiet = FeatureGateEvaluationOptions(disable_exposure_logging=True)
            return partial(self.client.check_gate, subject, flag.key, quiet)
        silent = DynamicConfigEvaluationOptions(disable_exposure_logging=True)
        return partial(self.client.get_dynamic_config, subject, flag.key, silent)

    def value(self, answer: Any) -> object:
        return answer if isinstance(answer, bool) else answer.value.get("value")


def _spec(flag: Flag, conditions: dict[str, Any]) -> dict[str, Any]:
    def one_of(attribute: str, values: tuple[str, ...]) -> str:
        name = f"{attribute}:{','.join(values)}"
        conditions[name] = {
            "type": "user_field",
            "targetValue": list(values),
            "operator": "any_case_sensitive",
            "field": attribute,
            "additionalValues": {},
            "idType": "userID",
        }
        return name

    def rule(name: str, needs: list[str], serves: object, share: int = 100) -> dict[str, Any]:
        return {
            "name": name,
            "id": name,
            "groupName": name,
            "salt": name,
            "passPercentage": share,
            "conditions": needs,
            "returnValue": serves,
            "idType": "userID",
        }

    conditions.setdefault(
        "public",
        {
            "type": "public",
            "targetValue": None,
            "operator": None,
            "field": None,
            "additionalValues": {},
            "idType": "userID",
        },
    )
    common = {
        "salt": flag.key,
        "enabled": True,
        "idType": "userID",
        "entity": "dynamic_config",
        "type": "dynamic_config",
    }
    if flag.shape == "plain":
        gate = {"type": "feature_gate", "entity": "feature_gate", "defaultValue": False}
        return common | gate | {"rules": [rule("everyone", ["public"], True)]}
    rules = []
    if flag.shape == "targeted":
        for plans, countries, text in RULES:
            rules.append(rule(text, [one_of("plan", plans), one_of("country", countries)], {"value": text}))
    elif flag.shape == "split":
        rules = [
            rule("free", [one_of("plan", ("free",))], {"value": "a"}),
            rule("share", ["public"], {"value": "a"}, FIRST_SHARE),
        ]
    else:
        inside, bucket = one_of("userID", COHORT), "bucket"
        conditions[bucket] = {
            "type": "user_bucket",
            "targetValue": FIRST_SHARE * 10,
            "operator": "lt",
            "field": None,
            "additionalValues": {"salt": "s"},
            "idType": "userID",
        }
        rules = [rule("first", [inside, bucket], {"value": "a"}), rule("inside", [inside], {"value": "b"})]
    default = {"targeted": "a", "split": "b", "cohort": "out"}[flag.shape]
    return common | {"defaultValue": {"value": default}, "rules": rules}
