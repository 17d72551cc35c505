"""The example service, with the real `openai` client against its own provider stub."""

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.telemetry.recording import Recording
from brownout.wire.telemetry import TelemetryMessage, decode

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

pytest.importorskip("openai")

from copilot.provider_stub import ProviderStub
from support_copilot import answer, copilot

ALICE = {"targeting_key": "u-1", "name": "Alice"}


def target(model: str) -> dict[str, Any]:
    return {"provider": "openai", "model": model, "params": {"max_output_tokens": 100}}


RESOURCES: dict[tuple[str, str], dict[str, Any]] = {
    ("flag", "model"): {
        "type": "model_route",
        "variants": {"v": {"targets": {"big": target("big-1"), "small": target("small-1")}, "primary": "big"}},
        "off_variant": "v", "default": "v",
    },
    ("flag", "ladder"): {
        "type": "fallback_ladder",
        "variants": {"v": {"rungs": [{"type": "cache", "max_age_s": 60}, {"type": "template", "template": "sorry"},
                                     {"type": "human_review", "queue": "tier-2"}],
                           "terminal": {"refusal": "human_review"}}},
        "off_variant": "v", "default": "v",
    },
    ("flag", "tools"): {
        "type": "tool_policy", "variants": {"v": {"include": ["orders.*"], "max_calls": 2}}, "off_variant": "v", "default": "v",
    },
    ("response_template", "sorry"): {"text": "Sorry {name}, later."},
    ("request_class", "support-reply"): {
        "criticality": "critical", "sensitive": True, "model": "model", "ladder": "ladder", "tools": "tools",
    },
    ("safe_mode_profile", "contain"): {
        "exclude_tools": ["*"], "exclude_targets": ["big"], "sensitive": "human_review",
        "banner": {"level": "warning", "text": "Answers may be short today."},
    },
}  # fmt: skip


class Client(Recording):
    def __init__(self, *, safe_mode: bool = False) -> None:
        now = datetime.now(UTC)
        resources = dict(RESOURCES)
        if safe_mode:
            resources["safe_mode_activation", "a"] = {
                "profile": "contain", "reason": "a test", "actor": "me", "activated_at": now.isoformat(),
                "expires_at": (now + timedelta(hours=1)).isoformat(),
            }  # fmt: skip
        self._compiled = Compiled.load(
            "production", 3, {ResourceRef(*ref): encode(parse(*ref, spec)) for ref, spec in resources.items()}
        )
        self._compiled.set_now(now)
        self._start_counting()

    def _who(self) -> tuple[str, str]:
        return "i-1", "support-copilot"

    def sent(self) -> TelemetryMessage:
        data = self._collect(True)
        assert data is not None
        return decode(data)


@pytest.fixture(scope="module")
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as running:
        yield running


@pytest.fixture(autouse=True)
def well(stub: ProviderStub) -> None:
    stub.fault = None


def test_the_model_answers_and_uses_a_tool(stub: ProviderStub) -> None:
    client = Client()
    reply = answer(copilot(client, stub.url), "Where is my order?", ALICE)  # type: ignore[arg-type]

    assert (reply.target, reply.notice, reply.policy.revision) == ("big", None, 3)
    assert "order 4711" in reply.text
    (totals,) = client.sent().requests.values()
    assert totals.requests == 1
    assert totals.output_tokens > 0
    assert sum(totals.time_to_first_token.values()) == 1


def test_an_outage_goes_down_the_ladder_to_the_cache_and_the_template(stub: ProviderStub) -> None:
    client = Client()
    runner = copilot(client, stub.url)  # type: ignore[arg-type]
    before = answer(runner, "How do I change my address?", ALICE)
    request = urllib.request.Request(f"{stub.url}/faults", b'{"fault": "outage"}', method="POST")
    urllib.request.urlopen(request).close()

    cached = answer(runner, "How do I change my address?", ALICE)
    template = answer(runner, "How do I change my address?", {"targeting_key": "u-2", "name": "Bob"})

    assert (cached.rung, cached.text, cached.provisional) == ("cache", before.text, True)
    assert (template.rung, template.text) == ("template", "Sorry Bob, later.")
    (totals,) = client.sent().requests.values()
    assert totals.fallbacks == {"cache": 1, "template": 1}
    assert totals.errors == {"overloaded": 2}


def test_too_many_requests_are_called_that(stub: ProviderStub) -> None:
    client = Client()
    stub.fault = "rate_limits"
    answer(copilot(client, stub.url), "Hello", ALICE)  # type: ignore[arg-type]

    (totals,) = client.sent().requests.values()
    assert totals.errors == {"rate_limited": 1}


def test_a_fault_that_there_is_not_is_refused(stub: ProviderStub) -> None:
    request = urllib.request.Request(f"{stub.url}/faults", b'{"fault": "outrage"}', method="POST")
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert stub.fault is None


def test_a_refusal_is_counted_and_goes_to_a_person(stub: ProviderStub) -> None:
    client = Client()
    runner = copilot(client, stub.url)  # type: ignore[arg-type]
    stub.fault = "refusals"
    reply = answer(runner, "Hello", ALICE)

    (totals,) = client.sent().requests.values()
    assert (totals.refusals, totals.escalations) == (1, 1)
    assert (reply.outcome, reply.rung) == ("queued", "human_review")


def test_safe_mode_takes_the_model_the_tools_and_sensitive_requests_away(stub: ProviderStub) -> None:
    client = Client(safe_mode=True)
    runner = copilot(client, stub.url)  # type: ignore[arg-type]
    reply = answer(runner, "Please refund me", ALICE)

    assert reply.notice == "Answers may be short today."
    assert (reply.rung, reply.outcome, reply.attempts) == ("human_review", "queued", ())
    (ticket,) = runner.people.tickets  # type: ignore[union-attr]
    assert (ticket.queue, ticket.reason, ticket.given["messages"][0]["content"]) == ("tier-2", "sensitive", "Please refund me")  # fmt: skip
    assert {key.safe_mode for key in client.sent().requests} == {"contain"}
