"""The demo's services obey the demo's policies, and what they report says so."""

import random

import pytest

from brownout.evaluation.compile import Compiled
from brownout.model.resources import ResourceRef
from brownout.runner.cache import MemoryCache
from brownout.telemetry.recording import Recording
from brownout.wire.telemetry import RequestTotals, decode
from controlplane.demo.condition import Condition
from controlplane.demo.document import demo_document
from controlplane.demo.people import customer
from controlplane.demo.provider import Provider
from controlplane.demo.service import DemoService

pytestmark = pytest.mark.anyio


class Client(Recording):
    def __init__(self) -> None:
        found = demo_document().resources
        specs = {ResourceRef(kind, key): bytes(spec) for kind, specs in found.items() for key, spec in specs.items()}
        self._compiled = Compiled.load("production", 1, specs)
        self._start_counting()

    def _who(self) -> tuple[str, str]:
        return "i-1", "support-copilot"


async def served(condition: Condition, *, requests: int = 60) -> RequestTotals:
    """What an instance counted, its provider a thousand times as fast."""
    client, chance = Client(), random.Random(3)
    provider = Provider(chance, speed=1_000.0)
    provider.condition = condition
    service = DemoService(client, provider, chance, MemoryCache())  # type: ignore[arg-type]
    for number in range(requests):
        await service.serve("support-reply", customer(number))
    data = client._collect(True)
    assert data is not None
    total = RequestTotals()
    for totals in decode(data).requests.values():
        total = total.plus(totals)
    return total


async def test_on_a_good_day_the_policys_own_model_answers() -> None:
    counted = await served(Condition())

    assert (counted.requests, counted.unanswered) == (60, 0)
    assert sum(rung.served for name, rung in counted.rungs.items() if name.startswith("primary:")) >= 55
    assert counted.quality_n >= 55
    assert counted.input_tokens > 60 * 500
    assert counted.retrievals == 60


async def test_in_an_outage_another_provider_answers_and_the_outage_is_seen() -> None:
    counted = await served(Condition(provider="anthropic", fault="outage"))

    assert counted.rungs["model:gpt-6-mini"].served >= 50
    failed = {key.model: each for key, each in counted.attempts.items() if key.provider == "anthropic"}
    assert failed
    assert all("ok" not in each.outcomes and each.output_tokens == 0 for each in failed.values())
    assert sum(each.attempts for each in failed.values()) < 40, "breakers spare a provider that is down"
