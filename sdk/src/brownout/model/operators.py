"""Which operands an operator takes, and the readings of text that some of them share."""

import re
from datetime import UTC, datetime
from typing import TypeAlias

from brownout.model.resources import KEY_PATTERN, Clause

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z")
_NUMBER = r"(0|[1-9][0-9]{0,17})"
_LABEL = r"(?:0|[1-9][0-9]{0,17}|[0-9]{0,63}[A-Za-z-][0-9A-Za-z-]{0,63})"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_LABEL}(?:\.{_LABEL}){{0,15}}))?"
    r"(?:\+[0-9A-Za-z-]{1,64}(?:\.[0-9A-Za-z-]{1,64}){0,15})?\Z"
)
"""The grammar of Semantic Versioning 2.0 §2, 9 and 10 (https://semver.org), with bounded lengths."""
_KEY = re.compile(KEY_PATTERN)

Version: TypeAlias = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]

NUMERIC = {"lt", "lte", "gt", "gte"}
TEMPORAL = {"before", "after"}
VERSIONED = {"semver_eq", "semver_lt", "semver_lte", "semver_gt", "semver_gte"}


def instant(text: str) -> datetime | None:
    """The UTC instant in RFC 3339 `text`, None when it is not one (a time without a zone is not)."""
    if not _INSTANT.match(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def version(text: str) -> Version | None:
    """A value that orders as Semantic Versioning 2.0 §11 says, None when `text` is no version.

    `1.2` and `01.2.3` are none; build metadata does not count.
    """
    found = _SEMVER.match(text)
    if found is None:
        return None
    major, minor, patch, pre = found.groups()
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return int(major), int(minor), int(patch), 0 if pre else 1, parts


def operand_fault(clause: Clause) -> str | None:
    """Why `clause.values` do not suit `clause.op`, None when they do."""
    op, values = clause.op, clause.values
    if op == "exists":
        return "exists takes no values" if values else None
    if not values:
        return f"{op} needs a value"
    if op in NUMERIC | TEMPORAL | VERSIONED - {"semver_eq"} and len(values) > 1:
        return f"{op} takes one value"
    if op in {"in", "contains"}:
        return None
    if op in NUMERIC:
        return None if all(type(value) in {int, float} for value in values) else f"{op} compares numbers"
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        return f"{op} takes text"
    if op in TEMPORAL and None in map(instant, texts):
        return f"{op} takes an RFC 3339 instant with a zone, like 2026-01-31T09:00:00Z"
    if op in VERSIONED and None in map(version, texts):
        return f"{op} takes a semantic version, like 1.4.0"
    if op in {"starts_with", "ends_with"} and "" in texts:
        return f"{op} with an empty text holds for every text"
    if op == "in_cohort" and not all(map(_KEY.match, texts)):
        return "in_cohort takes cohort keys"
    return None
