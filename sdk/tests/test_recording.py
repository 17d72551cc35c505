"""What a service says of its requests, through the client, until it is in a message."""

import math
from typing import Any

import pytest

from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.telemetry.recording import Recording
from brownout.wire.telemetry import ArmKey, EvaluationKey, RequestKey, TelemetryMessage, decode, rollout_rule

RULE = rollout_rule("new-model", 1, 0)


def route(model: str) -> dict[str, Any]:
    return {"targets": {"main": {"provider": "acme", "model": model}}, "primary": "main"}


RESOURCES: dict[tuple[str, str], dict[str, Any]] = {
    ("flag", "support-model"): {
        "type": "model_route",
        "variants": {"small": route("haiku"), "big": route("sonnet")},
        "off_variant": "small",
        "default": "small",
        "rules": [
            {
                "id": RULE,
                "if": [{"op": "in", "attribute": "plan", "values": ["beta"]}],
                "serve": {"split": [{"variant": "big", "weight_bp": 10_000}], "by": "account", "seed": "x"},
            }
        ],
    },
    ("request_class", "support-reply"): {"criticality": "critical", "model": "support-model"},
    ("rollout", "new-model"): {
        "flag": "support-model", "control": "small", "treatment": "big", "unit": "account",
        "stages": [{"weight_bp": 10_000}],
    },
}  # fmt: skip


def compiled(resources: dict[tuple[str, str], dict[str, Any]]) -> Compiled:
    return Compiled.load(
        "production", 7, {ResourceRef(*ref): encode(parse(*ref, spec)) for ref, spec in resources.items()}
    )


class Client(Recording):
    def __init__(self) -> None:
        self._compiled = compiled(RESOURCES)
        self._start_counting()

    def _who(self) -> tuple[str, str]:
        return "i-1", "support"

    def sent(self) -> TelemetryMessage:
        data = self._collect(True)
        assert data is not None
        return decode(data)


def test_outcomes_are_counted_under_what_the_policy_said() -> None:
    client = Client()
    client.record(client.policy("support-reply"), input_tokens=10, duration_ms=5.0)
    client.record(client.policy("support-reply"), outcome="error")
    client.record(client.policy("unheard-of"), error_class="timeout", rung="cache")
    client.track("thumbs-up")

    message = client.sent()

    assert (message.instance, message.service) == ("i-1", "support")
    assert {key.request_class for key in message.requests} == {"support-reply", "unheard-of"}
    totals = message.requests[RequestKey("support-reply", "haiku", "small", "")]
    assert (totals.requests, totals.errors, totals.input_tokens) == (2, {"server_error": 1}, 10)
    assert message.evaluations[EvaluationKey("support-model", "small", "DEFAULT")] == 2
    assert sum(message.policies.values()) >= 2
    assert len(message.custom) == 1


def test_a_rollouts_requests_are_counted_by_its_own_unit() -> None:
    client = Client()
    for account in ("a-1", "a-1", "a-2"):
        policy = client.policy("support-reply", {"plan": "beta", "account": account, "targeting_key": "someone"})
        assert policy.exposures == ((RULE, "big"),)
        assert policy.unit == account
        client.record(policy)

    arm = client.sent().arms[ArmKey(RULE, "big")]

    assert (arm.totals.units, arm.totals.at_risk["error"]) == (2, 3)


def test_a_unit_is_counted_however_the_split_reads_it() -> None:
    client = Client()
    nested = {("rollout", "new-model"): {**RESOURCES["rollout", "new-model"], "unit": "account.id"}}
    nested["flag", "support-model"] = {
        **RESOURCES["flag", "support-model"],
        "rules": [{"id": RULE, "serve": {"split": [{"variant": "big", "weight_bp": 10_000}], "by": "account.id"}}],
    }
    client._compiled = compiled({**RESOURCES, **nested})
    for number in (41, 42, 42):
        client.record(client.policy("support-reply", {"account": {"id": number}}))

    arm = client.sent().arms[ArmKey(RULE, "big")]

    assert (arm.totals.units, arm.totals.at_risk["error"]) == (2, 3)


def test_without_the_unit_nothing_is_counted_for_the_rollout() -> None:
    client = Client()
    client.record(client.policy("support-reply", {"plan": "beta"}))

    message = client.sent()
    assert message.arms == {}
    assert sum(totals.requests for totals in message.requests.values()) == 1


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("as arrays do")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "said",
    [{"duration_ms": math.nan}, {"quality": "good"}, {"input_tokens": -5}, {"rung": 3}, {"outcome": Incomparable()}],
)
def test_whatever_is_recorded_nothing_is_raised(said: dict[str, Any]) -> None:
    client = Client()
    client.record(client.policy("support-reply"), **said)
    client.record(None, **said)  # type: ignore[arg-type]

    assert client.sent().sequence == 1


def test_a_forked_child_leaves_the_parents_counts_to_the_parent() -> None:
    client = Client()
    client.record(client.policy("support-reply"))
    client._reborn()
    client.record(client.policy("support-reply"))

    message = client.sent()
    assert sum(totals.requests for totals in message.requests.values()) == 1
    assert sum(message.evaluations.values()) == 1


def test_messages_are_sent_every_interval_however_often_asked() -> None:
    client = Client()
    client.record(client.policy("support-reply"))

    assert client._collect(False) is None
    assert client._collect(True) is not None
