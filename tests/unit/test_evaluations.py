"""Asking about hypothetical contexts, on the control plane."""

import pytest

from controlplane.access.actor import system_actor
from controlplane.configuration.evaluations import Evaluations
from controlplane.errors import InvalidInputError
from controlplane.kit.clock import SystemClock
from tests.integration.resources import put
from tests.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


async def test_a_context_out_of_all_proportion_is_refused_and_no_fault_of_ours() -> None:
    store = MemoryStore()
    await store.create_environment("production", "Production")
    beta = ("cohort", "beta", {"any_of": [[{"op": "contains", "attribute": "tags", "values": ["x"]}]]})
    await store.commit("production", [put(beta)], author="test", message="beta")
    evaluations = Evaluations(store, SystemClock())
    asker = system_actor("test")

    assert (await evaluations.belongs(asker, "production", "beta", {"tags": ["x"]})).belongs is True
    with pytest.raises(InvalidInputError):
        await evaluations.belongs(asker, "production", "beta", {"tags": ["y"] * 10_001})
