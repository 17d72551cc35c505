"""Two long texts as the words that differ: what people read when a prompt or a template changes. Pure."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from controlplane.web.kit.parts import DiffPart

LONG = 60
"""Characters from which a text is compared by words."""
MAX_WORDS = 4_000
"""Of both texts, between the first change and the last: comparing more takes too long."""
ALIKE = 0.3
"""Texts that share less are two texts, and shown one after the other."""
AROUND = 25
"""Words shown on either side of a change."""

_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+\Z")
Code = tuple[str, int, int, int, int]


def is_long(text: str) -> bool:
    return len(text) > LONG or "\n" in text


def word_diff(before: str, after: str) -> tuple[DiffPart, ...] | None:
    """The parts in reading order; None for texts that are too long or too different to be read as one."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    start = _same(old, new)
    tail = _same(old[start:][::-1], new[start:][::-1])
    old_end, new_end = len(old) - tail, len(new) - tail
    if old_end + new_end - 2 * start > MAX_WORDS:
        return None
    matcher = SequenceMatcher(None, old[start:old_end], new[start:new_end], autojunk=False)
    codes: list[Code] = [("equal", 0, start, 0, start)]
    codes += [(tag, *(at + start for at in ends)) for tag, *ends in matcher.get_opcodes()]  # type: ignore[misc]
    codes += [("equal", old_end, len(old), new_end, len(new))]
    codes = [code for code in codes if code[1] < code[2] or code[3] < code[4]]
    shared = sum(end - begin for tag, begin, end, _, _ in codes if tag == "equal")
    if 2 * shared < ALIKE * (len(old) + len(new)):
        return None
    return tuple(_parts(codes, old, new))


def _same(old: list[str], new: list[str]) -> int:
    """How many words both begin with."""
    found = 0
    for a, b in zip(old, new, strict=False):
        if a != b:
            break
        found += 1
    return found


def _parts(codes: Sequence[Code], old: list[str], new: list[str]) -> Iterator[DiffPart]:
    for number, (tag, old_from, old_to, new_from, new_to) in enumerate(codes):
        if tag == "equal":
            same = old[old_from:old_to]
            yield DiffPart("same", _shortened(same, first=number == 0, last=number == len(codes) - 1))
            continue
        if old_to > old_from:
            yield DiffPart("del", "".join(old[old_from:old_to]))
        if new_to > new_from:
            yield DiffPart("add", "".join(new[new_from:new_to]))


def _shortened(words: list[str], *, first: bool, last: bool) -> str:
    """What did not change, without its middle where that is long; at the ends of a text, only what is next to a change."""
    before, after = 0 if first else AROUND, 0 if last else AROUND
    if len(words) <= before + after + AROUND:
        return "".join(words)
    return "".join(words[:before]) + " … " + "".join(words[len(words) - after :])
