import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from brownout.wire import Operation
from controlplane.access.actor import Action, Actor, system_actor
from controlplane.access.proposals import Proposals
from controlplane.access.queries import approvals as queries
from controlplane.app import open_services
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import lock_environment
from controlplane.configuration.store.values import Commit
from controlplane.errors import (
    ApprovalRequiredError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    MergeConflictError,
    NotFoundError,
    StaleProposalError,
)
from controlplane.safemode.request import ActivationRequest
from tests.integration.accessing import ROOT, World, open_world

pytestmark = pytest.mark.anyio
P = "production"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        await opened.access.rule.set(ROOT, P, 1)
        yield opened


@pytest.fixture
async def ed(world: World) -> Actor:
    return await world.person("ed@example.com", {P: ["editor", "approver"]})


@pytest.fixture
async def ann(world: World) -> Actor:
    return await world.person("ann@example.com", {P: ["approver"]})


def flag(key: str, *, on: bool = True) -> Operation:
    spec = {"type": "boolean", "description": "", "owner": "", "tags": [], "enabled": on,
            "variants": {"on": True, "off": False}, "off_variant": "off", "rules": [], "default": "on"}  # fmt: skip
    return Operation("put", "flag", key, msgspec.Raw(msgspec.json.encode(spec)))


class Interrupted:
    """The gate, with something happening between the count of approvals and the commit."""

    def __init__(self, changes: Changes, meanwhile: Coroutine[Any, Any, object]) -> None:
        self._meanwhile = meanwhile
        self.preview = changes.preview
        self._changes = changes

    async def carry_out(self, *args: Any, **kwargs: Any) -> Commit:
        await self._meanwhile
        return await self._changes.carry_out(*args, **kwargs)


async def test_alone_an_editor_commits_nothing_here_but_everything_elsewhere(world: World, ed: Actor) -> None:
    with pytest.raises(ApprovalRequiredError):
        await world.services.changes.commit(ed, P, [flag("a")], "alone")
    carl = await world.person("carl@example.com", {"staging": ["editor"]})
    assert (await world.services.changes.commit(carl, "staging", [flag("a")], "alone")).revision == 2


async def test_an_approved_proposal_is_committed_in_its_authors_name(world: World, ed: Actor, ann: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "switch a on")
    with pytest.raises(ApprovalRequiredError, match="0 of 1"):
        await world.services.proposals.commit(ed, P, made.id)
    assert (await world.services.proposals.approve(ann, P, made.id, made.edition, "looks right")).approved
    commit = await world.services.proposals.commit(ed, P, made.id)
    assert (commit.author, commit.message, commit.revision) == ("ed@example.com", "switch a on", 2)
    with pytest.raises(ConflictError):
        await world.services.proposals.commit(ed, P, made.id)


async def test_whoever_had_a_hand_in_it_does_not_approve_it(world: World, ed: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "mine")
    with pytest.raises(ForbiddenError, match="hand in"):
        await world.services.proposals.approve(ed, P, made.id, made.edition)
    eve = await world.person("eve@example.com", {P: ["editor", "approver"]})
    edited = await world.services.proposals.edit(
        eve, P, made.id, [flag("a", on=False)], "mine, by eve", edition=made.edition
    )
    for who in (ed, eve):
        with pytest.raises(ForbiddenError, match="hand in"):
            await world.services.proposals.approve(who, P, made.id, edited.edition)


async def test_neither_a_personal_token_nor_a_machine_is_a_second_person(world: World, ed: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "mine")
    own = await world.access.tokens.create_personal(ed, "laptop")
    mine = await world.access.authenticator.by_bearer(own.token, "")
    with pytest.raises(ForbiddenError, match="hand in"):
        await world.services.proposals.approve(mine, P, made.id, made.edition)
    machine = await world.access.authenticator.by_bearer(await world.token({P: ["approver"]}), "")
    with pytest.raises(ForbiddenError, match="only people"):
        await world.services.proposals.approve(machine, P, made.id, made.edition)


async def test_glass_is_broken_by_people_and_not_for_the_machines_they_made(world: World) -> None:
    ada = await world.person("ada@example.com", {"*": ["admin"]})
    made = await world.access.tokens.create_service(ada, "robot", {P: ["admin"]}, sensitive=True)
    robot = await world.access.authenticator.by_bearer(made.token, "")
    with pytest.raises(ForbiddenError, match="only people"):
        await world.access.break_glass.break_(robot, P, "beep")
    broken = await world.access.break_glass.break_(ada, P, "alone today")
    with pytest.raises(ApprovalRequiredError):
        await world.services.changes.commit(robot, P, [flag("a")], "beep")
    with pytest.raises(ApprovalRequiredError):
        await world.access.rule.set(robot, P, 0)
    other = await world.person("bea@example.com", {"*": ["admin"]})
    hers = await world.access.tokens.create_service(other, "reviewer", {P: ["approver"]}, sensitive=True)
    with pytest.raises(ForbiddenError):
        await world.access.break_glass.review(
            await world.access.authenticator.by_bearer(hers.token, ""), P, broken.id, "ok"
        )
    own = await world.access.tokens.create_personal(ada, "laptop")
    laptop = await world.access.authenticator.by_bearer(own.token, "")
    assert (await world.services.changes.commit(laptop, P, [flag("a")], "urgent")).revision == 2


async def test_a_machine_is_not_its_maker(world: World) -> None:
    ada = await world.person("ada@example.com", {P: ["admin"]})
    own = await world.access.tokens.create_personal(ada, "laptop")
    made = await world.access.tokens.create_service(ada, "robot", {P: ["admin"]}, sensitive=True)
    robot = await world.access.authenticator.by_bearer(made.token, "")
    assert await world.access.tokens.list_tokens(robot) == []
    assert await world.access.sessions.list_sessions(robot) == []
    for act in (world.access.sessions.end(robot, ada.credential), world.access.tokens.revoke(robot, own.id)):
        with pytest.raises(NotFoundError):
            await act
    with pytest.raises(ForbiddenError):
        await world.access.tokens.create_personal(robot, "more")


async def test_an_edit_loses_the_approvals_and_an_approval_is_of_what_was_seen(
    world: World, ed: Actor, ann: Actor
) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "first")
    await world.services.proposals.approve(ann, P, made.id, made.edition)
    edited = await world.services.proposals.edit(ed, P, made.id, [flag("b")], "second", edition=made.edition)
    assert not edited.approvals
    with pytest.raises(ApprovalRequiredError):
        await world.services.proposals.commit(ed, P, made.id)
    with pytest.raises(ConflictError, match="edited since"):
        await world.services.proposals.approve(ann, P, made.id, made.edition)


async def test_a_stale_proposal_shows_both_changes_and_is_rebased(world: World, ed: Actor, ann: Actor) -> None:
    await world.services.changes.commit(ROOT, P, [flag("a")], "a is on")
    made = await world.services.proposals.propose(ed, P, [flag("a", on=False)], "a off")
    await world.services.proposals.approve(ann, P, made.id, made.edition)
    await world.services.changes.commit(ROOT, P, [flag("b")], "elsewhere")
    assert not (await world.services.proposals.get(ed, P, made.id)).stale
    await world.services.changes.commit(system_actor("rollout:a"), P, [Operation("del", "flag", "a")], "a is gone")
    view = await world.services.proposals.get(ed, P, made.id)
    assert [(d.kind, d.key, d.after) for d in view.theirs] == [("flag", "a", None)]
    assert [(c.kind, c.key) for c in view.preview.changes] == [("flag", "a")]
    with pytest.raises(StaleProposalError):
        await world.services.proposals.commit(ed, P, made.id)
    with pytest.raises(MergeConflictError) as both:
        await world.services.proposals.rebase(ed, P, made.id, made.edition)
    assert [fault.pointer for fault in both.value.faults] == ["/ops/0/spec"]
    rebased = await world.services.proposals.rebase(ed, P, made.id, made.edition, "mine")
    assert not rebased.approved
    await world.services.proposals.approve(ann, P, made.id, rebased.edition)
    await world.services.proposals.commit(ed, P, made.id)


async def test_an_approval_counts_only_while_its_giver_may_approve(world: World, ed: Actor, ann: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "switch a on")
    await world.services.proposals.approve(ann, P, made.id, made.edition)
    await world.access.people.revoke(ROOT, ann.person, P, "approver")
    with pytest.raises(ApprovalRequiredError):
        await world.services.proposals.commit(ed, P, made.id)


async def test_what_does_not_compile_is_not_put_before_others(world: World, ed: Actor) -> None:
    broken = Operation("put", "flag", "a", msgspec.Raw(b'{"type":"boolean"}'))
    with pytest.raises(InvalidInputError):
        await world.services.proposals.propose(ed, P, [broken], "broken")


async def test_safe_mode_is_never_held_up_and_carries_nothing_else_through(world: World, ed: Actor) -> None:
    oona = await world.person("oona@example.com", {P: ["operator"]})
    request = ActivationRequest(profile="contain", reason="provider down", for_s=600)
    switched = await world.services.safe_mode.activate(oona, P, request)
    assert switched is not None
    both = await world.person("both@example.com", {P: ["operator", "editor"]})
    with pytest.raises(ApprovalRequiredError):
        await world.services.changes.commit(both, P, [flag("a")], "disguised", action=Action.SAFE_MODE)


async def test_broken_glass_lets_one_person_through_until_it_expires_and_waits_for_review(
    world: World, ed: Actor, ann: Actor
) -> None:
    glass = world.access.break_glass
    with pytest.raises(InvalidInputError):
        await glass.break_(ed, P, "  ")
    broken = await glass.break_(ed, P, "the approver is on a plane", timedelta(minutes=30))
    commit = await world.services.changes.commit(ed, P, [flag("a")], "urgent")
    eve = await world.person("eve@example.com", {P: ["editor"]})
    with pytest.raises(ApprovalRequiredError):
        await world.services.changes.commit(eve, P, [flag("b")], "not mine")
    world.clock.move(timedelta(minutes=31))
    with pytest.raises(ApprovalRequiredError):
        await world.services.changes.commit(ed, P, [flag("c")], "too late")
    [waiting] = await glass.list_broken(ann, P)
    assert waiting.uses == [f"r{commit.revision}"]
    with pytest.raises(ForbiddenError):
        await glass.review(ed, P, broken.id, "I was right")
    await glass.review(ann, P, broken.id, "it was right")
    assert await glass.list_broken(ann, P) == []


async def test_nobody_lowers_the_bar_alone(world: World) -> None:
    ada = await world.person("ada@example.com", {"*": ["admin"]})
    await world.access.rule.set(ada, P, 2)
    with pytest.raises(ApprovalRequiredError):
        await world.access.rule.set(ada, P, 0)
    await world.access.break_glass.break_(ada, P, "we are only one today")
    assert (await world.access.rule.set(ada, P, 0)).requires_approvals == 0
    [waiting] = await world.access.break_glass.list_broken(ada, P)
    assert waiting.uses == ["requires_approvals 2 → 0"]


async def test_as_many_approved_proposals_as_the_pool_has_connections_are_committed_at_once(database_url: str) -> None:
    async with open_world(database_url, pool=1) as world:
        ed = await world.person("ed@example.com", {P: ["editor"]})
        made = [await world.services.proposals.propose(ed, P, [flag(f"f{n}")], "at once") for n in range(4)]
        commits = await asyncio.gather(*(world.services.proposals.commit(ed, P, each.id) for each in made))
        assert {commit.revision for commit in commits} == {2, 3, 4, 5}


async def test_an_approval_withdrawn_at_the_last_moment_undoes_the_commit(world: World, ed: Actor, ann: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "switch a on")
    await world.services.proposals.approve(ann, P, made.id, made.edition)
    gate = Interrupted(world.services.changes, world.access.people.revoke(ROOT, ann.person, P, "approver"))
    proposals = Proposals(
        database=world.services.database,
        clock=world.clock,
        audit=world.access.audit,
        store=world.services.store,
        gate=gate,
        counting=world.access.counting,
    )
    with pytest.raises(ApprovalRequiredError):
        await proposals.commit(ed, P, made.id)
    assert (await world.services.store.head(P)).revision == 1
    assert (await world.services.proposals.get(ed, P, made.id)).proposal.state == "open"


async def test_a_bar_that_is_being_raised_is_not_lowered_unseen(world: World) -> None:
    ada = await world.person("ada@example.com", {"*": ["admin"]})
    async with world.services.database.transaction() as raising:
        await lock_environment(raising, P)
        await queries.set_requires(raising, P, 3)
        setting = asyncio.create_task(world.access.rule.set(ada, P, 2))  # more than the 1 that it could see
        await waits_for_a_lock(world)
    with pytest.raises(ApprovalRequiredError):
        await setting
    assert (await world.access.rule.get(ada, P)).requires_approvals == 3


async def test_a_commit_that_began_before_the_rule_was_raised_does_not_end_after_it(database_url: str) -> None:
    async with open_world(database_url) as world:
        ed = await world.person("ed@example.com", {P: ["editor"]})
        async with world.services.database.transaction() as raising:
            await lock_environment(raising, P)
            await queries.set_requires(raising, P, 1)
            committing = asyncio.create_task(world.services.changes.commit(ed, P, [flag("a")], "alone"))
            await waits_for_a_lock(world)  # it saw no rule, and is about to write
        with pytest.raises(ApprovalRequiredError):
            await committing
        assert (await world.services.store.head(P)).revision == 1


async def test_after_the_rule_is_acknowledged_nobodys_commit_arrives(database_url: str) -> None:
    async with open_world(database_url) as world:
        ed = await world.person("ed@example.com", {P: ["editor"]})
        async with open_services(world.services.settings, world.clock) as replica:
            both = (world.services.changes, replica.changes)
            committing = [asyncio.create_task(both[n % 2].commit(ed, P, [flag(f"f{n}")], "race")) for n in range(20)]
            await asyncio.wait(committing, return_when=asyncio.FIRST_COMPLETED)
            await world.access.rule.set(ROOT, P, 1)
            acknowledged = await world.services.store.head(P)
            outcomes = await asyncio.gather(*committing, return_exceptions=True)
        made = [each.revision for each in outcomes if isinstance(each, Commit)]
        assert len(made) + sum(isinstance(each, ApprovalRequiredError) for each in outcomes) == 20
        assert max(made) == acknowledged.revision == (await world.services.store.head(P)).revision


async def test_there_is_no_rule_where_there_is_no_environment(world: World) -> None:
    ada = await world.person("ada@example.com", {"*": ["admin"]})
    with pytest.raises(NotFoundError):
        await world.access.rule.set(ada, "nowhere", 1)


async def waits_for_a_lock(world: World) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while True:
            async with world.services.database.reading() as connection:
                if (await connection.execute(text(sql))).scalar():
                    return


async def test_the_audit_log_tells_the_whole_story_and_proves_itself(world: World, ed: Actor, ann: Actor) -> None:
    made = await world.services.proposals.propose(ed, P, [flag("a")], "switch a on")
    await world.services.proposals.approve(ann, P, made.id, made.edition)
    await world.services.proposals.commit(ed, P, made.id)
    told = [(line.entry.event, line.entry.actor) for line in await world.access.audit.list_events(ROOT, limit=3)]
    assert told == [("commit", "ed@example.com"), ("approved", "ann@example.com"), ("proposed", "ed@example.com")]
    proof = await world.access.audit.verify(ROOT)
    assert proof.broken_at is None
    assert proof.entries >= 10


async def test_an_export_is_plain_objects_that_prove_themselves(world: World) -> None:
    await world.access.rule.set(ROOT, P, 2, "six eyes, „genau“\n</x>")
    lines = [line async for line in await world.access.audit.export(ROOT)]
    chain = ""
    for number, line in enumerate(lines, start=1):
        assert line.endswith(b"}\n")
        read = json.loads(line)
        kept = json.dumps(read["entry"], separators=(",", ":"), ensure_ascii=False)
        chain = hashlib.sha256((chain + kept).encode()).hexdigest()[:32]
        assert (read["sequence"], read["chain"]) == (number, chain)
    assert json.loads(lines[-1])["entry"]["event"] == "exported"
    assert "rule_changed" in {json.loads(line)["entry"]["event"] for line in lines}
