"""The fake that users test with: it answers as the real client would, and remembers what it was asked."""

import pytest

from brownout import Brownout, Change, Policy, State, context
from brownout.evaluation.policy import PolicyTarget
from brownout.model.parse import InvalidResource
from brownout.model.values import ModelRoute, Target
from brownout.testing import FakeBrownout


def service(client: Brownout) -> str:
    """Something a user would test; it knows only the real client's type."""
    if client.boolean("web-search", {"targeting_key": "u-1"}):
        return client.string("engine", default="none")
    return "off"


def test_a_policy_has_a_default_where_nothing_is_known() -> None:
    client, mine = FakeBrownout(), Policy("reply", stop=True)
    assert client.policy("reply", {}, default=mine) is mine
    assert client.policy("reply").error_code is not None
    client.set_flag("model", ModelRoute({"big": Target("openai", "big")}, "big"))
    client.put("request_class", "reply", {"criticality": "critical", "model": "model"})
    assert client.policy("reply", {}, default=mine).model is not None


def test_flags_serve_what_the_test_says(fake_brownout: FakeBrownout) -> None:
    assert service(fake_brownout) == "off"
    fake_brownout.set_flag("web-search", True)
    fake_brownout.set_flag("engine", "fast")
    assert service(fake_brownout) == "fast"
    assert [asked.answer.value for asked in fake_brownout.asked("engine")] == ["fast"]
    assert fake_brownout.questions[0].context == {"targeting_key": "u-1"}


@pytest.mark.parametrize(("value", "getter"), [(3, "integer"), (0.5, "float"), ({"a": [1]}, "object"), ("x", "string")])
def test_a_flag_has_its_values_type(value: object, getter: str) -> None:
    client = FakeBrownout({"key": value})
    assert getattr(client, getter)("key") == value
    assert client.boolean("key", default=True) is True
    assert client.asked("key")[-1].answer.error_code == "TYPE_MISMATCH"


def test_a_real_flag_with_rules_goes_through_the_real_evaluator() -> None:
    client = FakeBrownout()
    rule = {"id": "pro", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "on"}
    spec = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "off"}
    client.put("flag", "beta", spec | {"rules": [rule]})
    assert client.decide("beta", {"plan": "pro"}, False).rule == "pro"
    with context.scope({"plan": "pro"}):
        assert client.boolean("beta")
    client.delete("flag", "beta")
    assert client.decide("beta", default=False).error_code == "FLAG_NOT_FOUND"
    with pytest.raises(InvalidResource):
        client.put("flag", "broken", spec | {"default": "nowhere"})


def test_what_is_held_can_be_listed() -> None:
    client = FakeBrownout({"b": 1, "a": True})
    revision = client.held.revision
    assert (client.held.flags, client.held.request_classes, client.held.safe_mode) == (("a", "b"), (), ())
    client.delete("flag", "b")
    target = {"provider": "acme", "model": "acme-1", "max_context_tokens": 8_000}
    route = {"main": {"targets": {"small": target}, "primary": "small"}}
    client.put("flag", "model", {"type": "model_route", "variants": route, "off_variant": "main", "default": "main"})
    client.put("request_class", "support-reply", {"criticality": "critical", "model": "model"})
    assert (client.held.flags, client.held.request_classes) == (("a", "model"), ("support-reply",))
    assert client.held.revision == revision + 3


def test_policies_are_set_whole_and_remembered() -> None:
    policy = Policy("support-reply", model=PolicyTarget("small", "acme", "acme-1"), stop=False)
    client = FakeBrownout(policies={"support-reply": policy})
    assert client.policy("support-reply", {"targeting_key": "u"}) is policy
    assert client.policy("unknown").error_code == "FLAG_NOT_FOUND"
    assert [asked.key for asked in client.questions] == ["support-reply", "unknown"]


def test_it_can_be_down_and_tells_of_changes() -> None:
    with FakeBrownout() as client:
        changes: list[Change] = []
        end = client.on_change(changes.append)
        client.set_flag("a", True)
        end()
        client.set_flag("b", True)
        assert [next(iter(change.resources)).key for change in changes] == ["a"]
        assert client.wait_ready()
        client.state = State.STALE
        assert (client.wait_ready(), client.wait_configured(), client.status.configured) == (False, True, True)
        client.state = State.NOT_READY
        assert (client.wait_ready(), client.wait_configured(), client.status.configured) == (False, False, False)
        assert client.status.state is State.NOT_READY
