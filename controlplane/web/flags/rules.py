"""Rules as sentences: how a flag's targeting is shown as controls, and read back from them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from brownout.model.resources import Rule
from brownout.wire.telemetry import parse_rollout_rule
from controlplane.contract.reach import unreachable
from controlplane.web.editing.draft import Document, listed, mapping, objects
from controlplane.web.kit.parts import Option
from controlplane.web.kit.words import basis_points

SPLIT = "@split"
"""What the serve control says when it is no variant: names of variants cannot start so in a form we made."""

TESTS = (
    ("in", "is", "is not"),
    ("starts_with", "starts with", "does not start with"),
    ("ends_with", "ends with", "does not end with"),
    ("contains", "contains", "does not contain"),
    ("lt", "is below", "is not below"),
    ("lte", "is at most", "is not at most"),
    ("gt", "is above", "is not above"),
    ("gte", "is at least", "is not at least"),
    ("before", "is before", "is not before"),
    ("after", "is after", "is not after"),
    ("semver_eq", "is version", "is not version"),
    ("semver_lt", "is a version below", "is no version below"),
    ("semver_lte", "is a version up to", "is no version up to"),
    ("semver_gt", "is a version above", "is no version above"),
    ("semver_gte", "is a version from", "is no version from"),
    ("exists", "is there", "is missing"),
)
COHORT_TESTS = (Option("in_cohort", "in cohort"), Option("!in_cohort", "not in cohort"))
ATTRIBUTE_TESTS = tuple(option for op, yes, no in TESTS for option in (Option(op, yes), Option(f"!{op}", no)))
_SAYS = {op: (yes, no) for op, yes, no in TESTS}
_NUMERIC = {"lt", "lte", "gt", "gte"}


class ClauseRow(msgspec.Struct, frozen=True):
    """One condition. `path` is that of web.draft; a cohort's is chosen, an attribute's is typed."""

    path: str
    cohort: bool
    test: str
    attribute: str
    values: str
    takes_values: bool
    options: tuple[Option, ...]
    error: str


class ShareRow(msgspec.Struct, frozen=True):
    variant: str
    weight_bp: int
    percent: str
    was: str
    left: float
    """Where its part of the bar starts, in per cent."""


class ServeRow(msgspec.Struct, frozen=True):
    """What is served: `pick` is a variant or SPLIT."""

    path: str
    pick: str
    options: tuple[Option, ...]
    by: str
    seed: str
    fallback: str
    shares: tuple[ShareRow, ...]
    unused: tuple[str, ...]
    """Variants that could join the split."""
    total_bp: int
    error: str

    @property
    def is_split(self) -> bool:
        return self.pick == SPLIT


class RuleRow(msgspec.Struct, frozen=True):
    index: int
    path: str
    id: str
    clauses: tuple[ClauseRow, ...]
    serve: ServeRow
    changed: bool
    first: bool
    last: bool
    error: str
    owned_by: str
    """The rollout that alone changes it; empty: people do."""
    hidden_by: str
    """The rule before it because of which it never serves."""
    json: str


class Known(msgspec.Struct, frozen=True):
    """What a sentence can choose from."""

    variants: tuple[str, ...]
    cohorts: tuple[str, ...]
    errors: Mapping[str, str]


def rule_rows(document: Document, saved: Document, known: Known) -> tuple[RuleRow, ...]:
    rules = objects(document.get("rules"))
    before = {str(rule.get("id")): rule for rule in objects(saved.get("rules"))}
    hidden = _hidden(rules)
    return tuple(
        structs.replace(
            _rule(index, rule, before.get(str(rule.get("id"))), known, len(rules)),
            hidden_by=hidden.get(str(rule.get("id")), ""),
        )
        for index, rule in enumerate(rules)
    )


def _hidden(rules: Sequence[Document]) -> Mapping[str, str]:
    """Rules that never serve; none while what was typed is no list of rules."""
    try:
        return unreachable(msgspec.convert(rules, tuple[Rule, ...]))
    except msgspec.ValidationError:
        return {}


def alternative_rows(document: Document, known: Known) -> tuple[tuple[ClauseRow, ...], ...]:
    """A cohort's `any_of`, as conditions of sentences."""
    return tuple(
        tuple(
            _clause(f"/any_of/[{index}]/[{at}]", f"/any_of/{index}/{at}", clause, known)
            for at, clause in enumerate(objects(clauses))
        )
        for index, clauses in enumerate(listed(document.get("any_of")))
    )


def serve_row(path: str, pointer: str, serve: Any, before: Any, known: Known) -> ServeRow:
    options = tuple(Option(name, name) for name in known.variants)
    error = known.errors.get(pointer, "")
    if not isinstance(serve, dict):
        pick = serve if isinstance(serve, str) else ""
        return ServeRow(path, pick, options, "targeting_key", "", "", (), (), 0, error)
    was = {str(share.get("variant")): share.get("weight_bp") for share in objects(_shares(before))}
    rows: list[ShareRow] = []
    at = 0
    for share in objects(_shares(serve)):
        weight, variant = _whole(share.get("weight_bp")), str(share.get("variant", ""))
        old = was.get(variant)
        said = f"was {basis_points(old)}" if isinstance(old, int) and old != weight else ""
        rows.append(ShareRow(variant, weight, f"{weight / 100:g}", said, at / 100))
        at += weight
    unused = tuple(name for name in known.variants if name not in {row.variant for row in rows})
    error = error or next((text for key, text in known.errors.items() if key.startswith(f"{pointer}/")), "")
    by, seed, fallback = (str(serve.get(name) or "") for name in ("by", "seed", "fallback"))
    return ServeRow(path, SPLIT, options, by or "targeting_key", seed, fallback, tuple(rows), unused, at, error)


def _rule(index: int, rule: Document, before: Document | None, known: Known, total: int) -> RuleRow:
    path, pointer = f"/rules/[{index}]", f"/rules/{index}"
    clauses = tuple(
        _clause(f"{path}/if/[{at}]", f"{pointer}/if/{at}", clause, known)
        for at, clause in enumerate(objects(rule.get("if")))
    )
    serve = serve_row(f"{path}/serve", f"{pointer}/serve", rule.get("serve"), (before or {}).get("serve"), known)
    error = known.errors.get(pointer, "") or known.errors.get(f"{pointer}/id", "")
    ends = (index == 0, index == total - 1)
    named = parse_rollout_rule(str(rule.get("id", "")))
    return RuleRow(
        index, path, str(rule.get("id", "")), clauses, serve, rule != before, *ends, error,
        named.rollout if named else "", "", msgspec.json.encode(rule).decode(),
    )  # fmt: skip


def _clause(path: str, pointer: str, clause: Document, known: Known) -> ClauseRow:
    op, negate = str(clause.get("op", "in")), clause.get("negate") is True
    cohort = op == "in_cohort"
    values = listed(clause.get("values"))
    options: tuple[Option, ...] = ()
    if cohort and len(values) <= 1:
        names = {*known.cohorts, *map(str, values)}
        options = tuple(Option(name, name) for name in sorted(names))
    error = next((text for key, text in known.errors.items() if key == pointer or key.startswith(f"{pointer}/")), "")
    return ClauseRow(
        path, cohort, ("!" if negate else "") + op, str(clause.get("attribute", "")), values_text(values),
        op != "exists", options, error,
    )  # fmt: skip


def normalise(document: Document, before: Document) -> Document:
    """Turns what the sentence's controls say (`@pick`, `@test`, `@values`) into the model's words."""
    variants = list(mapping(document.get("variants")) or mapping(before.get("variants")))
    for rule in objects(document.get("rules")):
        rule["if"] = [_read_clause(clause) for clause in objects(rule.get("if"))]
        rule["serve"] = _read_serve(rule.get("serve"), variants)
    if document.get("rules") is None:
        document["rules"] = []
    document["default"] = _read_serve(document.get("default"), variants)
    return document


def normalise_alternatives(document: Document) -> Document:
    """A cohort's alternatives: each a list of conditions, as a rule's."""
    alternatives = document.get("any_of")
    if isinstance(alternatives, list):
        document["any_of"] = [[_read_clause(clause) for clause in objects(clauses)] for clauses in alternatives]
    return document


def _read_clause(clause: Document) -> Document:
    if "@test" not in clause:
        return clause
    test = str(clause.pop("@test"))
    op = test.removeprefix("!")
    text = str(clause.pop("@values", ""))
    if op == "in_cohort":
        clause.pop("attribute", None)
        values: list[Any] = [part.strip() for part in text.split(",") if part.strip()]
    else:
        values = [] if op == "exists" else read_values(text, numeric=op in _NUMERIC)
    read: Document = {**clause, "op": op, "values": values}
    if test.startswith("!"):
        read["negate"] = True
    return read


def _read_serve(serve: Any, variants: Sequence[str]) -> Any:
    if not isinstance(serve, dict) or "@pick" not in serve:
        return serve
    pick = str(serve.pop("@pick"))
    if pick != SPLIT:
        return pick
    shares = objects(serve.get("split"))
    if not shares:  # just chosen: the first two variants, nobody moved yet
        names = list(variants)[:2] or [""]
        serve["split"] = [
            {"variant": name, "weight_bp": 10_000 * (index == len(names) - 1)} for index, name in enumerate(names)
        ]
    return serve


def read_values(text: str, *, numeric: bool = False) -> list[Any]:
    """`pro, 5, true, "5"` → what the clause compares with: quotes keep text that looks like something else."""
    return [_scalar(part.strip(), numeric) for part in _parts(text) if part.strip()]


def _parts(text: str) -> list[str]:
    """Split at commas outside of double quotes, in which a backslash escapes."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        quoted ^= character == '"' and not escaped
        escaped = quoted and character == "\\" and not escaped
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _scalar(text: str, numeric: bool) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    if numeric and isinstance(value, str):
        return value
    return value if isinstance(value, str | int | float | bool) else text


def values_text(values: Sequence[Any]) -> str:
    return ", ".join(_value_text(value) for value in values)


def _value_text(value: Any) -> str:
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    plain = _scalar(value, numeric=False) == value and "," not in value and value == value.strip() and '"' not in value
    return value if plain and value else msgspec.json.encode(value).decode()


def sentence(clause: Document) -> str:
    """plan is pro or team; not in cohort beta."""
    op, negate = str(clause.get("op", "")), clause.get("negate") is True
    values = " or ".join(values_text([value]) for value in clause.get("values", ()))
    if op == "in_cohort":
        return f"{'not ' * negate}in cohort {values}"
    return f"{clause.get('attribute', '')} {_SAYS.get(op, (op, op))[negate]} {values}".rstrip()


def blank_rule(document: Document, known: Known) -> Document:
    """A new rule: for the first cohort there is, else for a plan; it serves the first variant."""
    used = {str(rule.get("id")) for rule in objects(document.get("rules"))}
    name = next(free for free in (f"rule-{number}" for number in range(1, 10_000)) if free not in used)
    return {
        "id": name,
        "if": [blank_clause(known, cohort=bool(known.cohorts))],
        "serve": next(iter(known.variants), ""),
    }


def blank_clause(known: Known, *, cohort: bool) -> Document:
    if cohort:
        return {"op": "in_cohort", "values": list(known.cohorts[:1])}
    return {"attribute": "plan", "op": "in", "values": ["pro"]}


def _shares(serve: Any) -> Any:
    return serve.get("split") if isinstance(serve, dict) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
