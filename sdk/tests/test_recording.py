"""What a service says of its requests, through the client, until it is in a message."""

import math
from typing import Any

import pytest

from brownout import context
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
    def __init__(self, resources: dict[tuple[str, str], dict[str, Any]] = RESOURCES) -> None:
        self._compiled = self._holding(compiled(resources))
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


PROMPT: dict[tuple[str, str], dict[str, Any]] = {
    **RESOURCES,
    ("flag", "new-prompt"): {
        "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "off",
        "rules": [{"id": rollout_rule("prompt", 1, 0), "serve": {"split": [{"variant": "on", "weight_bp": 10_000}]}}],
    },
    ("rollout", "prompt"): {
        "flag": "new-prompt", "control": "off", "treatment": "on", "stages": [{"weight_bp": 10_000}],
        "guardrails": [{"measure": "event:thumbs-down"}, {"measure": "value:stars"}, {"measure": "refusal"}],
        "gates": [{"measure": "amount:seconds"}],
        "progress": {"state": "running", "run": 1, "stage": 0},
    },
}  # fmt: skip
PROMPT_ARM = ArmKey(rollout_rule("prompt", 1, 0), "on")


def test_whoever_is_exposed_to_any_flags_rollout_is_a_unit_of_it() -> None:
    client = Client(PROMPT)
    for _ in range(3):
        assert client.boolean("new-prompt", {"targeting_key": "u-1"}) is True
    with context.scope({"targeting_key": "u-2"}):
        assert client.decide("new-prompt", default=False).value is True
    client.boolean("new-prompt", {})
    assert client.sent().arms[PROMPT_ARM].totals.units == 2


def test_an_event_counts_for_the_rollouts_that_compare_it_and_decide_for_its_unit() -> None:
    client = Client(PROMPT)
    client.track("thumbs-down", context={"targeting_key": "u-1"})
    client.track("thumbs-down", context={"targeting_key": "u-1"})
    client.track("stars", 4, context={"targeting_key": "u-2"})
    with context.scope({"targeting_key": "u-2"}):
        client.track("seconds", 12.0)
        client.track("page-view")
    client.track("thumbs-down", context={})
    client.track("thumbs-down")

    message = client.sent()
    totals = message.arms[PROMPT_ARM].totals
    assert (totals.units, totals.bad) == (2, {"event:thumbs-down": 1})
    assert totals.mean_total["value:stars"] == 4.0
    assert totals.mean_total["amount:seconds"] == pytest.approx(math.log(12.0))
    assert not message.evaluations, "asking what a unit gets is no evaluation"
    assert {key.name: n.n for key, n in message.custom.items()} == {
        "thumbs-down": 4, "stars": 1, "seconds": 1, "page-view": 1,
    }  # fmt: skip


def test_requests_count_for_the_rollout_of_a_flag_beside_once_their_unit_was_exposed() -> None:
    client = Client(PROMPT)
    before = client.policy("support-reply", {"targeting_key": "u-1"})
    client.record(before, refused=True)
    client.boolean("new-prompt", {"targeting_key": "u-1"})
    client.record(before, refused=False)
    client.record(client.policy("support-reply", {"targeting_key": "u-2"}), refused=True)

    totals = client.sent().arms[PROMPT_ARM].totals
    assert (totals.units, totals.at_risk["refusal"], totals.bad) == (1, 1, {})


@pytest.mark.parametrize("state", ["draft", "paused", "finished"])
def test_a_rollout_that_does_not_run_compares_nothing(state: str) -> None:
    rollout = PROMPT["rollout", "prompt"]
    client = Client({**PROMPT, ("rollout", "prompt"): {**rollout, "progress": {**rollout["progress"], "state": state}}})
    client.boolean("new-prompt", {"targeting_key": "u-1"})
    client.track("thumbs-down", context={"targeting_key": "u-1"})
    assert not client.sent().arms


def test_tracking_never_raises() -> None:
    client = Client(PROMPT)
    for hostile in (None, 7, [], {"targeting_key": object()}, {"targeting_key": "\ud800"}):
        client.track("thumbs-down", context=hostile)  # type: ignore[arg-type]
        client.boolean("new-prompt", hostile)  # type: ignore[arg-type]
    client.track([], "x", context={"targeting_key": "u"})  # type: ignore[arg-type]


def test_cost_and_tokens_are_measures() -> None:
    client = Client()
    policy = client.policy("support-reply", {"plan": "beta", "account": "a-1"})
    client.record(policy, input_tokens=1_000, output_tokens=200, cost=0.02)
    totals = client.sent().arms[ArmKey(RULE, "big")].totals
    assert totals.mean_total["tokens"] == pytest.approx(math.log(1_200))
    assert totals.mean_total["cost"] == pytest.approx(math.log(0.02))


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
