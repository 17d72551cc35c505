"""Two documents as the lines that differ, each stretch under the JSON pointer where it stands. Pure."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import msgspec

from controlplane.configuration.store.values import Change
from controlplane.web.editing.draft import escape
from controlplane.web.editing.worddiff import is_long, word_diff
from controlplane.web.kit.parts import DiffLine

CONTEXT = 1
MAX_LINES = 400
"""What is longer is cut, and says so: nobody reads it, and a browser should not lay it out."""


class _Line(NamedTuple):
    text: str
    pointer: str
    name: str = ""
    """What stands before the value."""
    value: str = ""
    """A long text, which is compared by words."""


def diff_bytes(before: bytes | None, after: bytes | None, title: str = "") -> tuple[DiffLine, ...]:
    """Of two specs as stored; None: it did not, or will not, exist."""
    old = list(_lines(msgspec.json.decode(before))) if before is not None else []
    new = list(_lines(msgspec.json.decode(after))) if after is not None else []
    return _cut(tuple(_hunks(old, new, title)))


def diff_changes(changes: tuple[Change, ...]) -> tuple[DiffLine, ...]:
    """Of a commit: every resource under its kind and key."""
    found: list[DiffLine] = []
    for change in changes:
        title = f"{change.kind.replace('_', ' ')} {change.key}"
        found.extend(diff_bytes(change.before, change.after, title))
        if len(found) > MAX_LINES:
            break
    return _cut(tuple(found))


def _cut(lines: tuple[DiffLine, ...]) -> tuple[DiffLine, ...]:
    if len(lines) <= MAX_LINES:
        return lines
    return (*lines[:MAX_LINES], DiffLine("at", f"… {len(lines) - MAX_LINES} more lines"))


def _hunks(old: list[_Line], new: list[_Line], title: str) -> Iterator[DiffLine]:
    matcher = SequenceMatcher(None, [line.text for line in old], [line.text for line in new], autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        first = next(code for code in group if code[0] != "equal")
        where = old[first[1]].pointer if first[0] in {"replace", "delete"} else new[first[3]].pointer
        yield DiffLine("at", " ".join(part for part in (title, where) if part) or "/")
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from (DiffLine("same", line.text) for line in new[new_from:new_to])
                continue
            yield from _replaced(old[old_from:old_to], new[new_from:new_to])


def _replaced(old: list[_Line], new: list[_Line]) -> Iterator[DiffLine]:
    """Texts under the same name are compared by words where every line has its counterpart."""
    same = [(line.pointer, line.name) for line in old] == [(line.pointer, line.name) for line in new]
    texts = [word_diff(a.value, b.value) if a.value and b.value else None for a, b in zip(old, new, strict=False)]
    if not same or not any(texts):
        yield from (DiffLine("del", line.text) for line in old)
        yield from (DiffLine("add", line.text) for line in new)
        return
    for before, after, parts in zip(old, new, texts, strict=True):
        if parts:
            yield DiffLine("words", before.name, parts)
        else:
            yield from (DiffLine("del", before.text), DiffLine("add", after.text))


def _lines(value: Any, pointer: str = "", indent: str = "", prefix: str = "", comma: str = "") -> Iterator[_Line]:
    """JSON as people indent it; short lists stay on one line. `pointer` is that of the container."""
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    if not isinstance(value, dict | list) or not value or _short(value):
        text = value if isinstance(value, str) and is_long(value) else ""
        yield _Line(f"{indent}{prefix}{_dump(value)}{comma}", pointer.rpartition("/")[0], f"{indent}{prefix}", text)
        return
    yield _Line(f"{indent}{prefix}{opening}", pointer)
    members = list(value.items()) if isinstance(value, dict) else [(str(i), item) for i, item in enumerate(value)]
    for index, (key, member) in enumerate(members):
        name = f"{_dump(key)}: " if isinstance(value, dict) else ""
        end = "," if index < len(members) - 1 else ""
        yield from _lines(member, f"{pointer}/{escape(key)}", indent + "  ", name, end)
    yield _Line(f"{indent}{closing}{comma}", pointer)


def _short(value: Any) -> bool:
    return (
        isinstance(value, list) and not any(isinstance(item, dict | list) for item in value) and len(_dump(value)) < 60
    )


def _dump(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_dump, value))}]"
    return msgspec.json.format(msgspec.json.encode(value), indent=-1).decode().replace("\n", " ")


def pretty(value: Any) -> str:
    """A document as the editor's JSON pane shows it."""
    return "\n".join(line.text for line in _lines(value))
