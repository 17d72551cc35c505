"""The flag editor: one form, drawn anew by the server after every change, so that there is one set of rules."""

from copy import deepcopy
from typing import Any, ClassVar

import msgspec
from msgspec import inspect

from brownout.model.resources import VALUE_TYPES, Flag, FlagType
from controlplane.web.editing.draft import Document, change, listed, mapping, objects, steps_of, walk
from controlplane.web.editing.sent import Sent, checked, difference, document_of, pretty
from controlplane.web.editing.typed_form import Group, Leaf, Node, Place, blank, describe, fields, find, new_item
from controlplane.web.flags.rules import (
    ATTRIBUTE_TESTS,
    COHORT_TESTS,
    Known,
    RuleRow,
    ServeRow,
    blank_clause,
    blank_rule,
    normalise,
    rule_rows,
    serve_row,
)
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.words import words

PLAIN_BLANKS: dict[str, Any] = {"boolean": False, "string": "", "integer": 0, "float": 0.0, "object": {}}
TARGETING = frozenset({"type", "variants", "rules", "default", "off_variant", "safe_variant", "enabled", "schema"})


class Tests(msgspec.Struct, frozen=True):
    cohort: tuple[Option, ...] = COHORT_TESTS
    attribute: tuple[Option, ...] = ATTRIBUTE_TESTS


class FlagForm(View, frozen=True, kw_only=True):
    """The form. `post` is where its buttons go, `review` where a change is looked at before it is saved."""

    template: ClassVar[str] = "flags/flag_form.html"

    frame: Frame
    post: str
    review: str
    key: str
    new: bool
    base: int
    type: str
    types: tuple[Option, ...]
    enabled: bool
    rules: tuple[RuleRow, ...]
    otherwise: ServeRow
    off_variant: str
    safe_variant: str
    variants: tuple[Group, ...]
    variant_names: tuple[str, ...]
    details: tuple[Node, ...]
    tests: Tests
    cohorts: tuple[str, ...]
    attributes: tuple[str, ...]
    document: str
    changes: int
    errors: tuple[str, ...]
    may_edit: bool


def flag_form(
    frame: Frame,
    sent: Sent,
    saved: bytes | None,
    *,
    post: str,
    review: str,
    cohorts: tuple[str, ...],
    may_edit: bool,
) -> FlagForm:
    """The form of a draft. Raises nothing for what was typed: what is wrong is said beside it."""
    document = sent.document
    json_error = document.pop("@json", "")
    document, errors = checked("flag", sent.key, document)
    names = tuple(mapping(document.get("variants")))
    known = Known(names, cohorts, errors)
    before = document_of(saved) if saved else {}
    kind = str(document.get("type", "boolean"))
    otherwise = serve_row("/default", "/default", document.get("default"), before.get("default"), known)
    shown = [f"{pointer or 'document'}: {message}" for pointer, message in errors.items()]
    return FlagForm(
        frame=frame,
        post=post,
        review=review,
        key=sent.key,
        new=saved is None,
        base=sent.base,
        type=kind,
        types=tuple(Option(name, words(name)) for name in FlagType.__args__),  # type: ignore[attr-defined]
        enabled=document.get("enabled", True) is True,
        rules=rule_rows(document, before, known),
        otherwise=otherwise,
        off_variant=str(document.get("off_variant", "")),
        safe_variant=str(document.get("safe_variant") or ""),
        variants=_variants(document, kind, errors),
        variant_names=names,
        details=fields(Flag, document, Place("", "", "", errors, HINTS), TARGETING),
        tests=Tests(),
        cohorts=cohorts,
        attributes=_attributes(document),
        document=pretty(document),
        changes=difference(saved, document),
        errors=(*((f"The JSON is not JSON: {json_error}",) if json_error else ()), *shown),
        may_edit=may_edit,
    )


PROMPT_HINTS = {
    "text": "{name} stands for a variable. Write {{ and }} for braces.",
    "variables": "What services pass to every variant.",
}
HINTS = {"owner": "Who answers for it: a team or a person.", "tags": "For finding it."}


def change_flag(sent: Sent, saved: bytes | None, cohorts: tuple[str, ...]) -> None:
    """Carries out the button that was pressed, on the draft."""
    document = sent.document
    before = document_of(saved) if saved else {}
    for hidden in ("schema",):  # has no control but the JSON pane
        if sent.command != "json" and hidden in before:
            document.setdefault(hidden, before[hidden])
    normalise(document, before)
    if not document.get("safe_variant"):
        document.pop("safe_variant", None)
    if sent.command not in {"", "json"}:
        change(document, sent.command.replace("/if@", "/@if-"), lambda path: _blank(path, document, cohorts))
        _settle(document)


def _settle(document: Document) -> None:
    """`add` on a rule's conditions says of which sort; the draft has one list of them."""
    for rule in objects(document.get("rules")):
        for sort in ("@if-cohort", "@if-attribute"):
            if added := listed(rule.pop(sort, None)):
                rule["if"] = [*listed(rule.get("if")), *added]


def _blank(path: str, document: Document, cohorts: tuple[str, ...]) -> Any:
    known = Known(tuple(mapping(document.get("variants"))), cohorts, {})
    last = path.rpartition("/")[2]
    if path == "/rules":
        return blank_rule(document, known)
    if last in {"@if-cohort", "@if-attribute"}:
        return blank_clause(known, cohort=last == "@if-cohort")
    if last == "split":
        return {"variant": _unused(path, document, known), "weight_bp": 0}
    kind = str(document.get("type", "boolean"))
    if path == "/variants" and kind == "prompt":
        return ("variant", _next_prompt(document))
    if path == "/variants":
        return ("variant", PLAIN_BLANKS[kind] if kind in PLAIN_BLANKS else blank(_value_type(kind)))
    return new_item(find(_value_type(kind), path.split("/")[3:]))


def _next_prompt(document: Document) -> Any:
    """A new wording begins as the last one: people change words, and every variant declares the same variables."""
    prompts = list((document.get("variants") or {}).values())
    return deepcopy(prompts[-1]) if prompts else {"messages": [{"role": "system", "text": ""}], "variables": []}


def _unused(path: str, document: Document, known: Known) -> str:
    holder = mapping(walk(document, steps_of(path)[:-1]))
    used = {str(share.get("variant")) for share in objects(holder.get("split"))}
    return next((name for name in known.variants if name not in used), "")


def _value_type(kind: str) -> inspect.Type:
    return inspect.type_info(VALUE_TYPES.get(kind, bool))  # type: ignore[call-overload]


def _variants(document: Document, kind: str, errors: Any) -> tuple[Group, ...]:
    place = Place("/variants", "/variants", "Variants", errors, PROMPT_HINTS if kind == "prompt" else {})
    value_type = _value_type(kind)
    groups = []
    for index, (name, value) in enumerate(mapping(document.get("variants")).items()):
        at = place.entry(index, str(name))
        node = describe(value_type, value, at)
        note = prompt_digest(value) if kind == "prompt" and isinstance(value, dict) else digest(value)
        groups.append(_variant(str(name), node, at, note))
    return tuple(groups)


def digest(value: Any) -> str:
    """A value in one short line, without the marks of JSON."""
    text = msgspec.json.encode(value).decode()
    return text.translate({ord(mark): None for mark in '{}"'}).replace(":", " ").replace(",", ", ")[:160]


def prompt_digest(value: dict[str, Any]) -> str:
    """A prompt in one line: who speaks, how much, and what is filled in."""
    messages = [each for each in value.get("messages") or () if isinstance(each, dict)]
    roles = ", ".join(str(each.get("role", "")) for each in messages)
    characters = sum(len(str(each.get("text", ""))) for each in messages)
    variables = " ".join(f"{{{name}}}" for name in value.get("variables") or ())
    return " · ".join(part for part in (roles, f"{characters:,} characters", variables) if part)[:160]


def _variant(name: str, node: Node, at: Place, note: str) -> Group:
    label = Leaf("text", f"text:{at.path}/@key", "Name", name)
    if isinstance(node, Leaf):
        codec = node.name.partition(":")[0]
        value: tuple[Node, ...] = (msgspec.structs.replace(node, name=f"{codec}:{at.path}/@value", label="Value"),)
    else:
        value = node.children if isinstance(node, Group) else (node,)
    return Group(name, (label, *value), f"remove:{at.path}", note=note)


def _attributes(document: Document) -> tuple[str, ...]:
    """Suggestions: what this flag's rules already ask about, and what contexts usually carry."""
    used = {
        str(clause.get("attribute") or "")
        for rule in objects(document.get("rules"))
        for clause in objects(rule.get("if"))
    }
    return tuple(sorted({name for name in used if name} | {"targeting_key", "plan", "region", "tenant"}))
