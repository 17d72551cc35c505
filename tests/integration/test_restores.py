"""Going back is a new commit."""

import pytest

from controlplane.configuration.restores import Restores
from controlplane.configuration.store import Store
from controlplane.errors import ConflictError, NotFoundError
from controlplane.kit.clock import SystemClock
from controlplane.kit.database import Database
from tests.integration.accessing import ROOT
from tests.integration.resources import cohort, delete, flag, put
from tests.integration.rollout_world import changes
from tests.integration.test_store_history import BETA, SEARCH, commit

pytestmark = pytest.mark.anyio


@pytest.fixture
def restores(database: Database, store: Store) -> Restores:
    return Restores(store, changes(database, store, SystemClock()))


async def test_restoring_is_a_new_commit_that_makes_everything_what_it_was(store: Store, restores: Restores) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    then = (await store.state("production")).resources
    await commit(store, put(flag("web-search")), put(cohort("beta", "u-2")))
    done = await restores.restore(ROOT, "production", 1)
    assert (done.revision, {change.ref for change in done.changes}) == (3, {BETA, SEARCH})
    assert (await store.state("production")).resources == then
    with pytest.raises(ConflictError, match="nothing to restore"):
        await restores.restore(ROOT, "production", 1)


async def test_restoring_can_be_of_some_resources_only(store: Store, restores: Restores) -> None:
    await commit(store, put(cohort("beta", "u-1")), put(flag("web-search")))
    await commit(store, put(cohort("beta", "u-2")), delete(*SEARCH))
    preview = await restores.preview(ROOT, "production", 1, [BETA])
    done = await restores.restore(ROOT, "production", 1, refs=[BETA])
    assert preview.changes == done.changes
    assert [change.ref for change in done.changes] == [BETA]


async def test_a_repeated_restore_with_the_same_key_answers_with_the_first(store: Store, restores: Restores) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    await commit(store, put(cohort("beta", "u-2")))
    first = await restores.restore(ROOT, "production", 1, idempotency_key="undo-1")
    second = await restores.restore(ROOT, "production", 1, idempotency_key="undo-1")
    assert (second.revision, second.replayed, second.changes) == (3, True, first.changes)


async def test_there_is_nothing_to_restore_of_a_revision_that_never_was(restores: Restores) -> None:
    with pytest.raises(NotFoundError):
        await restores.restore(ROOT, "production", 1)
