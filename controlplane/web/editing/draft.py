"""Forms ↔ JSON documents that are not saved yet.

A field's name says how to read it and where it goes: `int:/variants/{0}/limit`. In a path `[2]` is an index into a
list and `{2}` the entry at that place of a map, whose name stands in `@key` and, when it is no object, whose value
stands in `@value`: so a name can be edited like everything else. Text that does not fit is kept as it was typed; the
kernel's parser then says what is wrong with it, and where.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

Document: TypeAlias = dict[str, Any]
_TOKEN = re.compile(r"(\[|\{)(\d{1,4})[\]}]\Z")
_DROP = object()


class _List(dict[int, Any]):
    """A list in the making: fields arrive in any order and with gaps."""


class _Map(dict[int, Any]):
    """A map in the making, by the place of its entries."""


def _number(convert: Callable[[str], object]) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return convert(text.strip().replace(",", ""))
        except ValueError:
            return text

    return read


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _optional(read: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: read(text) if text.strip() else _DROP


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


CODECS: Mapping[str, Callable[[str], object]] = {
    "text": str,
    "text?": _optional(str),
    "int": _number(int),
    "int?": _optional(_number(int)),
    "float": _number(_float),
    "float?": _optional(_number(_float)),
    "percent": _number(lambda text: round(_float(text) * 100)),
    "bool": lambda text: text == "true",
    "json": _json,
    "lines": lambda text: [line.strip() for line in text.splitlines() if line.strip()],
    "each": str,
}


def read(fields: Iterable[tuple[str, str]]) -> Document:
    """The document that a form's fields spell. Names without a codec are somebody else's."""
    root: Document = {}
    for name, text in fields:
        codec, _, path = name.partition(":")
        if codec in CODECS and path.startswith("/"):
            _place(root, steps_of(path), CODECS[codec](text.replace("\r\n", "\n")), several=codec == "each")
    found = _collapse(root)
    return found if isinstance(found, dict) else {}


def mapping(value: object) -> Document:
    """A document's part where an object is due; empty where something else was typed."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """As `mapping`, where an array is due."""
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Document]:
    """As `listed`, without what is no object."""
    return [item for item in listed(value) if isinstance(item, dict)]


def steps_of(path: str) -> list[str]:
    """The tokens of a path that begins with a slash."""
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def escape(key: str) -> str:
    """A key as one token of a path or a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _place(root: Document, tokens: list[str], value: object, *, several: bool) -> None:
    here: Any = root
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        key = _key(token)
        if not isinstance(here, dict):
            return
        if following == "":
            _set(here, key, value, several=several)
            return
        kind = _TOKEN.match(following)
        made: Any = {} if kind is None else _List() if kind[1] == "[" else _Map()
        here = here.setdefault(key, made)


def _set(here: dict[Any, Any], key: str | int, value: object, *, several: bool) -> None:
    if several:
        chosen = here.setdefault(key, [])
        if value and isinstance(chosen, list):
            chosen.append(value)
    elif value is not _DROP:
        here[key] = value


def _key(token: str) -> str | int:
    match = _TOKEN.match(token)
    return int(match[2]) if match else token


def _collapse(found: Any) -> Any:
    if isinstance(found, _List):
        return [_collapse(found[index]) for index in sorted(found)]
    if isinstance(found, _Map):
        return dict(_entry(found[index]) for index in sorted(found))
    if isinstance(found, dict):
        return {str(key): _collapse(value) for key, value in found.items()}
    return found


def _entry(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, dict):
        return "", entry
    key = str(entry.pop("@key", ""))
    return key, entry["@value"] if "@value" in entry else _collapse(entry)


def change(document: Document, command: str, blank: Callable[[str], Any]) -> None:
    """Carries out one button of a form, `verb:path`: add, remove, copy, up, down, or `to.3` for a dragged item.

    `blank(path)` gives what a new item at that list, map or optional object starts as.
    """
    verb, _, path = command.partition(":")
    tokens = steps_of(path) if path.startswith("/") else []
    if not tokens:
        return
    if verb == "add":
        _add(document, tokens, blank(path))
        return
    holder = walk(document, tokens[:-1])
    key = _key(tokens[-1])
    if isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        _change_list(holder, key, verb)
    elif isinstance(holder, dict) and verb == "remove":
        _remove(holder, tokens[-1])


def _change_list(items: list[Any], index: int, verb: str) -> None:
    item = items[index]
    if verb == "remove":
        items.pop(index)
    elif verb == "copy":
        items.insert(index + 1, msgspec.json.decode(msgspec.json.encode(item)))
    elif verb in {"up", "down"}:
        items.insert(max(0, index + (-1 if verb == "up" else 1)), items.pop(index))
    elif verb.startswith("to.") and verb[3:].isdecimal() and len(verb) < 12:
        items.insert(int(verb[3:]), items.pop(index))


def _remove(holder: dict[str, Any], token: str) -> None:
    place = _TOKEN.match(token)
    name = list(holder)[int(place[2])] if place and int(place[2]) < len(holder) else token
    holder.pop(name, None)


def _add(document: Document, tokens: list[str], item: Any) -> None:
    holder = walk(document, tokens[:-1])
    if not isinstance(holder, dict):
        return
    there = holder.get(tokens[-1])
    if isinstance(item, tuple):  # an entry of a map: (name, value)
        entries = holder.setdefault(tokens[-1], {}) if there is None else there
        if isinstance(entries, dict):
            entries[_free(item[0], entries)] = item[1]
    elif isinstance(there, list):
        there.append(item)
    elif there is None:
        holder[tokens[-1]] = item if isinstance(item, dict) and item.pop("@one", False) else [item]


def _free(name: str, taken: Iterable[str]) -> str:
    used = set(taken)
    return next(free for free in (name, *(f"{name}-{number}" for number in range(2, 10_000))) if free not in used)


def walk(document: Any, tokens: list[str]) -> Any:
    """What stands at a path; None when nothing does."""
    here = document
    for token in tokens:
        place = _TOKEN.match(token)
        if isinstance(here, list) and place and int(place[2]) < len(here):
            here = here[int(place[2])]
        elif isinstance(here, dict) and place and int(place[2]) < len(here):
            here = list(here.values())[int(place[2])]
        elif isinstance(here, dict) and token in here:
            here = here[token]
        else:
            return None
    return here
