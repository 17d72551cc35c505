"""The fake passes the suite of the real store: every test of these modules runs again here, on a MemoryStore."""

import pytest

from brownout import wire
from tests.integration import test_store_bad_input, test_store_commit, test_store_history
from tests.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

for module in (test_store_bad_input, test_store_commit, test_store_history):
    globals().update({name: test for name, test in vars(module).items() if name.startswith("test_")})


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await made.create_environment("production", "Production")
    return made


@pytest.fixture
def verifier(store: MemoryStore) -> wire.Verifier:
    return store.verifier("production")
