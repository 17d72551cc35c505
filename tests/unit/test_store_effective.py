from datetime import UTC, datetime

import pytest

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.draft import draft, settle
from controlplane.configuration.store.effective import effective
from tests.integration.resources import (
    Put,
    activation,
    cohort,
    delete,
    flag,
    in_cohort,
    model_flag,
    put,
    request_class,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OURS = {"owned"}
"""A rollout stands here without its rules, which no commit would let pass: only the words are looked at."""


def prompt_flag(text: str) -> Put:
    value = {"messages": [{"role": "system", "text": text}]}
    return "flag", "words", {"type": "prompt", "variants": {"a": value}, "off_variant": "a", "default": "a"}


def state(*resources: Put) -> dict[ResourceRef, bytes]:
    if not resources:
        return {}
    changes, faults = settle(draft([put(resource) for resource in resources]), {}, NOW)
    assert {fault.code for fault in faults} <= OURS
    return {change.ref: change.after or b"" for change in changes}


def said(before: dict[ResourceRef, bytes], *resources: Put | tuple[str, str]) -> tuple[str, ...]:
    """`resources` of two are deleted."""
    ops = [put(resource) if len(resource) == 3 else delete(*resource) for resource in resources]
    changes, faults = settle(draft(ops), before, NOW)
    assert {fault.code for fault in faults} <= OURS
    return effective(before, changes)


def split(first: int) -> dict[str, object]:
    return {"split": [{"variant": "on", "weight_bp": first}, {"variant": "off", "weight_bp": 10_000 - first}]}


def route(variant: str, *rules: object, **more: object) -> Put:
    kind, key, spec = model_flag("support-model", "mini", "maxi", default=variant, rules=list(rules), **more)
    assert isinstance(spec, dict)
    main = spec["variants"]["main"]
    spec["variants"] = {"small": main, "big": main | {"primary": "maxi"}}
    return kind, key, spec | {"off_variant": "small"}


PRO = [{"attribute": "plan", "op": "in", "values": ["pro"]}]
BETWEEN = {
    "id": "between",
    "if": [{"attribute": "age", "op": "lt", "values": [6]}, {"attribute": "age", "op": "gt", "values": [5]}],
}
SUPPORT = [cohort("beta", "u-1"), request_class("support-reply", model="support-model")]


def test_a_rule_of_a_cohort_is_told_for_that_cohort_and_request_class() -> None:
    before = state(*SUPPORT, route("small"))
    assert said(before, route("small", in_cohort("beta", "big"))) == ("beta cohort, support-reply: model small → big",)


def test_a_default_is_told_for_everyone_else() -> None:
    rule = in_cohort("beta", "big")
    before = state(*SUPPORT, route("small", rule))
    assert said(before, route("big", rule)) == ("everyone else, support-reply: model small → big",)


def test_of_a_flag_with_very_many_rules_the_fields_are_told_and_nobody_singled_out() -> None:
    rules = [
        {"id": f"r{at}", "if": [{"attribute": "plan", "op": "in", "values": [f"p{at}"]}], "serve": "big"}
        for at in range(501)
    ]
    assert said({}, route("small", *rules)) == ("flag support-model: new, with 501 rules",)
    assert said(state(route("small", *rules)), route("big", *rules)) == ("flag support-model: default small → big",)


def test_a_variant_whose_value_changes_is_told_though_its_name_stays() -> None:
    kind, key, spec = route("small")
    changed = {"targets": {"nano": {"provider": "acme", "model": "nano"}}, "primary": "nano"}
    before = state(*SUPPORT, (kind, key, spec))
    (line,) = said(before, (kind, key, {**spec, "variants": spec["variants"] | {"small": changed}}))
    assert line.startswith("everyone, support-reply: model small: primary mini → nano")


CASES: dict[str, tuple[list[Put], list[Put | tuple[str, str]], tuple[str, ...]]] = {
    "new": (
        [cohort("beta", "u-1")],
        [flag("search", rules=[in_cohort("beta")], default="off")],
        ("flag search: new, beta cohort gets on and everyone else gets off",),
    ),
    "gone": ([flag("search")], [("flag", "search")], ("flag search: gone, callers get their own default",)),
    "switched off": (
        [cohort("beta", "u-1"), flag("search", rules=[in_cohort("beta")])],
        [flag("search", rules=[in_cohort("beta")], enabled=False)],
        ("everyone: search on → off (disabled)",),
    ),
    "a split": (
        [flag("search", default=split(500))],
        [flag("search", default=split(2_500))],
        ("everyone: search 5% on / 95% off → 25% on / 75% off", "requests without a unit: search stays off"),
    ),
    "a split where there was none": (
        [flag("search", default="on")],
        [flag("search", default=split(500))],
        ("everyone: search on → 5% on / 95% off", "requests without a unit: search on → off"),
    ),
    "a split of a cohort": (
        [flag("search", default="off")],
        [flag("search", default="off", rules=[{"id": "a", "if": PRO, "serve": split(500) | {"by": "org.id"}}])],
        ("plan is pro: search off → 5% on / 95% off", "plan is pro without a unit: search stays off"),
    ),
    "a new split": (
        [],
        [flag("search", default=split(500))],
        ("flag search: new, everyone gets 5% on / 95% off and requests without a unit get off",),
    ),
    "a clause": (
        [flag("search", default="off")],
        [
            flag(
                "search",
                default="off",
                rules=[
                    {"id": "a", "if": [{"attribute": "plan", "op": "in", "values": ["pro", "team"]}], "serve": "on"}
                ],
            )
        ],
        ("plan is pro or team: search off → on",),
    ),
    "several clauses": (
        [flag("search", default="off")],
        [
            flag(
                "search",
                default="off",
                rules=[
                    {
                        "id": "a",
                        "if": [
                            {"attribute": "app.version", "op": "semver_gte", "values": ["2.1.0"]},
                            {"attribute": "age_days", "op": "lt", "values": [30]},
                            {"attribute": "country", "op": "in", "values": ["de"], "negate": True},
                            {"attribute": "email", "op": "exists"},
                            {"attribute": "since", "op": "after", "values": ["2026-01-01T00:00:00Z"]},
                        ],
                        "serve": "on",
                    }
                ],
            )
        ],
        (
            "app.version ≥ version 2.1.0 and age_days < 30 and country is not de and with email and "
            "since after 2026-01-01T00:00:00Z: search off → on",
        ),
    ),
    "a rule nobody reaches": (
        [flag("search", rules=[{"id": "all", "serve": "on"}])],
        [flag("search", rules=[{"id": "all", "serve": "on"}, {"id": "late", "serve": "off"}])],
        (
            'flag search: no one gets anything else; rules 1 none → {"id":"late","serve":"off"}',
            "warning: flag search: rule late never serves, rule all before it catches everyone it asks for",
        ),
    ),
    "a rule whose people could not be made up": (
        [flag("search", default="off", rules=[{**BETWEEN, "serve": "off"}])],
        [flag("search", default="off", rules=[{**BETWEEN, "serve": "on"}])],
        ("flag search: no one was found who gets anything else; rules 0 serve off → on",),
    ),
    "a cohort whose first name is excluded": (
        [("cohort", "beta", {"include": ["u-1", "u-2"], "exclude": ["u-1"]}), flag("search", default="off")],
        [flag("search", default="off", rules=[in_cohort("beta")])],
        ("beta cohort: search off → on",),
    ),
    "only words": (
        [flag("search")],
        [flag("search", description="Looks things up")],
        ("flag search: no one gets anything else; description none → Looks things up",),
    ),
    "members come and go": (
        [cohort("beta", "u-1"), flag("search", default="off", rules=[in_cohort("beta")])],
        [cohort("beta", "u-2", "u-3")],
        (
            "joining the beta cohort (u-2 and u-3): search off → on",
            "leaving the beta cohort (u-1): search on → off",
        ),
    ),
    "a cohort nobody asks for": (
        [cohort("beta")],
        [cohort("beta", "u-1")],
        ("joining the beta cohort (u-1): no flag gives them anything else",),
    ),
    "a new cohort": ([], [cohort("beta", "u-1")], ("beta cohort: new, 1 named",)),
    "a request class": (
        [*SUPPORT, route("small")],
        [request_class("support-reply", model="support-model", sensitive=True)],
        ("request class support-reply: sensitive no → yes",),
    ),
    "safe mode on": (
        [("safe_mode_profile", "calm", {})],
        [activation("now", "calm", scope={"services": ["copilot"]})],
        ("safe mode calm is on for service copilot until 2999-01-01 00:00 UTC: the provider is down",),
    ),
    "safe mode off": (
        [("safe_mode_profile", "calm", {}), activation("now", "calm")],
        [("safe_mode_activation", "now")],
        ("safe mode calm is lifted for everything",),
    ),
    "safe mode extended": (
        [("safe_mode_profile", "calm", {}), activation("now", "calm", expires_at="2998-01-01T00:00:00Z")],
        [activation("now", "calm")],
        ("safe mode calm for everything: until 2998-01-01 00:00 UTC → 2999-01-01 00:00 UTC",),
    ),
    "a profile": (
        [("safe_mode_profile", "calm", {})],
        [("safe_mode_profile", "calm", {"max_temperature": 0.1})],
        ("safe mode profile calm: max_temperature none → 0.1",),
    ),
    "the end of a long prompt": (
        [prompt_flag("Be kind to everyone who asks, and patient. " * 3 + "Say so.")],
        [prompt_flag("Be kind to everyone who asks, and patient. " * 3 + "Show it.")],
        ("everyone: words a: messages changed",),
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_changes_is_said_for_whom(what: str) -> None:
    before, resources, lines = CASES[what]
    assert said(state(*before), *resources) == lines


def test_an_import_is_told_in_part_and_counted() -> None:
    lines = said({}, *(cohort(f"c-{n:03}") for n in range(1_050)))
    assert len(lines) == 51
    assert lines[-1] == "and 1,000 more resources change"


def test_nothing_is_said_to_be_nothing() -> None:
    assert effective({}, ()) == ("nothing changes",)


def test_a_rollout_is_told_by_where_it_stands() -> None:
    def rollout(**progress: object) -> Put:
        stages = [{"weight_bp": 500}, {"weight_bp": 2_500}]
        spec = {"flag": "support-model", "control": "small", "treatment": "big", "stages": stages}
        return "rollout", "to-big", {**spec, "progress": progress} if progress else spec

    before = state(*SUPPORT, route("small"))
    assert said(before, rollout()) == ("rollout to-big: new, draft",)
    running = {"state": "running", "run": 1, "stage": 1, "started_at": "2026-11-22T00:00:00Z"}
    paused = {**running, "state": "paused", "paused_by": "person", "muted": [{"since": "2026-11-22T00:00:00Z"}]}
    started = state(*SUPPORT, route("small"), rollout(**running))
    assert said(started, rollout(**paused)) == (
        "rollout to-big: running, stage 2 of 2 (25% big) → paused, stage 2 of 2 (25% big)",
    )
    assert said(started, rollout(**{**running, "state": "rolled_back"})) == (
        "rollout to-big: running, stage 2 of 2 (25% big) → rolled back",
    )
    assert said(started, ("rollout", "to-big")) == ("rollout to-big: gone",)
