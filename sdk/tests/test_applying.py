"""Applied bit by bit, or many at once: what is decided is what the whole document, compiled anew, decides."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout import wire
from brownout._sync.replica import MAX_BUFFERED, Need, Outcome, Replica
from brownout._sync.serving import Serving
from brownout.evaluation.compile import Compiled
from brownout.evaluation.evaluate import evaluate, policy
from brownout.model import reading
from brownout.model.resources import ResourceRef
from brownout.status import Change, Counters
from brownout.wire import Operation
from brownout.wire.bundle import Signed
from sdk.tests.history import History, delete, put

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVICES = ("chat", "mail")
CLASSES = ("reply", "search")
COHORTS = ("beta", "gamma")
FLAGS = ("plain", "ruled", "route", "retry")
CONTEXTS: Sequence[dict[str, Any]] = ({}, {"targeting_key": "u-1"}, {"targeting_key": "u-2", "plan": "pro"})

_subset = st.lists(st.sampled_from(COHORTS), max_size=2, unique=True)
_scopes = st.fixed_dictionaries(
    {},
    optional={
        "services": st.lists(st.sampled_from(SERVICES), min_size=1, max_size=2, unique=True),
        "request_classes": st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2, unique=True),
        "cohorts": _subset,
        "providers": st.just(["openai"]),
    },
)


def _activation(profile: str, scope: dict[str, Any], minutes: int, on_expiry: str) -> dict[str, Any]:
    return {
        "profile": profile, "reason": "r", "actor": "a", "activated_at": NOON.isoformat(), "scope": scope,
        "expires_at": (NOON + timedelta(minutes=minutes)).isoformat(), "on_expiry": on_expiry,
    }  # fmt: skip


def _switch(on: bool, ruled: bool, safe: bool) -> dict[str, Any]:
    rules = [{"id": "r", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": "on"}] if ruled else []
    spec = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "rules": rules,
            "default": "on" if on else "off"}  # fmt: skip
    return spec | ({"safe_variant": "off"} if safe else {})


def _route(model: str, provider: str) -> dict[str, Any]:
    targets = {"t": {"provider": provider, "model": model}, "small": {"provider": "local", "model": "s"}}
    variants = {name: {"targets": targets, "primary": name} for name in ("t", "small")}
    return {"type": "model_route", "variants": variants, "off_variant": "t", "default": "t", "safe_variant": "small"}


def _retry(attempts: int) -> dict[str, Any]:
    return {"type": "retry_policy", "variants": {"v": {"max_attempts": attempts}}, "off_variant": "v", "default": "v"}


_specs = st.one_of(
    st.tuples(
        st.just("safe_mode_activation"),
        st.sampled_from(["a1", "a2", "a3", "a4"]),
        st.builds(_activation, st.sampled_from(["calm", "strict"]), _scopes, st.integers(-5, 30), st.sampled_from(["lift", "hold"])),
    ),
    st.tuples(
        st.just("safe_mode_profile"),
        st.sampled_from(["calm", "strict"]),
        st.fixed_dictionaries(
            {},
            optional={
                "serve_safe_variant": st.sampled_from([["*"], ["plain"], ["route"], []]),
                "max_attempts": st.integers(1, 5),
                "exclude_tools": st.lists(st.sampled_from(["shell", "mail"]), unique=True),
                "newer": st.just(1),
            },
        ),
    ),
    st.tuples(st.just("flag"), st.sampled_from(["plain", "ruled"]), st.builds(_switch, st.booleans(), st.booleans(), st.booleans())),
    st.tuples(st.just("flag"), st.just("route"), st.builds(_route, st.sampled_from("mn"), st.sampled_from(["openai", "x"]))),
    st.tuples(st.just("flag"), st.just("retry"), st.builds(_retry, st.integers(1, 9))),
    st.tuples(st.just("cohort"), st.sampled_from(COHORTS), st.fixed_dictionaries({"include": st.just(["u-1"]) | st.just(["u-2"])})),
    st.tuples(
        st.just("request_class"),
        st.sampled_from(CLASSES),
        st.fixed_dictionaries({"criticality": st.just("critical"), "model": st.just("route")}, optional={"retry": st.just("retry")}),
    ),
)  # fmt: skip
_puts = st.builds(lambda each: put(each[1], msgspec.json.encode(each[2]), each[0]), _specs)
_unreadable = st.builds(lambda each: put(each[1], b'{"newer":{}}', each[0]), _specs)
_deletes = st.builds(lambda each: delete(each[1], each[0]), _specs)
_operations = st.one_of(_puts, _puts, _puts, _deletes, _unreadable)
_commits = st.lists(_operations, min_size=1, max_size=3)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), _commits),
        st.tuples(st.just("commit"), _commits),
        st.tuples(st.just("clock"), st.integers(-10, 40)),
        st.tuples(st.just("ask"), st.none()),
    ),
    min_size=1,
    max_size=25,
)


def answers(compiled: Compiled) -> list[Any]:
    """Everything that anyone can be told, but for counts."""
    told: list[Any] = [compiled.revision, [each.key for each in compiled.active], [o.key for o in compiled.overdue()]]
    for service in SERVICES:
        for context in CONTEXTS:
            told += [evaluate(compiled, flag, context, default=None, service=service) for flag in FLAGS]
            told += [policy(compiled, each, context, service=service) for each in CLASSES]
    return told


@given(_steps)
def test_applied_bit_by_bit_it_decides_as_if_loaded_whole(steps: Sequence[tuple[str, Any]]) -> None:
    grown, now = Compiled.load("e", 0, {}, service="chat"), NOON
    ends = grown.set_now(now)
    for what, given_ in steps:
        if what == "commit":
            grown.apply(given_, grown.revision + 1)
            ends = grown.set_now(now)
        elif what == "clock":
            now = NOON + timedelta(minutes=given_)
            ends = grown.set_now(now)
        whole = Compiled.load("e", grown.revision, grown.resources, service="chat")
        assert whole.set_now(now) == ends
        if what != "commit":  # now and then nothing was asked in between: there is more to retire then
            assert answers(grown) == answers(whole)
    whole = Compiled.load("e", grown.revision, grown.resources, service="chat")
    whole.set_now(now)
    assert answers(grown) == answers(whole)


@given(
    st.lists(_commits, min_size=1, max_size=12), st.lists(st.integers(1, 5), min_size=12, max_size=12), st.booleans()
)
def test_in_batches_of_any_size_it_ends_at_the_same_head(
    commits: Sequence[Sequence[Operation]], sizes: Sequence[int], reset: bool
) -> None:
    """Singly, in batches, and through a reset's snapshot; the revisions come from a signed log."""
    history = History("production")
    singly, batched = Follower(history), Follower(history)
    for each in (singly, batched):
        each.replica.restore(*history.snapshot())
    log = [history.commit(*ops) for ops in commits]
    if reset:
        log += [history.fence(history.revision + 1), history.commit(delete("plain"))]
    for message in log:
        singly.replica.offer(message, logged=True)
    rest = log
    for size in sizes:
        answers(batched.compiled)
        batched.replica.offer_all(rest[:size], logged=True)
        rest = rest[size:]
    for each in (singly, batched):
        assert (each.replica.need is Need.SNAPSHOT) is reset
        if reset:
            each.replica.restore(*history.snapshot())
        assert each.replica.chain == history.chain
        assert {tuple(ref): spec for ref, spec in each.compiled.resources.items()} == history.resources
    assert answers(singly.compiled) == answers(batched.compiled)
    commits_told = [change for change in batched.changes if change.cause == "commit"]
    assert frozenset().union(*(change.resources for change in commits_told)) == {
        ResourceRef(op.kind, op.key) for ops in commits for op in ops
    }
    assert [change.revision for change in batched.changes] == sorted(change.revision for change in batched.changes)


class Follower:
    def __init__(self, history: History) -> None:
        self.changes: list[Change] = []
        self.serving = Serving(
            history.environment,
            Compiled.load("production", -1, {}, service="chat"),
            lambda _: None,
            self.changes.append,
            lambda: NOON,
        )
        self.replica = Replica(history.environment, history.verifier(), self.serving, Counters())

    @property
    def compiled(self) -> Compiled:
        return self.serving.compiled


def test_an_answer_found_before_a_batch_claims_the_revision_before_all_of_it() -> None:
    history = History("production")
    history.set_flag("f", on=True)
    each = Follower(history)
    each.replica.restore(*history.snapshot())
    outcome = each.compiled.any["f"]({})
    each.replica.offer_all(
        [history.set_flag("f", on=False), history.set_flag("g", on=True), history.set_flag("h", on=True)]
    )
    assert each.compiled.revision == 4
    assert outcome.decide(each.compiled.revision).revision == 1, "at revision 2 it was something else"


@pytest.mark.parametrize("activations", [100, 1_000])
def test_a_commit_reads_what_it_changes_however_many_activations_there_are(
    activations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History("production")
    history.resources["safe_mode_profile", "calm"] = b'{"serve_safe_variant":["*"],"max_attempts":1}'
    for number in range(activations):
        history.resources["safe_mode_activation", f"old-{number}"] = scoped(number)
    each = Follower(history)
    each.replica.restore(*history.snapshot())
    read: list[str] = []
    monkeypatch.setattr("brownout.evaluation.compile.read", counting(reading.read, read))
    expected = [
        (put("plain", b'{"type":"boolean"}'), 0),
        (put("beta", b'{"include":["u-1"]}', "cohort"), 0),
        (put("new", scoped(1), "safe_mode_activation"), 1),
        (put("new", scoped(2), "safe_mode_activation"), 1),
        (delete("new", "safe_mode_activation"), 0),
        (put("calm", b'{"max_attempts":2}', "safe_mode_profile"), 1),
    ]
    for operation, reads in expected:
        read.clear()
        assert each.replica.offer(history.commit(operation)) is Outcome.APPLIED
        assert len(read) == reads, (operation, read)


@pytest.mark.parametrize("activations", [10, 100, 1_000])
def test_a_plan_asks_each_cohort_once_however_many_activations_name_it(activations: int) -> None:
    specs: dict[ResourceRef, Any] = {
        ResourceRef("flag", "route"): _route("m", "openai"),
        ResourceRef("request_class", "reply"): {"criticality": "critical", "model": "route"},
        ResourceRef("safe_mode_profile", "calm"): {"serve_safe_variant": ["*"]},
        ResourceRef("cohort", "beta"): {"include": ["u-1"]},
        ResourceRef("cohort", "gamma"): {"include": ["u-2"]},
    }
    for number in range(activations):
        key = ResourceRef("safe_mode_activation", f"a-{number:04}")
        scope = {"cohorts": [COHORTS[number % 2], COHORTS[number // 2 % 2]]}
        specs[key] = _activation("calm", scope, 30, "lift")
    compiled = Compiled.load("e", 1, {ref: msgspec.json.encode(spec) for ref, spec in specs.items()})
    asked: list[str] = []
    for key in COHORTS:
        cohort = compiled.cohort(key)
        cohort.contains = asking(cohort.contains, key, asked)
    for context, applied in (({"targeting_key": "u-1"}, 3), ({"targeting_key": "u-3"}, 0)):
        asked.clear()
        found = policy(compiled, "reply", context)
        assert len(found.safe_mode.activations) == pytest.approx(activations * applied / 4, abs=1)
        assert sorted(asked) == sorted(COHORTS)


def test_a_backlog_is_verified_one_by_one_and_announced_once() -> None:
    history = History("production")
    each = Follower(history)
    each.replica.restore(*history.snapshot())
    installs: list[Compiled] = []
    each.serving._install = installs.append
    backlog = [history.commit(put(f"new-{n}", scoped(n), "safe_mode_activation")) for n in range(MAX_BUFFERED)]
    for message in reversed(backlog[1:]):
        assert each.replica.offer(message) is Outcome.BEHIND
    before = len(each.changes)
    assert each.replica.offer(backlog[0], logged=True) is Outcome.APPLIED
    assert each.replica.counters.applied == MAX_BUFFERED
    (change,) = each.changes[before:]
    assert (change.revision, change.cause, len(change.resources)) == (history.revision, "commit", MAX_BUFFERED)
    assert installs == []
    assert each.replica.chain == history.chain


def test_one_bad_revision_ends_the_batch_where_it_stands() -> None:
    history = History("production")
    each = Follower(history)
    each.replica.restore(*history.snapshot())
    log = [history.set_flag(f"f-{n}", on=True) for n in range(6)]
    forged = History("production", seed=b"intruder").sign("log", log[3].payload)
    taken = each.replica.offer_all([*log[:3], forged, *log[4:]], logged=True)
    assert (taken.applied, each.replica.revision, taken.outcome) == (3, 3, Outcome.BEHIND)
    assert each.replica.counters.bad_signatures == 1
    assert each.replica.offer(log[3], logged=True) is Outcome.APPLIED
    assert each.replica.revision == 6


def test_a_put_without_its_spec_is_reached_through_a_snapshot() -> None:
    history = History("production")
    each = Follower(history)
    each.replica.restore(*history.snapshot())
    good = history.set_flag("f", on=True)
    history.resources["flag", "g"] = history.resources["flag", "f"]
    lacking = envelope_without_spec(history)
    assert each.replica.offer_all([good, lacking], logged=True).applied == 1
    assert (each.replica.revision, each.replica.need) == (1, Need.SNAPSHOT)
    each.replica.restore(*history.snapshot())
    assert (each.replica.revision, each.replica.need) == (2, Need.NOTHING)


def envelope_without_spec(history: History) -> Signed:
    """As no control plane of this version writes it."""
    envelope = wire.Envelope(1, "production", 1, 2, history.chain, 1, (Operation("put", "flag", "g"),))
    payload = msgspec.json.encode(envelope)
    history.revision, history.chain = 2, wire.chain(history.chain, payload)
    return history.sign("log", payload)


def scoped(number: int) -> bytes:
    scope = ({}, {"request_classes": ["reply"]}, {"services": ["mail"]}, {"cohorts": ["beta"]})[number % 4]
    spec = _activation("calm", scope, 0, "lift") | {"expires_at": f"{2100 + number % 50}-01-01T00:00:00Z"}
    return msgspec.json.encode(spec)


def counting(function: Any, calls: list[str]) -> Any:
    def called(*arguments: Any) -> Any:
        calls.append(str(arguments[0]))
        return function(*arguments)

    return called


def asking(function: Any, key: str, asked: list[str]) -> Any:
    def called(context: Any) -> Any:
        asked.append(key)
        return function(context)

    return called
