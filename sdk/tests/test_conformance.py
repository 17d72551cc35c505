"""Replays sdk/conformance: every golden case through the kernel's public functions."""

from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brownout.evaluation.bucketing import bucket
from brownout.evaluation.decision import Decision
from brownout.evaluation.evaluate import evaluate, policy
from brownout.evaluation.policy import Policy
from brownout.evaluation.trace import trace
from brownout.model.parse import decode, encode
from brownout.model.resources import Operator, ResourceRef
from sdk.conformance import Golden, files, flag_cases, policy_cases, read, resources, vectors
from sdk.tests.murmur3 import murmur3

FLAG_CASES = flag_cases()
POLICY_CASES = policy_cases()
_POLICY_TYPES = get_type_hints(Policy)


def said(decision: Decision[Any]) -> dict[str, Any]:
    """A decision as golden files write it."""
    optional = ("variant", "rule", "error_code")
    found: dict[str, Any] = {"value": decision.value, "reason": decision.reason.value}
    found |= {name: getattr(decision, name) for name in optional if getattr(decision, name) is not None}
    if decision.metadata:
        found["metadata"] = dict(decision.metadata)
    return found


@pytest.mark.parametrize("golden", FLAG_CASES, ids=str)
def test_flag(golden: Golden) -> None:
    case, compiled = golden.case, golden.compiled()
    assert case.flag is not None
    decision = evaluate(compiled, case.flag, case.context, default=case.default, type=case.type, service=case.service)
    assert said(decision) == case.decision
    assert type(decision.value) is type(case.decision["value"]) or isinstance(decision.value, dict)
    assert (decision.flag, decision.revision) == (case.flag, compiled.revision)


@pytest.mark.parametrize("golden", [golden for golden in FLAG_CASES if golden.case.type is None], ids=str)
def test_the_trace_of_a_flag_tells_the_same_story(golden: Golden) -> None:
    case, compiled = golden.case, golden.compiled()
    assert case.flag is not None
    told = trace(compiled, case.flag, case.context, service=case.service)
    assert told.decision == evaluate(compiled, case.flag, case.context, default=None, service=case.service)
    for rule in told.rules:
        assert rule.matched == all(clause.result == "held" for clause in rule.clauses)
    assert [rule.id for rule in told.rules if rule.matched] == ([told.decision.rule] if told.decision.rule else [])


@pytest.mark.parametrize("golden", POLICY_CASES, ids=str)
def test_policy(golden: Golden) -> None:
    case, compiled = golden.case, golden.compiled()
    assert case.request_class is not None
    found = policy(compiled, case.request_class, case.context, service=case.service)
    assert found.revision == compiled.revision
    for field, expected in case.policy.items():
        if field == "provenance":
            told = {name: said(decision) | {"flag": decision.flag} for name, decision in found.provenance.items()}
            for decision in told.values():
                del decision["value"]
            assert told == expected
        elif field == "safe_mode":
            # Where each comes from is tested in test_outside.py: evaluators of other origins have none to tell.
            told = msgspec.structs.replace(found.safe_mode, applied=())
            assert told == msgspec.convert(expected, _POLICY_TYPES[field])
            assert [(one.key, one.origin) for one in found.safe_mode.applied] == [
                (key, "log") for key in told.activations
            ]
        else:
            assert getattr(found, field) == msgspec.convert(expected, _POLICY_TYPES[field]), field


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: f"{vector.seed[:20]}:{vector.unit[:20]}")
def test_bucket(vector: Any) -> None:
    assert murmur3(f"{vector.seed}:{vector.unit}".encode()) == vector.hash
    assert bucket(vector.seed, vector.unit) == vector.bucket


@given(st.text(), st.text())
def test_buckets_agree_with_an_independent_murmur3(seed: str, unit: str) -> None:
    assert bucket(seed, unit) == murmur3(f"{seed}:{unit}".encode()) * 10_000 >> 32


def test_the_independent_murmur3_agrees_with_published_vectors() -> None:
    """From the SMHasher discussion at https://stackoverflow.com/q/14747343."""
    assert murmur3(b"", 0) == 0
    assert murmur3(b"", 1) == 0x514E28B7
    assert murmur3(b"aaaa", 0x9747B28C) == 0x5A97808A
    assert murmur3(b"Hello, world!", 0x9747B28C) == 0x24884CBA
    assert murmur3(b"The quick brown fox jumps over the lazy dog", 0x9747B28C) == 0x2FA826CD


def test_golden_environments_are_canonical_when_stored() -> None:
    for file in files():
        for (kind, _), raw in resources(file).items():
            assert encode(decode(kind, raw)) == raw


def test_the_suite_covers_every_operator_both_ways_and_every_reason() -> None:
    used: set[tuple[str, bool]] = set()
    for file in files():
        for ref, raw in resources(file).items():
            used |= _operators(ref, raw)
    operators = dict.fromkeys(Operator.__args__)  # type: ignore[attr-defined]
    assert used == {(operator, negate) for operator in operators for negate in (False, True)}
    reasons = {golden.case.decision["reason"] for golden in FLAG_CASES}
    assert reasons == {"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "ERROR"}
    assert len(FLAG_CASES) + len(POLICY_CASES) + len(vectors()) >= 200
    names = [(file, case.name) for file in files() for case in read(file).cases]
    assert len(names) == len(set(names))


def _operators(ref: ResourceRef, raw: bytes) -> set[tuple[str, bool]]:
    found: set[tuple[str, bool]] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "op" in node:
                found.add((node["op"], node.get("negate", False)))
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(msgspec.json.decode(raw))
    return found
