"""An environment in use: commits, expiry, exact revisions, atomic policies, counts, other threads and forks."""

import copy
import json
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from brownout.evaluation.compile import MAX_VIEWS, Compiled
from brownout.evaluation.counts import FlagCount, PolicyCount
from brownout.evaluation.evaluate import Evaluator, evaluate, policy
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.wire import Operation

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BETA = {"id": "beta", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": "on"}


class Client(Evaluator):
    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled


def switch(*, on: bool, **more: Any) -> dict[str, Any]:
    default = "on" if on else "off"
    return {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": default} | more


def route(model: str) -> dict[str, Any]:
    targets = {"t": {"provider": "openai", "model": model}}
    return {
        "type": "model_route",
        "variants": {"v": {"targets": targets, "primary": "t"}},
        "off_variant": "v",
        "default": "v",
    }


def retry(attempts: int) -> dict[str, Any]:
    return {"type": "retry_policy", "variants": {"v": {"max_attempts": attempts}}, "off_variant": "v", "default": "v"}


def activation(hours: int, profile: str = "safe", **more: Any) -> dict[str, Any]:
    return {
        "profile": profile,
        "reason": "outage",
        "actor": "ada",
        "activated_at": NOON.isoformat(),
        "expires_at": (NOON + timedelta(hours=hours)).isoformat(),
    } | more


SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("flag", "plain"): switch(on=False, safe_variant="on"),
    ("flag", "ruled"): switch(on=False, rules=[BETA]),
    ("cohort", "beta"): {"include": ["u-1"]},
    ("flag", "route"): route("one"),
    ("flag", "retry"): retry(1),
    ("flag", "ladder"): {"type": "fallback_ladder", "variants": {"v": {"rungs": [{"type": "template", "template": "sorry"}]}}, "off_variant": "v", "default": "v"},
    ("response_template", "sorry"): {"text": "Sorry."},
    ("request_class", "reply"): {"criticality": "critical", "model": "route", "retry": "retry", "ladder": "ladder"},
    ("safe_mode_profile", "safe"): {"serve_safe_variant": ["*"], "max_attempts": 1},
}  # fmt: skip


def stored(kind: str, key: str, spec: dict[str, Any]) -> bytes:
    return encode(parse(kind, key, spec))


def put(kind: str, key: str, spec: dict[str, Any]) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(stored(kind, key, spec)))


def delete(kind: str, key: str) -> Operation:
    return Operation("del", kind, key)


@pytest.fixture
def compiled() -> Compiled:
    resources = {ResourceRef(*ref): stored(*ref, spec) for ref, spec in SPECS.items()}
    return Compiled.load("production", 1, resources, service="chat")


def value(compiled: Compiled, key: str, **context: Any) -> Any:
    return evaluate(compiled, key, context, default=None).value


def test_a_commit_changes_what_it_touches_and_what_depends_on_it(compiled: Compiled) -> None:
    assert value(compiled, "ruled", targeting_key="u-2") is False
    assert policy(compiled, "reply").ladder.rungs[0].text == "Sorry."
    compiled.apply([put("cohort", "beta", {"include": ["u-2"]})], 2)
    assert value(compiled, "ruled", targeting_key="u-2") is True
    compiled.apply([put("response_template", "sorry", {"text": "Later."})], 3)
    assert policy(compiled, "reply").ladder.rungs[0].text == "Later."
    compiled.apply([put("flag", "route", route("two"))], 4)
    model = policy(compiled, "reply").model
    assert model is not None
    assert model.model == "two"
    compiled.apply([put("request_class", "reply", {"criticality": "critical", "model": "route"})], 5)
    assert policy(compiled, "reply").ladder.rungs == ()
    assert compiled.revision == 5


def test_what_is_deleted_is_not_found_and_what_is_added_is(compiled: Compiled) -> None:
    assert value(compiled, "plain") is False
    compiled.apply([delete("flag", "plain"), put("flag", "new", switch(on=True))], 2)
    assert evaluate(compiled, "plain", default=None).error_code == "FLAG_NOT_FOUND"
    assert value(compiled, "new") is True
    assert ResourceRef("flag", "plain") not in compiled.resources
    compiled.apply([delete("request_class", "reply")], 3)
    assert policy(compiled, "reply").error_code == "FLAG_NOT_FOUND"


def test_a_flag_that_changes_type_is_found_under_its_new_type_only(compiled: Compiled) -> None:
    client = Client(compiled)
    assert client.boolean("plain", {}, True) is False
    text = {"type": "string", "variants": {"v": "text"}, "off_variant": "v", "default": "v"}
    compiled.apply([put("flag", "plain", text)], 2)
    assert client.boolean("plain", {}, True) is True
    assert client.decide("plain", {}, True).error_code == "TYPE_MISMATCH"
    assert client.string("plain") == "text"


def test_a_commit_that_cannot_be_applied_changes_nothing(compiled: Compiled) -> None:
    before = dict(compiled.resources)
    with pytest.raises(ValueError, match="reset"):
        compiled.apply([delete("flag", "plain"), Operation("reset")], 2)
    with pytest.raises(ValueError, match="put"):
        compiled.apply([delete("flag", "plain"), Operation("put", "flag", "x")], 2)
    assert dict(compiled.resources) == before
    assert compiled.revision == 1


def test_decisions_are_made_once_and_carry_the_revision_of_their_evaluation(compiled: Compiled) -> None:
    client = Client(compiled)
    first = client.decide("plain", {}, True)
    assert client.decide("plain", {}, True) is first
    compiled.apply([put("flag", "ruled", switch(on=True))], 2)
    second = client.decide("plain", {}, True)
    assert (first.revision, second.revision) == (1, 2)
    assert client.decide("plain", {}, True) is second
    old = policy(compiled, "reply")
    assert policy(compiled, "reply") is old
    compiled.apply([put("flag", "ruled", switch(on=False))], 3)
    new = policy(compiled, "reply")
    assert (old.revision, new.revision, new.provenance["model"].revision) == (2, 3, 3)


def test_an_answer_found_before_a_commit_never_claims_its_revision(compiled: Compiled) -> None:
    outcome = compiled.any["plain"]({})
    reply = compiled.policies["reply"]({})
    compiled.apply([put("flag", "plain", switch(on=True)), put("flag", "route", route("two"))], 2)
    assert outcome.decide(compiled.revision).revision == 1
    assert reply.at(compiled.revision).revision == 1
    assert evaluate(compiled, "plain", default=None).revision == 2


def test_safe_mode_starts_and_ends_with_its_activation(compiled: Compiled) -> None:
    client = Client(compiled)
    assert client.boolean("plain") is False
    assert policy(compiled, "reply").safe_mode.active is False
    compiled.apply([put("safe_mode_activation", "now", activation(1))], 2)
    assert client.boolean("plain") is True
    assert client.decide("plain", {}, False).metadata == {"safe_mode": "now"}
    assert policy(compiled, "reply").safe_mode.activations == ("now",)
    compiled.apply([put("safe_mode_profile", "safe", {})], 3)
    assert client.boolean("plain") is False
    compiled.apply([delete("safe_mode_activation", "now")], 4)
    assert policy(compiled, "reply").safe_mode.active is False


def test_an_activation_scoped_to_a_cohort_follows_the_cohort(compiled: Compiled) -> None:
    compiled.apply([put("safe_mode_activation", "now", activation(1, scope={"cohorts": ["beta"]}))], 2)
    assert value(compiled, "plain", targeting_key="u-2") is False
    assert policy(compiled, "reply", {"targeting_key": "u-2"}).safe_mode.active is False
    compiled.apply([put("cohort", "beta", {"include": ["u-2"]})], 3)
    assert value(compiled, "plain", targeting_key="u-2") is True
    assert policy(compiled, "reply", {"targeting_key": "u-2"}).safe_mode.active is True


def test_who_cannot_be_read_is_shed_with_everybody_and_with_nobody_else(compiled: Compiled) -> None:
    compiled.apply([put("safe_mode_activation", "now", activation(1))], 2)
    for revision, share, shed in ((3, 10_000, True), (4, 9_999, False)):
        compiled.apply([put("safe_mode_profile", "safe", {"shed_bp": {"critical": share}})], revision)
        for context in ({"targeting_key": "\ud800"}, {"targeting_key": object()}, {}, None):
            assert policy(compiled, "reply", context).shed is shed


def newer(operation: Operation) -> Operation:
    """As a newer control plane would write it."""
    assert isinstance(operation.spec, msgspec.Raw)
    return Operation("put", operation.kind, operation.key, msgspec.Raw(b'{"newer":1,' + bytes(operation.spec)[1:]))


def test_a_policy_says_that_it_lacks_a_flag_and_has_it_again_when_it_can_be_read(compiled: Compiled) -> None:
    fields = {"model": "route", "retry": "retry"}
    for lacking in (["route"], ["route", "retry"]):
        sound = [put("flag", "route", route("two")), put("flag", "retry", retry(1))]
        compiled.apply([put("request_class", "reply", {"criticality": "critical", **fields})], 2)
        compiled.apply([newer(operation) if operation.key in lacking else operation for operation in sound], 3)
        found = policy(compiled, "reply", {"targeting_key": "u-1"})
        assert (found.model, found.error_code) == (None, "PARSE_ERROR")
        compiled.apply(sound, 4)
        found = policy(compiled, "reply", {"targeting_key": "u-1"})
        assert (found.model and found.model.model, found.error_code) == ("two", None)


def test_an_activation_for_a_cohort_that_cannot_be_read_applies_to_everyone(compiled: Compiled) -> None:
    compiled.apply([put("safe_mode_activation", "now", activation(1, scope={"cohorts": ["beta"]}))], 2)
    compiled.apply([newer(put("cohort", "beta", {"include": ["u-1"]}))], 3)
    found = policy(compiled, "reply", {"targeting_key": "u-2"})
    assert (found.error_code, found.safe_mode.active) == (None, True)
    assert evaluate(compiled, "plain", {"targeting_key": "u-1"}, default=None).error_code is None
    compiled.apply([put("cohort", "beta", {"include": ["u-1"]})], 4)
    assert policy(compiled, "reply", {"targeting_key": "u-1"}).safe_mode.active is True
    assert policy(compiled, "reply", {"targeting_key": "u-2"}).safe_mode.active is False


def test_of_a_newer_profile_the_limits_that_are_known_hold(compiled: Compiled) -> None:
    compiled.apply([put("safe_mode_activation", "now", activation(1))], 2)
    compiled.apply(
        [newer(put("safe_mode_profile", "safe", {"max_output_tokens": 64, "shed_bp": {"critical": 10_000}}))], 3
    )
    assert policy(compiled, "reply", {"targeting_key": "u-1"}).shed is True
    unknown = Operation("put", "safe_mode_profile", "safe", msgspec.Raw(b'{"sensitive":"something newer"}'))
    compiled.apply([unknown], 4)
    found = policy(compiled, "reply", {"targeting_key": "u-1"})
    assert (found.shed, found.error_code, found.safe_mode.active) == (False, None, True)


def test_expiry_follows_the_clock_that_is_handed_in(compiled: Compiled) -> None:
    compiled.apply(
        [
            put("safe_mode_activation", "short", activation(1)),
            put("safe_mode_activation", "held", activation(2, on_expiry="hold", scope={"services": ["mail"]})),
        ],
        2,
    )
    assert value(compiled, "plain") is True
    assert compiled.set_now(NOON) == NOON + timedelta(hours=1)
    assert value(compiled, "plain") is True
    assert compiled.set_now(NOON + timedelta(hours=1)) == NOON + timedelta(hours=2)
    assert evaluate(compiled, "plain", default=None).revision == 2
    assert value(compiled, "plain") is False
    assert compiled.overdue() == ()
    assert compiled.set_now(NOON + timedelta(hours=2)) is None
    assert [overdue.key for overdue in compiled.overdue()] == ["held"]
    assert evaluate(compiled, "plain", default=None, service="mail").value is True


def test_a_new_activation_is_in_force_before_the_clock_is_told_again(compiled: Compiled) -> None:
    compiled.set_now(NOON - timedelta(days=1))
    compiled.apply([put("safe_mode_activation", "now", activation(1))], 2)
    assert value(compiled, "plain") is True


def test_services_are_kept_apart(compiled: Compiled) -> None:
    compiled.apply([put("safe_mode_activation", "now", activation(1, scope={"services": ["chat"]}))], 2)
    assert value(compiled, "plain") is True
    assert evaluate(compiled, "plain", default=None, service="mail").value is False
    assert policy(compiled, "reply").safe_mode.active is True
    assert policy(compiled, "reply", service="mail").safe_mode.active is False


def test_safe_mode_of_one_service_leaves_no_old_flag_in_another_ones_policy(compiled: Compiled) -> None:
    spec = route("one") | {"safe_variant": "v"}
    compiled.apply([put("flag", "route", spec)], 2)
    policy(compiled, "reply")
    compiled.apply([put("safe_mode_activation", "now", activation(1, scope={"services": ["mail"]}))], 3)
    found = policy(compiled, "reply")
    assert (found.safe_mode.active, found.revision, found.provenance["model"].revision) == (False, 3, 3)


def test_activations_of_one_class_leave_nothing_behind_in_its_flags(compiled: Compiled) -> None:
    """They retire the class's policies only, so what they serve must go with those."""
    compiled.apply([put("flag", "route", route("one") | {"safe_variant": "v"})], 2)
    for number in range(3, 50):
        compiled.apply(
            [put("safe_mode_activation", f"n-{number}", activation(1, scope={"request_classes": ["reply"]}))], number
        )
        assert policy(compiled, "reply").provenance["model"].metadata == {"safe_mode": "n-10" if number > 9 else "n-3"}
    flag = compiled._flags["route"]
    assert flag is not None
    assert len(flag.outcomes) == 1


def test_object_values_are_shared_and_so_cannot_be_changed() -> None:
    spec = {"type": "object", "variants": {"v": {"list": [{"a": 1}]}}, "off_variant": "v", "default": "v"}
    compiled = Compiled.load("e", 1, {ResourceRef("flag", "f"): stored("flag", "f", spec)})
    found: Any = Client(compiled).object("f")
    assert found == {"list": [{"a": 1}]}
    for change in (
        lambda: found.update(x=1),
        lambda: found.pop("list"),
        lambda: found.__setitem__("x", 1),
        lambda: found["list"].append(1),
        found["list"][0].clear,
        found["list"].sort,
    ):
        with pytest.raises(TypeError, match="shared"):
            change()
    assert json.loads(json.dumps(found)) == msgspec.json.decode(msgspec.json.encode(found)) == found
    for mine in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        mine["list"][0]["a"] = 2
        assert type(mine) is dict
    assert copy.copy(found) == found.copy() == found == {"list": [{"a": 1}]}


def test_who_has_no_unit_is_counted_apart() -> None:
    split = {"split": [{"variant": "on", "weight_bp": 100}, {"variant": "off", "weight_bp": 9_900}]}
    spec = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": split}
    compiled = Compiled.load("production", 1, {ResourceRef("flag", "canary"): msgspec.json.encode(spec)})
    for context in ({}, {"targeting_key": ""}, {"targeting_key": None}, {"targeting_key": 1.5}):
        evaluate(compiled, "canary", context, default=None)
    with_unit = evaluate(compiled, "canary", {"targeting_key": "u-1"}, default=None)
    assert compiled.drain_counts().flags == {
        FlagCount("canary", "off", "NO_UNIT"): 4,
        FlagCount("canary", with_unit.variant, "SPLIT"): 1,
    }


def test_every_answer_is_counted_once(compiled: Compiled) -> None:
    client = Client(compiled)
    for _ in range(3):
        client.boolean("ruled", {"targeting_key": "u-1"})
    client.decide("ruled", {"targeting_key": "u-2"}, False)
    client.string("ruled")
    client.boolean("nope")
    evaluate(compiled, "ruled", {"targeting_key": "u-1"}, default=None)
    client.policy("reply")
    client.policy("reply", {})
    counts = compiled.drain_counts()
    assert counts.flags == {
        FlagCount("ruled", "on", "TARGETING_MATCH"): 4,
        FlagCount("ruled", "off", "DEFAULT"): 1,
        FlagCount("ruled", None, "ERROR"): 1,
        FlagCount("", None, "ERROR"): 1,
        FlagCount("route", "v", "STATIC"): 2,
        FlagCount("ladder", "v", "STATIC"): 2,
        FlagCount("retry", "v", "STATIC"): 2,
    }
    assert counts.policies == {PolicyCount("reply", "t", False): 2}
    assert compiled.drain_counts().flags == {}


def test_counts_survive_commits_and_snapshots(compiled: Compiled) -> None:
    client = Client(compiled)
    client.boolean("plain")
    late = compiled.boolean["plain"]({})
    compiled.apply([put("flag", "plain", switch(on=True))], 2)
    client.boolean("plain")
    replaced = Compiled.load("production", 3, compiled.resources, previous=compiled)
    client._compiled = replaced
    client.boolean("plain")
    late.count += 1
    found = replaced.drain_counts().flags
    assert found == {FlagCount("plain", "off", "STATIC"): 2, FlagCount("plain", "on", "STATIC"): 2}
    late.count += 1
    assert replaced.drain_counts().flags == {FlagCount("plain", "off", "STATIC"): 1}


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_services_and_instants_from_anywhere_take_bounded_memory_and_lose_no_count(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brownout.evaluation.compile.MAX_RETIRED", 10)
    compiled.apply([put("safe_mode_activation", "now", activation(1))], 2)
    for number in range(200):
        compiled.set_now(NOON + timedelta(hours=number % 2 * 2))
        assert evaluate(compiled, "plain", default=None, service=f"s-{number}").value is (number % 2 == 0)
        policy(compiled, "reply", service=f"s-{number}")
    assert len(compiled._views) <= MAX_VIEWS
    assert len(compiled._retired) <= 10 + MAX_VIEWS
    counts = compiled.drain_counts()
    assert sum(n for key, n in counts.flags.items() if key.flag == "plain") == 200
    assert sum(counts.policies.values()) == 200
    assert evaluate(compiled, "plain", default=None, service="s-0").value is False


def test_no_count_is_lost_between_threads(compiled: Compiled) -> None:
    client = Client(compiled)
    each = 20_000

    def work() -> None:
        for _ in range(each):
            client.boolean("plain")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled.drain_counts().flags == {FlagCount("plain", "off", "STATIC"): 4 * each}


@pytest.mark.usefixtures("eager_switching")
def test_a_policy_never_mixes_two_commits_and_revisions_are_exact(compiled: Compiled) -> None:
    """Every commit sets the model and the attempts to its own revision, so an answer shows which it came from."""
    last = 1_500
    compiled.apply([put("flag", "route", route("2")), put("flag", "retry", retry(2))], 2)
    commits = [
        ([put("flag", "route", route(str(rev))), put("flag", "retry", retry(rev % 100 + 1))], rev)
        for rev in range(3, last)
    ]
    faults: list[object] = []
    done = threading.Event()

    def read() -> None:
        seen = 0
        while not done.is_set():
            found = compiled.policy("reply", {})
            assert found.model is not None
            revision = int(found.model.model)
            attempts = 2 if revision == 2 else revision % 100 + 1
            decided = evaluate(compiled, "route", default=None)
            if (found.retry.max_attempts, found.revision) != (attempts, revision) or revision < seen:
                faults.append((revision, found.retry.max_attempts, found.revision, seen))
            if decided.value is None or int(decided.value.targets["t"].model) != decided.revision:
                faults.append(decided)
            seen = revision

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for ops, revision in commits:
        compiled.apply(ops, revision)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_threads_that_miss_a_policy_at_once_share_its_plan(compiled: Compiled) -> None:
    """A plan of its own would outlive the commit that ends it, and carry revisions that it is not of."""
    view = compiled.view(None)
    first, second = (compiled.find_policy(view, "reply")({}) for _ in range(2))
    compiled.apply([put("flag", "route", route("2"))], 2)
    assert first is second
    assert first.at(2).revision == 1


def test_a_forked_child_decides_while_the_parent_applies(compiled: Compiled) -> None:
    """The child would hang if fork caught the lock taken, or half a commit."""
    stop = threading.Event()

    def churn() -> None:
        revision = 1
        while not stop.is_set():
            revision += 1
            compiled.apply([put("flag", "plain", switch(on=revision % 2 == 0))], revision)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        for _ in range(10):
            child = context.Process(target=_decide_in_child, args=(compiled,))
            child.start()
            child.join(timeout=30)
            assert child.exitcode == 0
    finally:
        stop.set()
        thread.join()


def _decide_in_child(compiled: Compiled) -> None:
    decision = evaluate(compiled, "plain", default=None)
    assert decision.value is (decision.revision > 1 and decision.revision % 2 == 0)
    compiled.apply([put("flag", "plain", switch(on=True))], decision.revision + 1)
    assert evaluate(compiled, "plain", default=None).value is True


def test_a_memo_that_is_full_starts_anew_and_loses_no_count(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brownout.evaluation.plan.MAX_REMEMBERED", 2)
    variants = {f"v{n}": {"max_attempts": n + 1} for n in range(5)}
    rules = [{"id": f"r{n}", "if": [{"attribute": "n", "op": "in", "values": [n]}], "serve": f"v{n}"} for n in range(5)]
    many = {"type": "retry_policy", "variants": variants, "off_variant": "v0", "default": "v0", "rules": rules}
    compiled.apply([put("flag", "retry", many)], 2)
    for _ in range(2):
        for n in range(5):
            assert policy(compiled, "reply", {"n": n}).retry.max_attempts == n + 1
    assert compiled.drain_counts().policies == {PolicyCount("reply", "t", False): 10}


def test_plain_questions_have_plain_answers() -> None:
    specs = {
        "integer": ({"v": 3}, 3),
        "float": ({"v": 3}, 3.0),
        "string": ({"v": "x"}, "x"),
    }
    compiled = Compiled.load(
        "e",
        1,
        {
            ResourceRef("flag", kind): stored(
                "flag", kind, {"type": kind, "variants": variants, "off_variant": "v", "default": "v"}
            )
            for kind, (variants, _) in specs.items()
        },
    )
    client = Client(compiled)
    assert (client.integer("integer"), client.float("float"), client.string("string")) == (3, 3.0, "x")
    assert (client.integer("float", default=7), client.float("integer", default=7.5)) == (7, 7.5)
    assert type(client.float("float")) is float
    assert client.object("string", default=None) is None
