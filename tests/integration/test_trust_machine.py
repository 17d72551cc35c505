"""Editors, rollouts, imports, restores and proposals in any order, on a real store: the list of rollouts and what is
served agree, no canary serves a request without a unit, and no change vanishes without a conflict."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.parse import decode
from brownout.model.resources import Flag, ResourceRef, Rollout
from brownout.wire import Operation
from controlplane.access.actor import system_actor
from controlplane.configuration.store.basis import ABSENT
from controlplane.contract.document import Document
from controlplane.contract.rollout_rules import SERVING, expected, owned, owner
from controlplane.errors import BrownoutError, ConflictError, NotFoundError
from controlplane.web.rollouts.pages import MOVES
from tests.integration.accessing import ROOT, World, open_world
from tests.unit.test_rollout_machine import BETA, FLAG, KEYS, PEOPLES, STAGES, WITHOUT_UNIT, raw

T = TypeVar("T")
EDITORS = tuple(system_actor(f"editor-{n}") for n in range(2))
FLAG_KEYS = ("m", "n", "o")
STEPS = ("start", "start", "advance", "advance", "pause", "resume", "finish", "restart", "roll-back", "abort", "delete")
editor_ = st.integers(0, len(EDITORS) - 1)
flag_ = st.sampled_from((*FLAG_KEYS, "m"))
key_ = st.sampled_from(KEYS)


class Read(NamedTuple):
    """What an editor has on the screen: a flag at the revision that last changed it, or none (ABSENT)."""

    revision: int
    spec: dict[str, Any]


class Trust(RuleBasedStateMachine):
    """Each acknowledged edit of a flag leaves a word of its own in its description: `said` is the one to be found."""

    runner: asyncio.Runner
    world: World
    names = itertools.count()
    ended: Counter[tuple[str, bool]]
    """How often each act was done, and refused."""

    def go(self, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    @initialize()
    def begin(self) -> None:
        self.environment = f"trust-{next(self.names)}"
        services = self.world.services
        self.go(services.environments.create(ROOT, self.environment, self.environment))
        self.word = itertools.count()
        self.said: dict[str, str] = {}
        self.screens: dict[tuple[int, str], Read] = {}
        self.documents: list[tuple[int, Document]] = []
        self.proposals: list[int] = []
        ops = [Operation("put", "flag", key, raw(FLAG)) for key in FLAG_KEYS[:2]]
        self.go(self.commit(0, Operation("put", "cohort", "beta", raw(BETA)), *ops))
        self.said |= dict.fromkeys(FLAG_KEYS[:2], "")

    async def commit(self, editor: int, *ops: Operation, **more: Any) -> int:
        done = await self.world.services.changes.commit(EDITORS[editor], self.environment, ops, "by hand", **more)
        return done.revision

    async def flag_now(self, key: str) -> Read:
        found = await self.world.services.store.find_resource(self.environment, "flag", key)
        return Read(found.revision, msgspec.json.decode(found.spec)) if found else Read(ABSENT, dict(FLAG))

    def screen(self, editor: int, key: str) -> Read:
        """What the editor has looked at, maybe long ago."""
        if (editor, key) not in self.screens:
            self.open(editor, key)
        return self.screens[editor, key]

    def tried(self, work: Coroutine[Any, Any, object], act: str) -> BrownoutError | None:
        """What it was refused with."""
        try:
            self.go(work)
        except BrownoutError as error:
            self.ended[act, False] += 1
            return error
        self.ended[act, True] += 1
        return None

    def edited(self, read: Read, rules: list[Any] | None = None) -> tuple[dict[str, Any], str]:
        """As the console sends it: all that was read, and one change."""
        word = f"w{next(self.word)}"
        spec = {**read.spec, "description": word}
        if rules is not None:
            spec["rules"] = [*rules, *(one for one in read.spec.get("rules", ()) if one["id"].startswith("rollout:"))]
        return spec, word

    # Editors, who read now and save later

    @rule(editor=editor_, key=flag_)
    def open(self, editor: int, key: str) -> None:
        """Looks again; until then they see what they saw."""
        self.screens[editor, key] = self.go(self.flag_now(key))

    @rule(editor=editor_, key=flag_, rules=st.sampled_from([None, *PEOPLES]))
    def save(self, editor: int, key: str, rules: list[Any] | None) -> None:
        read = self.screen(editor, key)
        spec, word = self.edited(read, rules)
        ref, now = ResourceRef("flag", key), self.go(self.flag_now(key))
        put = Operation("put", "flag", key, raw(spec))
        refused = self.tried(self.commit(editor, put, bases={ref: read.revision}), "save")
        assert (refused is None) == (now.revision == read.revision), refused
        assert refused is None or isinstance(refused, ConflictError)
        self.open(editor, key)
        if refused is None:
            self.said[key] = word

    @rule(key=flag_)
    def save_both_at_once(self, key: str) -> None:
        """From the same screen: one of them is told."""
        read = self.go(self.flag_now(key))
        made = [self.edited(read) for _ in EDITORS]
        ref = ResourceRef("flag", key)

        async def race() -> list[int | BaseException]:
            saves = [
                self.commit(n, Operation("put", "flag", key, raw(spec)), bases={ref: read.revision})
                for n, (spec, _) in enumerate(made)
            ]
            return await asyncio.gather(*saves, return_exceptions=True)

        ended = self.go(race())
        (winner,) = [n for n, end in enumerate(ended) if isinstance(end, int)]
        assert all(isinstance(end, int | ConflictError) for end in ended), ended
        self.said[key] = made[winner][1]

    @rule(editor=editor_, key=st.just("o"))
    def delete_flag(self, editor: int, key: str) -> None:
        read = self.screen(editor, key)
        if read.revision == ABSENT:
            return
        ref = ResourceRef("flag", key)
        delete = self.commit(editor, Operation("del", "flag", key), bases={ref: read.revision})
        if self.tried(delete, "delete") is None:
            self.said.pop(key)

    # Proposals, which are carried out later

    @rule(editor=editor_, key=flag_)
    def propose(self, editor: int, key: str) -> None:
        read = self.screen(editor, key)
        spec, _ = self.edited(read)
        ops = [Operation("put", "flag", key, raw(spec))]
        bases = {ResourceRef("flag", key): read.revision}
        try:
            made = self.go(
                self.world.services.proposals.propose(EDITORS[editor], self.environment, ops, "please", bases=bases)
            )
        except ConflictError:
            assert self.go(self.flag_now(key)).revision != read.revision
        else:
            self.proposals.append(made.id)

    @precondition(lambda self: self.proposals)
    @rule(data=st.data(), rebase=st.sampled_from(["as it is", "merged", "theirs", "mine"]))
    def carry_out(self, data: st.DataObject, rebase: Any) -> None:
        proposals, actor = self.world.services.proposals, EDITORS[0]
        number = data.draw(st.sampled_from(self.proposals))
        view = self.go(proposals.get(actor, self.environment, number))
        if rebase != "as it is":
            side = None if rebase == "merged" else rebase
            self.tried(proposals.rebase(actor, self.environment, number, view.proposal.edition, side), "rebase")
            view = self.go(proposals.get(actor, self.environment, number))
        if self.tried(proposals.commit(actor, self.environment, number), "carry out") is None:
            assert not view.theirs, "somebody's change to the same flag would be lost"
            self.proposals.remove(number)
            for op in view.proposal.operations:
                assert isinstance(op.spec, msgspec.Raw)
                self.said[op.key] = msgspec.json.decode(op.spec).get("description", "")

    # Documents and the past

    @rule()
    def export(self) -> None:
        document = self.go(self.world.services.documents.export(ROOT, self.environment))
        self.documents.append((self.go(self.world.services.store.head(self.environment)).revision, document))

    @precondition(lambda self: self.documents)
    @rule(data=st.data(), prune=st.booleans(), checked=st.booleans())
    def import_(self, data: st.DataObject, prune: bool, checked: bool) -> None:
        """`checked`: from the revision at which it was exported, and so refused when anyone has committed since."""
        revision, document = data.draw(st.sampled_from(self.documents))
        head = self.go(self.world.services.store.head(self.environment)).revision
        refused = self.tried(
            self.world.services.documents.import_(
                ROOT, self.environment, document, prune=prune, expected_revision=revision if checked else None
            ),
            "import",
        )
        if refused is not None:
            return
        flags = {key: msgspec.json.decode(spec) for key, spec in document.resources.get("flag", {}).items()}
        found = {key: spec.get("description", "") for key, spec in flags.items()}
        if checked and revision != head:
            assert found.items() <= self.said.items(), "it had nothing to say"
        self.said = found if prune else {**self.said, **found}

    @rule(data=st.data(), seen_late=st.booleans())
    def restore(self, data: st.DataObject, seen_late: bool) -> None:
        """`seen_late`: what was looked at is a commit old."""
        store = self.world.services.store
        head = self.go(store.head(self.environment)).revision
        revision = data.draw(st.integers(max(1, head - 6), head))
        seen = max(1, head - 1) if seen_late else head
        before = dict(self.said)
        refused = self.tried(
            self.world.services.restores.restore(EDITORS[1], self.environment, revision, seen=seen, message="back"),
            "restore",
        )
        if refused is not None:
            return
        old = self.go(store.state(self.environment, revision)).resources
        flags = {ref.key: msgspec.json.decode(spec) for ref, spec in old.items() if ref.kind == "flag"}
        self.said = {key: spec.get("description", "") for key, spec in flags.items()}
        if seen_late and head > 1:
            unseen = self.go(store.diff(self.environment, seen, head)).resources
            lost = [
                each.key for each in unseen if each.kind == "flag" and before.get(each.key) != self.said.get(each.key)
            ]
            assert not lost, "it took back what no one had looked at"

    # Rollouts

    @rule(
        key=key_, flag=flag_, stages=st.sampled_from(STAGES), finish=st.sampled_from(["by_hand", "automatic"]),
        edit=st.integers(0, 3).map(lambda n: n == 0), start=st.booleans(),
    )  # fmt: skip
    def define(self, key: str, flag: str, stages: list[Any], finish: str, edit: bool, start: bool) -> None:
        spec = msgspec.json.encode({"flag": flag, "control": "a", "treatment": "b", "stages": stages, "finish": finish})
        rollouts = self.world.services.rollouts
        if edit:
            self.tried(rollouts.edit(ROOT, self.environment, key, spec, "another"), "edit")
        else:
            self.tried(rollouts.create(ROOT, self.environment, key, spec, "new", start=start), "create")

    @rule(key=key_, step=st.sampled_from(STEPS), data=st.data())
    def move(self, key: str, step: str, data: st.DataObject) -> None:
        """Mostly one that its state allows."""
        found = self.go(self.world.services.store.find_resource(self.environment, "rollout", key))
        state = msgspec.json.decode(found.spec).get("progress", {}).get("state", "draft") if found else ""
        step = data.draw(st.sampled_from([*MOVES.get(state, ()), *MOVES.get(state, ()), step]))
        refused = self.tried(self.world.services.rollouts.move(ROOT, self.environment, key, step, "by hand"), step)
        assert refused is None or isinstance(refused, ConflictError | NotFoundError), refused

    @rule(key=key_, state=st.sampled_from(["draft", "running", "completed", "finished", "aborted"]))
    def forge(self, key: str, state: str) -> None:
        found = self.go(self.world.services.store.find_resource(self.environment, "rollout", key))
        if found is not None:
            forged = {**msgspec.json.decode(found.spec), "progress": {"state": state, "run": 1}}
            self.tried(self.commit(0, Operation("put", "rollout", key, raw(forged))), "forge")

    # What holds

    @invariant()
    def nothing_vanished_and_nothing_disagrees(self) -> None:
        if not hasattr(self, "said"):
            return
        state = self.go(self.world.services.store.state(self.environment)).resources
        read = {ref: decode(ref.kind, spec) for ref, spec in state.items() if ref.kind in {"flag", "rollout"}}
        flags = {ref.key: spec for ref, spec in read.items() if isinstance(spec, Flag)}
        rollouts = {ref.key: spec for ref, spec in read.items() if isinstance(spec, Rollout)}
        assert {key: flag.description for key, flag in flags.items()} == self.said
        listed = self.go(self.world.services.rollouts.list(ROOT, self.environment)).items
        assert {one.key for one in listed} == rollouts.keys()
        for one in listed:
            mine = owned(flags[one.flag], one.key)
            assert mine == expected(rollouts[one.key], one.key)
            assert bool(mine) == bool(one.share_bp) == (one.state in SERVING)
        compiled = Compiled.load(self.environment, 1, state)
        for key, flag in flags.items():
            assert all(name in rollouts for each in flag.rules if (name := owner(each)) is not None)
            for context in WITHOUT_UNIT:
                decision: Any = evaluate(compiled, key, context, default=None)
                named = next((owner(each) for each in flag.rules if each.id == decision.rule), None)
                assert named is None or decision.variant == rollouts[named].control


@pytest.mark.chaos
def test_no_order_of_acts_loses_a_change_or_lets_list_and_serving_disagree(
    anyio_backend: str, database_url: str, request: pytest.FixtureRequest
) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(stack.enter_async_context(open_world(database_url, "production")))
        ended = Counter[tuple[str, bool]]()
        machine = type("Wired", (Trust,), {"runner": runner, "world": world, "ended": ended})
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=300 if request.config.getoption("--chaos") == "long" else 25,
                    stateful_step_count=40,
                    phases=[Phase.generate],  # shrinking would go on in the same database for minutes
                    deadline=None,
                    database=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
    done = {act for act, well in ended if well}
    assert done >= {"save", "carry out", "rebase", "import", "restore", "create", "edit", "start", "advance"}, done
    assert ended["save", False], "no editor was ever late"
