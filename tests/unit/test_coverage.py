"""Coverage is what the real ladder does: a reference that knows only the documents names the same cells."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from brownout.model.resources import ResourceRef
from brownout.model.values import ErrorClass
from controlplane.resilience.cell import Cell
from controlplane.resilience.drift import Step, concerns, drift
from controlplane.resilience.matrix import MAX_COMBINATIONS, coverage
from controlplane.resilience.modes import STANDARD
from controlplane.resilience.patterns import configured, unmet
from controlplane.resilience.world import KINDS, world_of
from tests.unit.coverage_reference import Document, gaps, states

NOW = datetime(2026, 1, 10, tzinfo=UTC)
ERRORS: tuple[str, ...] = get_args(ErrorClass)


def flag(type_: str, variants: dict[str, Any], **more: Any) -> dict[str, Any]:
    first = next(iter(variants))
    return {"type": type_, "variants": variants, "off_variant": first, "default": first, **more}


TARGETS = {
    "big": {"provider": "acme", "model": "big", "max_context_tokens": 64_000},
    "small": {"provider": "acme", "model": "small", "max_context_tokens": 8_000},
    "other": {"provider": "beta", "model": "other", "max_context_tokens": 128_000},
}


def document() -> Document:
    """Two classes and all error classes: enough rungs that the loss of each shows somewhere."""
    return copy.deepcopy({
        "response_template": {"sorry": {"text": "Sorry."}, "blocked": {"text": "We cannot answer that."}},
        "flag": {
            "model": flag("model_route", {
                "big": {"targets": TARGETS, "primary": "big"}, "small": {"targets": TARGETS, "primary": "small"},
            }, safe_variant="small"),
            "ladder": flag("fallback_ladder", {"full": {"rungs": [
                {"type": "model", "target": "other", "on": ["server_error", "timeout", "context_window", "refusal"]},
                {"type": "template", "template": "blocked", "on": ["content_filter", "retrieval_miss"]},
                {"type": "cache", "max_age_s": 60, "on": ["overloaded", "rate_limited", "budget_exhausted"]},
                {"type": "human_review", "queue": "tier-2", "on": ["tool_error", "filter_unavailable"]},
                {"type": "template", "template": "sorry", "on": ["format_error", "auth"]},
            ], "terminal": {"refusal": "human_review", "content_filter": "human_review"}}}),
            "plain": flag("fallback_ladder", {"plain": {"rungs": [{"type": "model", "target": "other"}]}}),
            "budget": flag("token_budget", {"day": {
                "window": {"unit": "tokens", "limit": 1000, "per": "day"}, "on_exceeded": "fallback",
            }}),
            "tools": flag("tool_policy", {"all": {}}),
        },
        "request_class": {
            "reply": {
                "criticality": "critical", "model": "model", "ladder": "ladder", "budget": "budget", "tools": "tools",
                "owner": "support", "retrieval": True, "sensitive": True, "notices": {"*": "We have a problem."},
            },
            "summary": {"criticality": "sheddable", "model": "model", "ladder": "plain", "notices": {"timeout": "Late."}},
        },
        "safe_mode_profile": {
            "no-acme": {"exclude_providers": ["acme"]},
            "humans": {"exclude_providers": ["*"], "exclude_tools": ["*"], "sensitive": "human_review"},
            "safe": {"serve_safe_variant": ["*"], "sensitive": "stop"},
        },
        "failure_mode": {error.replace("_", "-"): {"detect": {"errors": [error]}} for error in ERRORS} | {
            "outage": {"detect": {"errors": ["server_error", "overloaded"]}, "say": {"user": "*"}},
            "slow": {"detect": {"errors": ["timeout"], "reach": "model"}, "say": {"user": "timeout"}},
            "meltdown": {"detect": {"errors": ["server_error"], "reach": "every_model"}, "classes": ["reply"]},
        },
    })  # fmt: skip


def encoded(found: Document, *, strict: bool = True) -> dict[ResourceRef, bytes]:
    return {
        ResourceRef(kind, key): encode(parse(kind, key, spec)) if strict else msgspec.json.encode(spec)
        for kind, specs in found.items()
        for key, spec in specs.items()
    }


def cells(found: Document, now: datetime = NOW) -> dict[tuple[str, str, str], Cell]:
    return {cell.place: cell for cell in coverage(world_of(encoded(found, strict=False)), now=now)}


def removals(found: Document) -> Iterator[tuple[str, ResourceRef, Document]]:
    """Each rung, each text and each owner, removed alone: what it was, the resource that changes, the outcome."""
    for key, spec in found["flag"].items():
        for name, value in spec["variants"].items():
            for index in range(len(value.get("rungs", ()))):
                after = copy.deepcopy(found)
                del after["flag"][key]["variants"][name]["rungs"][index]
                yield f"{key}/{name}/{index}", ResourceRef("flag", key), after
    for key in found["response_template"]:
        after = copy.deepcopy(found)
        del after["response_template"][key]
        yield f"text {key}", ResourceRef("response_template", key), after
    for key, spec in found["request_class"].items():
        for notice in spec.get("notices", {}):
            after = copy.deepcopy(found)
            del after["request_class"][key]["notices"][notice]
            yield f"notice {key} {notice}", ResourceRef("request_class", key), after
        if "owner" in spec:
            after = copy.deepcopy(found)
            del after["request_class"][key]["owner"]
            yield f"owner {key}", ResourceRef("request_class", key), after


def lost_by(before: Document, ref: ResourceRef, after: Document) -> set[tuple[str, str, str]]:
    present, outcome = encoded(before, strict=False), encoded(after, strict=False)
    found = drift(present, [Step(ref, present.get(ref), outcome.get(ref))], NOW)
    return {new.place for _, new in found.lost}


def test_each_rung_text_and_owner_that_goes_loses_exactly_the_cells_that_the_reference_names() -> None:
    before = document()
    costly = set()
    for what, ref, after in removals(before):
        named = gaps(after) - gaps(before)
        assert lost_by(before, ref, after) == named, what
        if named:
            costly.add(what)
    assert costly >= {
        "ladder/full/0", "ladder/full/1", "ladder/full/2", "ladder/full/3", "ladder/full/4", "plain/plain/0",
        "text sorry", "text blocked", "notice reply *", "notice summary timeout", "owner reply",
    }  # fmt: skip


def test_what_comes_back_is_gained() -> None:
    whole = document()
    for what, ref, poorer in removals(whole):
        present, outcome = encoded(poorer, strict=False), encoded(whole, strict=False)
        found = drift(present, [Step(ref, present.get(ref), outcome.get(ref))], NOW)
        assert {new.place for _, new in found.gained} == gaps(poorer) - gaps(whole), what


rungs = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("model"), "target": st.sampled_from(sorted(TARGETS))}),
        st.just({"type": "cache", "max_age_s": 60}),
        st.just({"type": "template", "template": "sorry"}),
        st.just({"type": "human_review", "queue": "q"}),
        st.just({"type": "later"}),
        st.just({"type": "evidence", "template": "blocked"}),
    ),
    max_size=4,
    unique_by=lambda rung: rung.get("target", rung["type"]),
)


@st.composite
def ladders(draw: st.DrawFn) -> dict[str, Any]:
    found = []
    for rung in draw(rungs):
        on = draw(st.lists(st.sampled_from(ERRORS), max_size=5, unique=True))
        found.append({**rung, **({"on": on} if on else {})})
    terminal = {
        error: draw(st.sampled_from(["stop", "surface", "human_review", "template"]))
        for error in ("refusal", "content_filter")
    }
    return {"rungs": found, "terminal": terminal}


def is_sound(spec: dict[str, Any]) -> bool:
    try:
        parse("flag", "f", spec)
    except InvalidResource:
        return False
    return True


@st.composite
def worlds(draw: st.DrawFn) -> Document:
    found = document()
    found["flag"]["ladder"] = draw(
        st.lists(ladders(), min_size=1, max_size=2)
        .map(lambda each: flag("fallback_ladder", {f"v{index}": one for index, one in enumerate(each)}))
        .filter(is_sound)
    )
    found["flag"]["budget"]["variants"]["day"]["on_exceeded"] = draw(st.sampled_from(["reject", "fallback", "warn"]))
    if draw(st.booleans()):
        found["flag"]["budget"]["variants"]["day"].pop("window")
    found["flag"]["tools"]["variants"]["all"] = draw(st.sampled_from([{}, {"include": []}, {"exclude": ["*"]}]))
    reply = found["request_class"]["reply"]
    for field in draw(st.lists(st.sampled_from(["owner", "budget", "tools", "retrieval", "sensitive", "notices"]))):
        reply.pop(field, None)
    reach = draw(st.sampled_from(["model", "provider", "every_model"]))
    for mode in found["failure_mode"].values():
        mode["detect"]["reach"] = reach
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(worlds())
def test_any_configuration_is_covered_as_the_reference_says(found: Document) -> None:
    expected = states(found)
    assert {place: cell.state for place, cell in cells(found).items()} == expected
    for state in set(expected.values()):
        event(state)


def test_a_cell_says_what_answers_and_its_worst_variants() -> None:
    found = document()
    cell = cells(found)["reply", "slow", ""]
    assert (cell.state, cell.rung, cell.answer) == ("answered", "model", "other")
    found["flag"]["ladder"]["variants"]["bare"] = {"rungs": []}
    cell = cells(found)["reply", "slow", ""]
    assert (cell.state, cell.error, cell.variants["ladder"]) == ("nothing", "timeout", "bare")


def test_an_accepted_gap_is_no_gap_until_the_decision_ends() -> None:
    found = document()
    found["flag"]["plain"]["variants"]["plain"]["rungs"] = []
    found["failure_mode"]["slow"]["accepted"] = [
        {"request_class": "summary", "reason": "An agent sees it.", "until": "2026-02-01T00:00:00Z"}
    ]
    cell = cells(found)["summary", "slow", ""]
    assert (cell.state, cell.is_gap, cell.accepted) == ("nothing", False, "An agent sees it.")
    assert cells(found, datetime(2026, 2, 1, tzinfo=UTC))["summary", "slow", ""].is_gap
    assert not cells(found)["reply", "slow", ""].accepted


def test_a_class_with_too_many_combinations_says_so() -> None:
    found = document()
    for key, value in (("model", found["flag"]["model"]["variants"]["big"]), ("ladder", {"rungs": []})):
        found["flag"][key]["variants"] |= {f"v{index}": value for index in range(40)}
    assert MAX_COMBINATIONS < 40 * 40
    assert cells(found)["reply", "slow", ""].state == "too_many"


def test_what_a_newer_version_wrote_is_read_as_far_as_possible_and_blinds_nothing() -> None:
    found = document()
    whole = cells(found)
    found["failure_mode"]["newer"] = {"detect": {"errors": ["timeout", "meteor"]}, "classes": ["reply"], "new": 1}
    found["failure_mode"]["unreadable"] = "?"  # type: ignore[assignment]
    found["request_class"]["unreadable"] = {"model": {"flag": "m"}}
    found["service_tier"] = {"gold": {"rank": 1, "requires": {"moon": True}, "new": 1}}
    world = world_of(encoded(found, strict=False))
    assert set(world.unread) == {ResourceRef("failure_mode", "unreadable"), ResourceRef("request_class", "unreadable")}
    seen = {cell.place: cell for cell in coverage(world, now=NOW)}
    assert {place: cell for place, cell in seen.items() if place[1] != "newer"} == whole
    assert ("reply", "newer", "") in seen
    assert world.tiers["gold"].rank == 1


GOLD: dict[str, Any] = {
    "rank": 1,
    "requires": {"patterns": ["secondary_model", "degraded_ui"], "other_provider": True, "covered": True},
    "enforce": "refuse",
}


def faults(before: Document, ref: ResourceRef, after: Document) -> list[tuple[str, str]]:
    present, outcome = encoded(before, strict=False), encoded(after, strict=False)
    found = drift(present, [Step(ref, present.get(ref), outcome.get(ref))], NOW)
    return [(fault.code, fault.pointer) for fault in found.faults]


def with_gold() -> Document:
    found = document()
    found["service_tier"] = {"gold": copy.deepcopy(GOLD)}
    found["request_class"]["reply"]["tier"] = "gold"
    return found


def test_gold_with_a_single_provider_is_refused_where_it_is_mended() -> None:
    before, after = document(), with_gold()
    before["service_tier"] = after["service_tier"]
    for found in (before, after):
        rungs = found["flag"]["ladder"]["variants"]["full"]["rungs"]
        rungs[0] = {"type": "model", "target": "small"}
        found["flag"]["model"]["variants"].pop("small")
        found["flag"]["model"].pop("safe_variant")
    where = [("tier_unmet", "/request_class/reply/ladder")]
    assert faults(before, ResourceRef("request_class", "reply"), after) == where
    after["service_tier"]["gold"]["enforce"] = before["service_tier"]["gold"]["enforce"] = "warn"
    assert faults(before, ResourceRef("request_class", "reply"), after) == []


def test_a_covered_tier_refuses_lost_cells_unless_they_are_accepted() -> None:
    before = with_gold()
    after = copy.deepcopy(before)
    del after["flag"]["ladder"]["variants"]["full"]["rungs"][4]
    codes = {code for code, _ in faults(before, ResourceRef("flag", "ladder"), after)}
    assert codes == {"uncovered"}
    for found in (before, after):
        for mode in found["failure_mode"].values():
            mode["accepted"] = [{"request_class": "reply", "reason": "We live with it."}]
    assert faults(before, ResourceRef("flag", "ladder"), after) == []


def test_what_was_unmet_before_holds_up_no_commit() -> None:
    before = with_gold()
    before["request_class"]["reply"].pop("notices")
    after = copy.deepcopy(before)
    after["request_class"]["reply"]["owner"] = "others"
    assert unmet(world_of(encoded(before)), "reply") == ("degraded_ui",)
    assert faults(before, ResourceRef("request_class", "reply"), after) == []


def test_the_patterns_of_a_class() -> None:
    found = document()
    assert configured(world_of(encoded(found)), "reply") == {
        "cached_responses": True, "secondary_model": True, "human_review": True, "degraded_ui": True,
        "safe_mode": False, "other_provider": True,
    }  # fmt: skip
    found["failure_mode"]["slow"]["profile"] = "humans"
    found["request_class"]["reply"].pop("owner")
    found["request_class"]["reply"]["notices"] = {"timeout": "Late."}
    found["flag"]["ladder"]["variants"]["bare"] = {"rungs": []}
    assert configured(world_of(encoded(found)), "reply") == {
        "cached_responses": False, "secondary_model": False, "human_review": False, "degraded_ui": False,
        "safe_mode": True, "other_provider": False,
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_what_can_change_coverage_is_looked_at(kind: str) -> None:
    found = encoded(with_gold())
    ref = next(each for each in found if each.kind == kind)
    assert concerns([Step(ref, found[ref], None)])
    assert not concerns([Step(ResourceRef("cohort", "beta"), None, b"{}")])


def test_words_texts_and_traffic_are_not_looked_at() -> None:
    found = document()
    ladder = found["flag"]["ladder"]
    other = {**ladder, "description": "new words", "rules": [{"id": "r", "serve": "full"}]}
    sides = [encode(parse("flag", "ladder", spec)) for spec in (ladder, other)]
    assert not concerns([Step(ResourceRef("flag", "ladder"), sides[0], sides[1])])
    assert not concerns([Step(ResourceRef("response_template", "sorry"), b'{"text":"a"}', b'{"text":"b"}')])
    boolean = encode(parse("flag", "b", flag("boolean", {"on": True})))
    assert not concerns([Step(ResourceRef("flag", "b"), None, boolean)])


def test_without_failure_modes_and_tiers_nothing_is_said() -> None:
    before = document()
    before.pop("failure_mode")
    after = copy.deepcopy(before)
    after["flag"]["ladder"]["variants"]["full"]["rungs"] = []
    present, outcome = encoded(before), encoded(after, strict=False)
    ref = ResourceRef("flag", "ladder")
    assert drift(present, [Step(ref, present[ref], outcome[ref])], NOW).lines == ()


def test_the_lines_say_what_is_lost_and_from_what_to_what() -> None:
    before = document()
    after = copy.deepcopy(before)
    del after["flag"]["plain"]["variants"]["plain"]["rungs"][0]
    present, outcome = encoded(before), encoded(after)
    ref = ResourceRef("flag", "plain")
    lines = drift(present, [Step(ref, present[ref], outcome[ref])], NOW).lines
    assert "warning: coverage lost: summary on auth: model other → nothing" in lines
    assert any(line.endswith("more cells") for line in lines)
    assert len(lines) <= 7


def test_a_huge_environment_compares_the_normal_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.resilience.drift.MAX_CELLS", 10)
    before = document()
    after = copy.deepcopy(before)
    del after["flag"]["plain"]["variants"]["plain"]["rungs"][0]
    present, outcome = encoded(before), encoded(after)
    ref = ResourceRef("flag", "plain")
    found = drift(present, [Step(ref, present[ref], outcome[ref])], NOW)
    assert {new.profile for _, new in found.lost} == {""}
    assert any("too many cells" in line for line in found.lines)


def test_a_huge_number_of_variants_is_not_compared_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.resilience.drift.MAX_POLICIES", 1)
    before = document()
    after = copy.deepcopy(before)
    del after["flag"]["plain"]["variants"]["plain"]["rungs"][0]
    present, outcome = encoded(before), encoded(after)
    ref = ResourceRef("flag", "plain")
    found = drift(present, [Step(ref, present[ref], outcome[ref])], NOW)
    assert found.lost == ()
    assert any("coverage was not compared" in line for line in found.lines)


def test_what_a_failure_mode_says_to_on_call_changes_no_cell() -> None:
    ref = ResourceRef("failure_mode", "auth")
    before, worded, detects = (
        msgspec.json.encode({"detect": {"errors": errors}, "respond": words})
        for errors, words in (
            (["auth"], "Call them."),
            (["auth"], "Call them twice."),
            (["auth", "overloaded"], "Call them."),
        )
    )
    assert not concerns([Step(ref, before, worded)])
    assert concerns([Step(ref, before, detects)])
    assert concerns([Step(ref, before, None)])


def test_the_standard_modes_cover_every_class_without_a_profile() -> None:
    assert all(not mode.classes and mode.profile is None and mode.say.user is None for mode in STANDARD.values())
