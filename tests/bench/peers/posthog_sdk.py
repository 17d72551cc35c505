"""posthog, evaluating locally, with its definitions handed in and its events off."""

import json
from functools import partial
from typing import Any

from posthog import Posthog

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class Peer:
    distribution = "posthog"
    module = "posthog"

    def __init__(self) -> None:
        self.client = Posthog("phc_bench", host="http://127.0.0.1:9", send=False, enable_local_evaluation=False)

    def document(self, flags: list[Flag]) -> bytes:
        return json.dumps([_spec(number, flag) for number, flag in enumerate(flags, 1)]).encode()

    def load(self, document: bytes) -> None:
        self.client.feature_flags = json.loads(document)
        self.client.group_type_mapping = {}
        self.client.cohorts = {}

    def subject(self, context: Context) -> dict[str, str]:
        return dict(context)

    def ask(self, flag: Flag, subject: dict[str, str]) -> Ask:
        return partial(
            self.client.get_feature_flag,
            flag.key,
            subject["unit"],
            person_properties=subject,
            only_evaluate_locally=True,
            send_feature_flag_events=False,
        )

    def value(self, answer: object) -> object:
        return answer


def _spec(number: int, flag: Flag) -> dict[str, Any]:
    def group(conditions: dict[str, tuple[str, ...]], variant: str | None = None) -> dict[str, Any]:
        properties = [
            {"key": name, "value": list(values), "operator": "exact", "type": "person"}
            for name, values in conditions.items()
        ]
        return {"properties": properties, "rollout_percentage": 100, "variant": variant}

    def variants(**shares: int) -> dict[str, Any]:
        return {"variants": [{"key": name, "rollout_percentage": share} for name, share in shares.items()]}

    filters: dict[str, Any] = {"multivariate": variants(a=FIRST_SHARE, b=100 - FIRST_SHARE, c=0, d=0, out=0)}
    if flag.shape == "plain":
        filters = {"groups": [group({})]}
    elif flag.shape == "targeted":
        groups = [group({"plan": plans, "country": countries}, text) for plans, countries, text in RULES]
        filters["groups"] = [*groups, group({}, "a")]
    elif flag.shape == "split":
        filters["groups"] = [group({"plan": ("free",)}, "a"), group({})]
    else:
        filters["groups"] = [group({"unit": COHORT}), group({}, "out")]
    return {"id": number, "key": flag.key, "name": flag.key, "active": True, "filters": filters}
