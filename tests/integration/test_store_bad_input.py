"""Everything that a commit refuses: with a code and a pointer, nothing written, no revision used."""

import msgspec
import pytest

from brownout.wire import Operation
from controlplane.configuration.store import Store
from controlplane.errors import InvalidInputError
from tests.integration.resources import (
    activation,
    cohort,
    delete,
    flag,
    in_cohort,
    ladder_flag,
    model_flag,
    put,
    raw,
    request_class,
)

pytestmark = pytest.mark.anyio

WORDS = {"author": "mara", "message": "try it"}
PROFILE = "safe_mode_profile", "calm", {"max_temperature": 0.1}
SPLIT = {"split": [{"variant": "on", "weight_bp": 9_000}, {"variant": "off", "weight_bp": 999}]}
NESTED = b"[" * 101 + b"]" * 101
CASES: dict[str, tuple[list[Operation], str, str]] = {
    "an unknown kind": ([raw("gadget", "a", b"{}")], "unknown_kind", "/ops/0/kind"),
    "a key in upper case": ([put(cohort("Beta"))], "invalid_key", "/ops/0/key"),
    "a key that is empty": ([put(cohort(""))], "invalid_key", "/ops/0/key"),
    "a key that is too long": ([put(cohort("a" * 101))], "invalid_key", "/ops/0/key"),
    "a key with a line break": ([put(cohort("beta\n"))], "invalid_key", "/ops/0/key"),
    "a key that starts with a dot": ([put(cohort(".beta"))], "invalid_key", "/ops/0/key"),
    "an unknown field": ([put(flag("a", colour="red"))], "unknown_field", "/flag/a/colour"),
    "a wrong type": ([put(flag("a", enabled="yes"))], "wrong_type", "/flag/a/enabled"),
    "a value of another type": (
        [put(flag("a", variants={"on": 1, "off": False}))],
        "wrong_type",
        "/flag/a/variants/on",
    ),
    "a missing field": ([raw("flag", "a", b"{}")], "missing_field", "/flag/a/type"),
    "a dangling reference": (
        [put(flag("a", rules=[in_cohort("nobody")]))],
        "unknown_reference",
        "/flag/a/rules/0/if/0/values/0",
    ),
    "a split that is not whole": ([put(flag("a", default=SPLIT))], "split_sum", "/flag/a/default/split"),
    "a variant that is not there": ([put(flag("a", default="maybe"))], "unknown_variant", "/flag/a/default"),
    "a ladder naming a missing target": (
        [
            put(model_flag("route", "small")),
            put(ladder_flag("ladder", "huge")),
            put(request_class("support-reply", model="route", ladder="ladder")),
        ],
        "missing_target",
        "/request_class/support-reply/ladder",
    ),
    "a flag of the wrong type for its class": (
        [put(flag("route")), put(request_class("support-reply", model="route"))],
        "wrong_reference_type",
        "/request_class/support-reply/model",
    ),
    "more than 1 MB": ([put(flag("a", description="x" * 1_000_001))], "too_large", "/flag/a"),
    "101 levels": ([raw("flag", "a", b'{"schema":' + NESTED + b"}")], "too_deep", "/flag/a/schema" + "/0" * 99),
    "100,000 levels": ([raw("flag", "a", b"[" * 100_000 + b"]" * 100_000)], "too_deep", "/flag/a"),
    "NaN": (
        [raw("safe_mode_profile", "a", b'{"max_temperature":NaN}')],
        "not_finite",
        "/safe_mode_profile/a/max_temperature",
    ),
    "an infinite number": (
        [raw("safe_mode_profile", "a", b'{"max_temperature":1e999}')],
        "not_finite",
        "/safe_mode_profile/a/max_temperature",
    ),
    "duplicate keys": ([raw("cohort", "a", b'{"by":"x","by":"y"}')], "duplicate_key", "/cohort/a/by"),
    "what is no JSON": ([raw("cohort", "a", b"{by}")], "invalid_json", "/cohort/a"),
    "null": ([raw("cohort", "a", b"null")], "wrong_type", "/cohort/a"),
    "the same resource twice": ([put(cohort("a")), delete("cohort", "a")], "duplicate", "/ops/1"),
    "deleting what is not there": ([delete("cohort", "a")], "not_found", "/ops/0/key"),
    "a put without a spec": ([Operation("put", "cohort", "a")], "invalid_operation", "/ops/0/spec"),
    "a delete with a spec": (
        [Operation("del", "cohort", "a", msgspec.Raw(b"{}"))],
        "invalid_operation",
        "/ops/0/spec",
    ),
    "a reset": ([Operation("reset")], "invalid_operation", "/ops/0/op"),
    "safe mode without a reason": (
        [put(PROFILE), put(activation("now", "calm", reason=None))],
        "missing_field",
        "/safe_mode_activation/now/reason",
    ),
    "safe mode with a blank reason": (
        [put(PROFILE), put(activation("now", "calm", reason="  "))],
        "invalid_value",
        "/safe_mode_activation/now/reason",
    ),
    "safe mode without an expiry": (
        [put(PROFILE), put(activation("now", "calm", expires_at=None))],
        "missing_field",
        "/safe_mode_activation/now/expires_at",
    ),
    "safe mode that has expired": (
        [put(PROFILE), put(activation("now", "calm", expires_at="2026-01-02T00:00:00Z"))],
        "expired",
        "/safe_mode_activation/now/expires_at",
    ),
    "safe mode with an unknown profile": (
        [put(activation("now", "calm"))],
        "unknown_reference",
        "/safe_mode_activation/now/profile",
    ),
}


@pytest.mark.parametrize("what", CASES)
async def test_a_commit_refuses(store: Store, what: str) -> None:
    ops, code, pointer = CASES[what]
    good = put(cohort("good"))
    with pytest.raises(InvalidInputError) as caught:
        await store.commit("production", [*ops, good], **WORDS)
    assert (code, pointer) in [(fault.code, fault.pointer) for fault in caught.value.faults]
    assert (await store.preview("production", [*ops, good])).faults == caught.value.faults
    assert (await store.head("production")).revision == 0
    assert (await store.state("production")).resources == {}
    assert await store.list_commits("production") == ()


async def test_a_change_that_breaks_what_was_not_sent_is_refused(store: Store) -> None:
    await store.commit(
        "production",
        [
            put(cohort("beta")),
            put(flag("web-search", rules=[in_cohort("beta")])),
            put(model_flag("route", "small", "big")),
            put(ladder_flag("ladder", "big")),
            put(request_class("support-reply", model="route", ladder="ladder")),
        ],
        **WORDS,
    )
    for ops, faults in (
        ([delete("cohort", "beta")], [("unknown_reference", "/flag/web-search/rules/0/if/0/values/0")]),
        ([put(model_flag("route", "small"))], [("missing_target", "/request_class/support-reply/ladder")]),
        ([put(flag("ladder"))], [("wrong_reference_type", "/request_class/support-reply/ladder")]),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await store.commit("production", ops, **WORDS)
        assert [(fault.code, fault.pointer) for fault in caught.value.faults] == faults
    assert (await store.head("production")).revision == 1


async def test_every_fault_of_every_operation_is_named(store: Store) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await store.commit("production", [put(flag("a", default="x", enabled=1)), raw("gadget", "B", b"")], **WORDS)
    pointers = [fault.pointer for fault in caught.value.faults]
    assert {"/flag/a/enabled", "/ops/1/kind", "/ops/1/key"} <= set(pointers)


async def test_of_very_many_faults_the_first_are_named_and_the_rest_counted(store: Store) -> None:
    ops = [put(cohort("beta")), *(put(flag(f"f-{n}", rules=[in_cohort("beta")])) for n in range(150))]
    await store.commit("production", ops, **WORDS)
    with pytest.raises(InvalidInputError, match="and 149 more") as caught:
        await store.commit("production", [delete("cohort", "beta")], **WORDS)
    assert len(caught.value.faults) == 100
    assert len((await store.preview("production", [delete("cohort", "beta")])).faults) == 100
