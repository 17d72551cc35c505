"""What a commit is told of a ladder and of a request class: rungs that nothing can reach, fields that do not belong."""

from typing import Any

import pytest

from brownout.model.check import check
from brownout.model.parse import InvalidResource, encode, parse
from brownout.model.resources import ResourceRef

TEMPLATE = {"type": "template", "template": "sorry"}
PEOPLE = {"type": "human_review", "queue": "tier-2"}
LATER = {"type": "later", "template": "sorry", "not_after_s": 60}
SPARE = {"type": "model", "target": "spare"}


def ladder(*rungs: dict[str, Any], **more: Any) -> dict[str, Any]:
    value = {"rungs": list(rungs), **more}
    return {"type": "fallback_ladder", "variants": {"a/b": value}, "off_variant": "a/b", "default": "a/b"}


def unreachable(*rungs: dict[str, Any], **more: Any) -> list[str]:
    resources = {
        ResourceRef("flag", "ladder"): parse("flag", "ladder", ladder(*rungs, **more)),
        ResourceRef("response_template", "sorry"): parse("response_template", "sorry", {"text": "Sorry."}),
    }
    return [fault.pointer for fault in check(resources, resources) if fault.code == "unreachable"]


@pytest.mark.parametrize(
    ("rungs", "faults"),
    [
        ([SPARE, {"type": "cache"}, {"type": "evidence"}, TEMPLATE], []),
        ([TEMPLATE, PEOPLE], [1]),
        ([PEOPLE, TEMPLATE, SPARE], [1, 2]),
        ([LATER, TEMPLATE], [1]),
        ([{**TEMPLATE, "on": ["timeout"]}, PEOPLE], []),
        ([{**TEMPLATE, "on": ["timeout"]}, {**PEOPLE, "on": ["timeout"]}], [1]),
        ([TEMPLATE, {**PEOPLE, "on": ["refusal"]}], []),
        ([{**PEOPLE, "on": ["timeout", "auth"]}, {**SPARE, "on": ["auth"]}, TEMPLATE], [1]),
    ],
)
def test_a_rung_that_nothing_can_reach_is_named(rungs: list[dict[str, Any]], faults: list[int]) -> None:
    assert unreachable(*rungs) == [f"/variants/a~1b/rungs/{index}" for index in faults]


def test_a_terminal_action_reaches_its_rung() -> None:
    assert unreachable(TEMPLATE, PEOPLE, terminal={"refusal": "human_review"}) == []
    assert unreachable(TEMPLATE, PEOPLE, terminal={"refusal": "template"}) == ["/variants/a~1b/rungs/1"]


@pytest.mark.parametrize(
    ("rung", "expected"),
    [
        ({"type": "later", "template": "sorry"}, ("missing_field", "/variants/a~1b/rungs/0/not_after_s")),
        ({"type": "later", "not_after_s": 5}, ("missing_field", "/variants/a~1b/rungs/0/template")),
        ({"type": "evidence", "queue": "q"}, ("unknown_field", "/variants/a~1b/rungs/0/queue")),
        ({"type": "cache", "max_sources": 3}, ("unknown_field", "/variants/a~1b/rungs/0/max_sources")),
    ],
)
def test_a_rung_takes_its_own_fields(rung: dict[str, Any], expected: tuple[str, str]) -> None:
    with pytest.raises(InvalidResource) as refused:
        parse("flag", "ladder", ladder(rung))
    assert [(fault.code, fault.pointer) for fault in refused.value.faults] == [expected]


def test_a_notice_is_a_template_for_one_class_or_for_every_other() -> None:
    good = {"criticality": "critical", "model": "m", "notices": {"*": "Busy, {name}.", "timeout": "Slow."}}
    assert parse("request_class", "reply", good).notices["*"] == "Busy, {name}."  # type: ignore[attr-defined]
    for notices, at in (({"outage": "x"}, "/notices/outage"), ({"timeout": "a { b"}, "/notices/timeout")):
        with pytest.raises(InvalidResource) as refused:
            parse("request_class", "reply", {**good, "notices": notices})
        assert [(fault.code, fault.pointer) for fault in refused.value.faults] == [("invalid_value", at)]


def test_what_was_stored_before_reads_and_writes_the_same() -> None:
    raw = b'{"criticality":"critical","model":"m"}'
    assert encode(parse("request_class", "reply", raw)) == raw
    stored = encode(parse("flag", "ladder", ladder(SPARE, TEMPLATE, deadline_ms=5)))
    assert b"on_break" not in stored
    assert b"max_sources" not in stored
