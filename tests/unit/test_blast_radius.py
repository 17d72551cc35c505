"""The blast radius weighs what splits serve, and compiles a revision once."""

from datetime import UTC, datetime, timedelta

import pytest

from brownout.evaluation import compile as compiling
from brownout.evaluation.compile import Compiled
from brownout.model.parse import encode
from brownout.model.resources import (
    Clause,
    Cohort,
    Flag,
    RequestClass,
    ResourceRef,
    Rule,
    SafeModeActivation,
    SafeModeProfile,
    Scope,
    Share,
    Spec,
    Split,
)
from brownout.model.values import FallbackLadder, ModelRoute, Rung, Target
from controlplane.safemode.blast import MAX_FLAGS, Weight, blast_radius

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = ModelRoute({"x": Target("anthropic", "new")}, "x")
OLD = ModelRoute({"x": Target("openai", "old")}, "x")


def activation(scope: Scope = Scope()) -> SafeModeActivation:  # noqa: B008
    return SafeModeActivation("p", "why", "ada", NOW, NOW + timedelta(hours=1), scope)


def load(specs: dict[ResourceRef, Spec]) -> Compiled:
    return Compiled.load("production", 1, {ref: encode(spec) for ref, spec in specs.items()})


def split_route(new_bp: int, **more: object) -> dict[ResourceRef, Spec]:
    split = Split((Share("new", new_bp), Share("old", 10_000 - new_bp)))
    return {
        ResourceRef("flag", "route"): Flag("model_route", {"new": NEW, "old": OLD}, "old", split),
        ResourceRef("request_class", "reply"): RequestClass("critical", "route", **more),  # type: ignore[arg-type]
        ResourceRef("safe_mode_profile", "p"): SafeModeProfile(exclude_providers=("anthropic",)),
    }


@pytest.mark.parametrize("new_bp", [1, 2_500, 9_999])
def test_only_the_share_that_changes_is_touched(new_bp: int) -> None:
    found = blast_radius(load(split_route(new_bp)), activation(), NOW)
    [row] = found.radius.request_classes
    assert (row.share, row.cohort, row.anonymous) == (new_bp / 10_000, "", False)
    assert [(each.what, each.now) for each in row.effects if each.what == "model"] == [("model", "anthropic/new")]
    assert found.weights["reply"] == Weight(new_bp / 10_000, 0.0, new_bp / 10_000)


def test_both_sides_of_a_split_have_their_share_and_anonymous_requests_are_told_apart() -> None:
    specs = split_route(1)
    specs[ResourceRef("safe_mode_profile", "p")] = SafeModeProfile(exclude_providers=("anthropic", "openai"))
    rows = blast_radius(load(specs), activation(), NOW).radius.request_classes
    assert [(row.share, row.anonymous, row.effects[0].now) for row in rows] == [
        (0.9999, False, "openai/old"),
        (0.0001, False, "anthropic/new"),
        (1.0, True, "openai/old"),
    ]


def test_two_splits_that_hash_apart_multiply() -> None:
    specs = split_route(5_000, ladder="ladder")
    rungs = {"people": FallbackLadder((Rung("human_review", queue="q"),)), "none": FallbackLadder(())}
    serve = Split((Share("people", 2_000), Share("none", 8_000)))
    specs[ResourceRef("flag", "ladder")] = Flag("fallback_ladder", rungs, "none", serve)  # type: ignore[arg-type]
    weight = blast_radius(load(specs), activation(), NOW).weights["reply"]
    assert tuple(round(each, 6) for each in weight) == (0.5, 0.1, 0.4)


def test_a_cohort_of_named_members_is_shown_as_its_members_find_it() -> None:
    specs = split_route(5_000)
    specs[ResourceRef("cohort", "vip")] = Cohort(include=("u-1",))
    found = blast_radius(load(specs), activation(Scope(cohorts=("vip",))), NOW)
    assert {row.cohort for row in found.radius.request_classes} <= {"vip"}
    assert found.weights["reply"].touched in {0.0, 1.0}


def test_sensitive_requests_go_to_people_and_sheds_are_turned_away() -> None:
    specs = split_route(10_000 - 1, sensitive=True)
    specs[ResourceRef("safe_mode_profile", "p")] = SafeModeProfile(
        sensitive="human_review", shed_bp={"critical": 2_500}
    )
    weight = blast_radius(load(specs), activation(), NOW).weights["reply"]
    assert tuple(round(each, 6) for each in weight) == (1.0, 0.75, 0.25)


def many_flags(count: int) -> dict[ResourceRef, Spec]:
    rule = Rule("r", "off", (Clause("in", "plan", ("pro",)),))
    flag = Flag("boolean", {"on": True, "off": False}, "off", "on", rules=(rule,), safe_variant="off")
    found: dict[ResourceRef, Spec] = {ResourceRef("flag", f"f{n}"): flag for n in range(count)}
    found |= split_route(5_000)
    found[ResourceRef("safe_mode_profile", "p")] = SafeModeProfile(serve_safe_variant=("*",), max_attempts=1)
    return found


def test_a_revision_is_compiled_once_however_often_it_is_previewed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    class Counted(compiling.CompiledFlag):
        __slots__ = ()

        def __init__(self, key: str, *args: object) -> None:
            compiled.append(key)
            super().__init__(key, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(compiling, "CompiledFlag", Counted)
    now = load(many_flags(500))
    found = blast_radius(now, activation(), NOW).radius
    assert len(compiled) == len(set(compiled)) == 501
    assert (len(found.flags), found.flags_touched) == (MAX_FLAGS, 500)
    again = blast_radius(now, activation(), NOW + timedelta(seconds=9)).radius
    narrower = blast_radius(now, activation(Scope(services=("billing",))), NOW).radius
    assert len(compiled) <= 501 + 2  # a service's own view of what changes for it
    assert (again.flags_touched, narrower.flags_touched) == (500, 500)
