from datetime import timedelta

import pytest

from brownout import wire
from brownout.model.resources import ResourceRef
from controlplane.configuration.store import Store
from controlplane.errors import NotFoundError
from controlplane.kit.clock import SystemClock
from tests.integration.resources import cohort, delete, flag, put

pytestmark = pytest.mark.anyio

BETA = ResourceRef("cohort", "beta")
SEARCH = ResourceRef("flag", "web-search")


async def commit(store: Store, *ops: wire.Operation, author: str = "mara") -> int:
    return (await store.commit("production", ops, author=author, message="because")).revision


async def test_any_revision_can_be_rebuilt(store: Store) -> None:
    states = [(await store.state("production")).resources]
    for ops in ([put(cohort("beta", "u-1"))], [put(flag("web-search"))], [put(cohort("beta", "u-2"))], [delete(*BETA)]):
        await commit(store, *ops)
        states.append((await store.state("production")).resources)
    for revision, resources in enumerate(states):
        state = await store.state("production", revision)
        assert (state.resources, state.head.revision) == (resources, revision)
    with pytest.raises(NotFoundError):
        await store.state("production", 99)


async def test_a_diff_leads_from_one_revision_to_the_other_in_either_direction(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")), put(cohort("idle")))
    await commit(store, put(cohort("beta", "u-2")), put(flag("web-search")))
    await commit(store, put(cohort("beta", "u-2", "u-3")))
    forth, back = await store.diff("production", 1, 3), await store.diff("production", 3, 1)
    assert [(r.kind, r.key) for r in forth.resources] == [BETA, SEARCH]
    assert [(f.pointer, f.before, f.after) for f in forth.resources[0].fields] == [
        ("/include", b'["u-1"]', b'["u-2","u-3"]')
    ]
    assert [(r.before, r.after) for r in back.resources] == [(r.after, r.before) for r in forth.resources]
    assert (await store.diff("production", 2, 2)).resources == ()


async def test_fencing_jumps_ahead_and_the_chain_goes_through_it(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")))
    before = await store.head("production")
    fenced = await store.fence("production", 41, before.epoch, "Postgres was restored to yesterday")
    assert fenced.revision == 42
    assert fenced.epoch >= SystemClock().now().timestamp() - 60
    assert await store.fence("production", 41, before.epoch, "seen by another replica too") == fenced
    assert await commit(store, put(cohort("beta", "u-2"))) == 43
    one, jump, after = await store.envelopes("production", 0, 10)
    assert (jump.previous_chain, after.previous_chain, jump.reset) == (one.chain, jump.chain, True)
    assert (await store.get_commit("production", 42)).message == "Postgres was restored to yesterday"
    assert (await store.verify_history("production")).broken is None
    assert (await store.state("production", 42)).resources == (await store.state("production", 1)).resources


async def test_an_oversize_commit_is_kept_whole_and_published_as_reset(store: Store) -> None:
    big = [put(flag(f"flag-{n}", description="x" * 15_000)) for n in range(40)]
    await commit(store, *big)
    (envelope,) = await store.envelopes("production", 0, 10)
    assert envelope.reset
    assert len(envelope.payload) < 1_000
    assert len((await store.get_commit("production", 1)).changes) == 40
    assert len((await store.state("production", 1)).resources) == 40
    assert (await store.verify_history("production")).broken is None


async def test_history_is_listed_newest_first_and_filtered(store: Store) -> None:
    await commit(store, put(cohort("beta", "u-1")), author="mara")
    await commit(store, put(flag("web-search")), author="noor")
    await commit(store, put(cohort("beta", "u-2")), author="noor")

    async def revisions(**where: object) -> list[int]:
        return [line.revision for line in await store.list_commits("production", **where)]

    now = SystemClock().now()
    assert await revisions() == [3, 2, 1]
    assert await revisions(limit=2) == [3, 2]
    assert await revisions(before=2) == [1]
    assert await revisions(author="noor") == [3, 2]
    assert await revisions(kind="cohort") == [3, 1]
    assert await revisions(kind="flag", key="web-search") == [2]
    assert await revisions(since=now + timedelta(minutes=1)) == []
    assert await revisions(since=now - timedelta(minutes=1), until=now + timedelta(minutes=1)) == [3, 2, 1]
    (line,) = await store.list_commits("production", author="mara")
    assert (line.refs, line.changes) == ((BETA,), 1)
