"""A typed form for any struct of the model: msgspec knows the fields, this lays them out. Pure.

The same description serves variants of every flag type, profiles, request classes, cohorts and templates, so a new
field of the model has its control the moment it exists.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import inspect

from controlplane.web.editing.draft import escape
from controlplane.web.kit.parts import Option
from controlplane.web.kit.words import words

Control = Literal["text", "number", "area", "lines", "json", "choice", "check", "each"]


class Leaf(msgspec.Struct, frozen=True):
    """One control. `name` is a field's name as web.draft reads it. A text's `options` are suggestions."""

    control: Control
    name: str
    label: str
    value: str = ""
    options: tuple[Option, ...] = ()
    chosen: tuple[str, ...] = ()
    hint: str = ""
    error: str = ""
    node: str = "leaf"


class Group(msgspec.Struct, frozen=True):
    """Fields that belong together. `remove` and `moves` are commands of web.draft; empty = cannot."""

    label: str
    children: tuple["Node", ...]
    remove: str = ""
    moves: tuple[str, ...] = ()
    note: str = ""
    """A digest, for when the group is folded."""
    node: str = "group"


class Items(msgspec.Struct, frozen=True):
    """Several groups, and the command that adds one."""

    label: str
    items: tuple[Group, ...]
    add: str
    one: str
    node: str = "items"


Node: TypeAlias = Leaf | Group | Items


class Place(msgspec.Struct, frozen=True):
    """Where a value stands: in the form, and as the JSON pointer that faults name."""

    path: str
    pointer: str
    label: str
    errors: Mapping[str, str]
    hints: Mapping[str, str] = {}

    def field(self, name: str) -> "Place":
        token = escape(name)
        return Place(f"{self.path}/{token}", f"{self.pointer}/{token}", _label(name), self.errors, self.hints)

    def index(self, index: int, label: str) -> "Place":
        return Place(f"{self.path}/[{index}]", f"{self.pointer}/{index}", label, self.errors, self.hints)

    def entry(self, index: int, key: str) -> "Place":
        return Place(f"{self.path}/{{{index}}}", f"{self.pointer}/{escape(key)}", key, self.errors, self.hints)

    @property
    def error(self) -> str:
        return self.errors.get(self.pointer, "")

    @property
    def hint(self) -> str:
        return self.hints.get(self.pointer.rpartition("/")[2], "")


def fields(
    struct: type[msgspec.Struct], value: Mapping[str, Any], place: Place, skip: frozenset[str]
) -> tuple[Node, ...]:
    """The form of every field of `struct` but those in `skip`."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return tuple(
        describe(field.type, value.get(field.encode_name, _default(field)), place.field(field.encode_name))
        for field in info.fields
        if field.encode_name not in skip
    )


def describe(kind: inspect.Type, value: Any, place: Place) -> Node:
    """The form of one value; a value that does not fit its type is shown as what it is."""
    kind, optional = _unwrap(kind)
    for known, make in _MAKERS:
        if isinstance(kind, known):
            return make(kind, value, place, optional)
    return _leaf("json", "json", _dump(value), place)


Options: TypeAlias = Mapping[str, tuple[Option, ...]]


def offer(node: Node, choices: Options, suggested: Options = MappingProxyType({})) -> Node:
    """The same form, with a picker for every field that `choices` names, and what `suggested` lists to choose from or to
    overwrite."""
    if isinstance(node, Leaf):
        name = node.name.rpartition("/")[2]
        if options := choices.get(name):
            return msgspec.structs.replace(node, control="choice", options=options)
        return msgspec.structs.replace(node, options=suggested[name]) if name in suggested else node
    if isinstance(node, Group):
        return _offer_in(node, choices, suggested)
    return msgspec.structs.replace(node, items=tuple(_offer_in(item, choices, suggested) for item in node.items))


def _offer_in(group: Group, choices: Options, suggested: Options) -> Group:
    return msgspec.structs.replace(group, children=tuple(offer(child, choices, suggested) for child in group.children))


def blank(kind: inspect.Type) -> Any:
    """What a new value of this type starts as: only what must be there, and nothing that is right by accident."""
    kind, _ = _unwrap(kind)
    if isinstance(kind, inspect.StructType):
        return {field.encode_name: blank(field.type) for field in kind.fields if field.required}
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, inspect.BoolType):
        return False
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return max(1, int(getattr(kind, "ge", None) or 1))
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return []
    return {} if isinstance(kind, inspect.DictType | inspect.AnyType) else ""


def find(kind: inspect.Type, tokens: list[str]) -> inspect.Type | None:
    """The type at a path of web.draft, below `kind`."""
    kind, _ = _unwrap(kind)
    if not tokens:
        return kind
    head, *rest = tokens
    if isinstance(kind, inspect.StructType):
        return next((find(field.type, rest) for field in kind.fields if field.encode_name == head), None)
    if isinstance(kind, inspect.DictType):
        return find(kind.value_type, rest)
    return find(kind.item_type, rest) if isinstance(kind, inspect.VarTupleType) else None


def new_item(kind: inspect.Type | None) -> Any:
    """What `add` puts at a list, a map or an optional object of type `kind` (the form web.draft.change wants)."""
    if isinstance(kind, inspect.VarTupleType):
        return blank(kind.item_type)
    if isinstance(kind, inspect.DictType):
        return ("new", blank(kind.value_type))
    return {**blank(kind), "@one": True} if isinstance(kind, inspect.StructType) else ""


def _text(kind: inspect.StrType, value: Any, place: Place, optional: bool) -> Node:
    long = (kind.max_length or 0) > 200 and place.label != "Owner"
    return _leaf("area" if long else "text", "text?" if optional else "text", _plain(value), place)


def _number(kind: inspect.Type, value: Any, place: Place, optional: bool) -> Node:
    if place.pointer.endswith("_bp"):  # people think in per cent
        return _leaf("number", "percent", f"{value / 100:g}" if isinstance(value, int) else _plain(value), place)
    codec = "int" if isinstance(kind, inspect.IntType) else "float"
    return _leaf("number", codec + "?" * optional, _plain(value), place)


def _check(_: inspect.Type, value: Any, place: Place, __: bool) -> Node:
    return _leaf("check", "bool", "true" if value is True else "", place)


def _choice(kind: inspect.LiteralType, value: Any, place: Place, optional: bool) -> Node:
    options = tuple(Option(str(option), words(option)) for option in kind.values)
    none = (Option("", "not set"),) if optional else ()
    leaf = _leaf("choice", "text?" if optional else "text", _plain(value), place)
    return msgspec.structs.replace(leaf, options=none + options)


def _several(kind: inspect.VarTupleType, value: Any, place: Place, _: bool) -> Node:
    item, _ = _unwrap(kind.item_type)
    found = list(value) if isinstance(value, list | tuple) else []
    if isinstance(item, inspect.LiteralType):
        leaf = _leaf("each", "each", "", place)
        options = tuple(Option(str(option), words(option)) for option in item.values)
        return msgspec.structs.replace(leaf, options=options, chosen=tuple(map(str, found)))
    if isinstance(item, inspect.StrType):
        return _leaf("lines", "lines", "\n".join(map(str, found)), place)
    groups = tuple(_item(item, value, place.index(index, ""), index, len(found)) for index, value in enumerate(found))
    return Items(place.label, groups, f"add:{place.path}", _singular(place.label))


def _item(kind: inspect.Type, value: Any, place: Place, index: int, total: int) -> Group:
    node = describe(kind, value, place)
    children = node.children if isinstance(node, Group) else (node,)
    moves = tuple(f"{verb}:{place.path}" for verb, can in (("up", index > 0), ("down", index < total - 1)) if can)
    return Group(str(index + 1), children, f"remove:{place.path}", moves)


def _map(kind: inspect.DictType, value: Any, place: Place, _: bool) -> Node:
    entries = value if isinstance(value, dict) else {}
    groups = []
    for index, (key, entry) in enumerate(entries.items()):
        at = place.entry(index, str(key))
        name = Leaf("text", f"text:{at.path}/@key", "Name", str(key), error=at.error)
        node = describe(kind.value_type, entry, at)
        if isinstance(node, Leaf):
            codec = node.name.partition(":")[0]
            body: tuple[Node, ...] = (msgspec.structs.replace(node, name=f"{codec}:{at.path}/@value", label="Value"),)
        else:
            body = node.children if isinstance(node, Group) else (node,)
        groups.append(Group(str(key), (name, *body), f"remove:{at.path}"))
    return Items(place.label, tuple(groups), f"add:{place.path}", _singular(place.label))


def _struct(kind: inspect.StructType, value: Any, place: Place, optional: bool) -> Node:
    if optional and value is None:
        return Items(place.label, (), f"add:{place.path}", place.label.lower())
    inner = value if isinstance(value, dict) else {}
    children = fields(kind.cls, inner, place, frozenset())
    return Group(place.label, children, f"remove:{place.path}" if optional else "")


_MAKERS: tuple[tuple[Any, Callable[[Any, Any, Place, bool], Node]], ...] = (
    (inspect.StrType, _text), (inspect.IntType, _number), (inspect.FloatType, _number), (inspect.BoolType, _check),
    (inspect.LiteralType, _choice), (inspect.VarTupleType, _several), (inspect.DictType, _map),
    (inspect.StructType, _struct),
)  # fmt: skip


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """Without None, without annotations; and whether None was allowed."""
    if isinstance(kind, inspect.Metadata):
        return _unwrap(kind.type)
    if isinstance(kind, inspect.UnionType):
        rest = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        optional = len(rest) < len(kind.types)
        if len(rest) == 1:
            return _unwrap(rest[0])[0], optional
        if all(isinstance(member, inspect.LiteralType) for member in rest):
            return inspect.LiteralType(tuple(value for member in rest for value in member.values)), optional  # type: ignore[attr-defined]
        return inspect.AnyType(), optional
    return kind, False


def _leaf(control: Control, codec: str, value: str, place: Place) -> Leaf:
    return Leaf(control, f"{codec}:{place.path}", place.label, value, hint=place.hint, error=place.error)


def _default(field: inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return None if field.default_factory is msgspec.NODEFAULT else msgspec.to_builtins(field.default_factory())


def _plain(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    return "" if value is None else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


UNITS = {"_bp": ", %", "_s": ", seconds", "_ms": ", milliseconds", "_at": ", instant"}


def _label(name: str) -> str:
    """min_duration_s → Min duration, seconds."""
    for suffix, said in UNITS.items():
        if name.endswith(suffix):
            name = name.removesuffix(suffix) + said
            break
    text = words(name)
    return text[:1].upper() + text[1:]


def _singular(label: str) -> str:
    return label.lower().removesuffix("s")
