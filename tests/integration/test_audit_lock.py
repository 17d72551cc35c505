"""The audit log is one chain for all environments; none of them waits long for a commit of another (ADR 0141)."""

import pytest
from sqlalchemy import text

from controlplane.access.queries import audit as queries
from controlplane.errors import UnavailableError
from controlplane.kit.database import LOCK_TIMEOUT_MS, Database
from tests.integration.accessing import ROOT, open_world
from tests.integration.test_access_approvals import flag

pytestmark = pytest.mark.anyio


def test_a_commit_waits_longer_for_the_lock_than_a_frozen_replica_can_hold_it() -> None:
    assert queries.HELD_MS < LOCK_TIMEOUT_MS


async def test_a_replica_that_freezes_in_a_commit_stops_no_other_environment(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "HELD_MS", 200)
    async with open_world(database_url) as world:
        with pytest.raises(UnavailableError):  # noqa: PT012 - its transaction fails at the end
            async with database.transaction() as frozen:
                await queries.append(frozen, '{"at_ms": 1, "event": "commit", "actor": "frozen", "environment": ""}')
                commit = await world.services.changes.commit(ROOT, "staging", [flag("a")], "not held up")
                assert commit.revision == 1
                await frozen.execute(text("SELECT 1"))
        assert (await world.access.audit.verify(ROOT)).broken_at is None
        lines = await world.access.audit.list_events(ROOT)
        assert "frozen" not in {line.entry.actor for line in lines}


async def test_the_bound_ends_with_the_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        await queries.append(connection, '{"at_ms": 1, "event": "commit", "actor": "a", "environment": ""}')
    async with database.transaction() as connection:
        assert (await connection.execute(text("SHOW idle_in_transaction_session_timeout"))).scalar_one() == "0"
