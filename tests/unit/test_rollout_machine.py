"""Rollouts, flags, imports and restores in any order: the list of rollouts and what is served never disagree.

In memory, on the store's own `keep_owned` and `settle` and the rollouts' own moves.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate
from brownout.model.parse import decode, encode, parse
from brownout.model.resources import Flag, ResourceRef, Rollout
from brownout.wire import Operation
from controlplane.configuration.restores import _differs, _operation
from controlplane.configuration.store.draft import draft, keep_owned, settle
from controlplane.configuration.store.values import ResourceDiff
from controlplane.contract.kinds import edited, row, without_owned
from controlplane.contract.rollout_rules import SERVING, expected, owned, owner
from controlplane.errors import ConflictError, InvalidInputError
from controlplane.rollouts import moves
from controlplane.rollouts.service import _summary

FLAG_KEYS = ("m", "n")
KEYS = ("one", "two")
FLAG: dict[str, Any] = {
    "type": "string",
    "variants": {"a": "A", "b": "B", "c": "C"},
    "off_variant": "a",
    "default": "a",
}
BETA = {"any_of": [[{"attribute": "beta", "op": "in", "values": [True]}]]}
STAGES = (
    [{"weight_bp": 500}, {"weight_bp": 10_000}],
    [{"weight_bp": 10_000}],
    [{"cohort": "beta", "weight_bp": 10_000}, {"weight_bp": 2_500}],
    [{"cohort": "beta", "weight_bp": 10_000}],
)
PEOPLES: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"id": "all", "serve": "a"}],
    [{"id": "beta", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": "c"}],
)
WITHOUT_UNIT: tuple[dict[str, Any], ...] = (
    {},
    {"beta": True},
    {"targeting_key": ""},
    {"targeting_key": 1.5, "beta": True},
)
State = dict[ResourceRef, bytes]


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.state: State = {}
        self.past: list[State] = []

    def commit(self, ops: Sequence[Operation], machine: str = "") -> bool:
        """As the store does; False when it is refused."""
        self.now += timedelta(seconds=1)
        try:
            drafted = keep_owned(draft(ops), self.state, machine)
        except InvalidInputError:
            return False
        changes, faults = settle(drafted, self.state, self.now, machine)
        if faults:
            return False
        self.past.append(dict(self.state))
        for change in changes:
            if change.after is None:
                del self.state[change.ref]
            else:
                self.state[change.ref] = change.after
        return True

    def flag(self, key: str) -> Flag:
        found = decode("flag", self.state[ResourceRef("flag", key)])
        assert isinstance(found, Flag)
        return found

    def rollouts(self) -> dict[str, Rollout]:
        found = {ref.key: decode("rollout", spec) for ref, spec in self.state.items() if ref.kind == "rollout"}
        return {key: rollout for key, rollout in found.items() if isinstance(rollout, Rollout)}

    @initialize()
    def begin(self) -> None:
        ops = [Operation("put", "flag", key, raw(FLAG)) for key in FLAG_KEYS]
        assert self.commit([Operation("put", "cohort", "beta", raw(BETA)), *ops])

    @rule(
        key=st.sampled_from(KEYS), flag=st.sampled_from(FLAG_KEYS), stages=st.sampled_from(STAGES),
        arms=st.sampled_from([("a", "b"), ("b", "c")]), finish=st.sampled_from(["by_hand", "automatic"]),
    )  # fmt: skip
    def define(self, key: str, flag: str, stages: list[Any], arms: tuple[str, str], finish: str) -> None:
        """Creates it, or edits it where the service would."""
        before = self.rollouts().get(key)
        if before is not None and before.progress.state not in moves.EDITABLE:
            return
        spec = {"flag": flag, "control": arms[0], "treatment": arms[1], "stages": stages, "finish": finish}
        made = parse("rollout", key, spec)
        assert isinstance(made, Rollout)
        run = before.progress.run if before else len(self.past)
        assert self.commit([moves.put("rollout", key, encode(moves.drafted(made, run)))], "rollout")

    @rule(
        key=st.sampled_from(KEYS),
        step=st.sampled_from(
            ["start", "start", "advance", "advance", "pause", "resume", "finish", "restart", "roll_back"]
        ),
    )
    def move(self, key: str, step: moves.Move) -> None:
        rollout = self.rollouts().get(key)
        if rollout is None:
            return
        flag = self.flag(rollout.flag)
        busy = {"running", "paused"}
        try:
            after = moves.move(rollout, step, "a reason", self.now)
            if step in {"start", "restart"}:
                if any(
                    o != key and r.flag == rollout.flag and r.progress.state in busy for o, r in self.rollouts().items()
                ):
                    return
                moves.refuse_unreachable(key, after, flag)
            if step == "finish":
                moves.refuse_hidden(key, flag)
        except ConflictError:
            return
        before = [self.served(rollout.flag, person) for person in PEOPLE]
        assert self.commit(moves.operations(key, after, flag), "rollout")
        if step == "finish":
            assert [self.served(rollout.flag, person)[0] for person in PEOPLE] == [variant for variant, _ in before]

    @rule(key=st.sampled_from(FLAG_KEYS), rules=st.sampled_from(PEOPLES), first=st.booleans(), mention=st.booleans())
    def put_flag(self, key: str, rules: list[Any], first: bool, mention: bool) -> None:
        own = [msgspec.to_builtins(rule) for rule in self.flag(key).rules if owner(rule)] if mention else []
        both = [*rules, *own] if first else [*own, *rules]
        assert self.commit([Operation("put", "flag", key, raw({**FLAG, "rules": both}))])

    @rule(key=st.sampled_from(FLAG_KEYS), data=st.data())
    def put_an_old_flag(self, key: str, data: st.DataObject) -> None:
        """As it was at some time, rules of a rollout and all."""
        state = data.draw(st.sampled_from(self.past[1:] or [self.state]))
        self.commit([Operation("put", "flag", key, msgspec.Raw(state[ResourceRef("flag", key)]))])

    @rule(key=st.sampled_from(KEYS), state=st.sampled_from(["draft", "running", "completed", "finished", "aborted"]))
    def forge(self, key: str, state: str) -> None:
        found = self.rollouts().get(key)
        if found is not None:
            spec = {**msgspec.to_builtins(found), "progress": {"state": state, "run": 1}}
            done = self.commit([Operation("put", "rollout", key, raw(spec))])
            assert not done or self.rollouts()[key].progress == found.progress

    @rule(key=st.sampled_from(KEYS), flag=st.sampled_from([*FLAG_KEYS, ""]))
    def delete(self, key: str, flag: str) -> None:
        ops = [Operation("del", "flag", flag)] if flag else []
        kept = [Operation("put", "flag", flag, raw(FLAG))] if flag else []
        if self.commit([Operation("del", "rollout", key), *ops]) and flag:
            assert self.commit(kept)

    @rule(data=st.data(), raw_document=st.booleans())
    def import_(self, data: st.DataObject, raw_document: bool) -> None:
        """A document from any time, exported by this version, or with the rules of rollouts in it."""
        state = data.draw(st.sampled_from(self.past[1:] or [self.state]))
        ops = [
            Operation("put", ref.kind, ref.key, msgspec.Raw(spec if raw_document else without_owned(ref.kind, spec)))
            for ref, spec in state.items()
            if ref.kind in edited()
        ]
        assert self.commit(ops) or raw_document

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.past[1:] or [self.state]))
        diffs = [
            ResourceDiff(ref.kind, ref.key, self.state.get(ref), old.get(ref), ())
            for ref in sorted({*old, *self.state})
            if self.state.get(ref) != old.get(ref)
        ]
        ops = [_operation(diff) for diff in diffs if row(diff.kind).restored and _differs(diff)]
        assert not ops or self.commit(ops)

    @invariant()
    def the_list_and_what_is_served_agree(self) -> None:
        rollouts = self.rollouts()
        for key, rollout in rollouts.items():
            mine = owned(self.flag(rollout.flag), key)
            assert mine == expected(rollout, key)
            assert bool(mine) == bool(_summary(key, rollout).share_bp) == (rollout.progress.state in SERVING)
        for flag in FLAG_KEYS:
            if ResourceRef("flag", flag) in self.state:
                named = {name for each in self.flag(flag).rules if (name := owner(each)) is not None}
                assert all(rollouts[name].flag == flag for name in named)

    @invariant()
    def no_canary_serves_a_request_without_a_unit(self) -> None:
        for rollout in self.rollouts().values():
            for context in WITHOUT_UNIT:
                variant, decided = self.served(rollout.flag, context)
                if decided is not None and decided.startswith("rollout:"):
                    (name,) = {owner(each) for each in self.flag(rollout.flag).rules if each.id == decided}
                    assert variant == self.rollouts()[str(name)].control

    def served(self, flag: str, context: dict[str, Any]) -> tuple[str | None, str | None]:
        decision = evaluate(Compiled.load("e", 1, self.state), flag, context, default=None)
        return decision.variant, None if decision.rule is None else decision.rule


PEOPLE: tuple[dict[str, Any], ...] = tuple({"targeting_key": f"u{n}", "beta": n % 2 == 0} for n in range(12))


def raw(spec: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(spec))


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
