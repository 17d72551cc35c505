"""docs/sdk/reference.md: every public name of the SDK, from signatures and docstrings.

Both are read from the source, so that the page is the same on every Python.
"""

import ast
import enum
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any, get_args

MODULES = (
    "brownout",
    "brownout.policy",
    "brownout.context",
    "brownout.runner",
    "brownout.runner.adapters",
    "brownout.runner.guard",
    "brownout.runner.cache",
    "brownout.runner.sqlite_cache",
    "brownout.runner.redis_cache",
    "brownout.runner.outbox",
    "brownout.runner.sqlite_outbox",
    "brownout.runner.drain",
    "brownout.runner.effects",
    "brownout.runner.breaker",
    "brownout.runner.limiter",
    "brownout.trace",
    "brownout.testing",
    "brownout.pytest_plugin",
    "brownout.openfeature",
    "brownout.otel",
    "brownout.integrations.starlette",
    "brownout.integrations.litestar",
    "brownout.integrations.django",
    "brownout.integrations.flask",
    "brownout.codegen",
)
"""What the SDK promises. Everything else is private."""

BETWEEN_MODULES = {"Core"}
"""Private bases whose methods are for other modules of the SDK, not for services."""

WIDTH = 100
"""A longer signature has a line for each parameter."""

FieldDocs = Callable[[type], dict[str, str]]


def text(fields: FieldDocs) -> str:
    """The page below its introduction. `fields` returns the docstring under each field of a class."""
    shown: dict[int, str] = {}
    parts = (part for name in MODULES for part in _module(import_module(name), fields, shown))
    told = "\n".join(part for part in parts if part.strip())
    return told.replace("\n```\n\n```text\n", "\n")  # one block for methods that need no words


def public(module: ModuleType) -> list[str]:
    """The names of `__all__`, else those that the module defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and issubclass(type(value), type | FunctionType)  # not isinstance: Django's settings would be set up
        and value.__module__ == module.__name__
    ]


def _module(module: ModuleType, fields: FieldDocs, shown: dict[int, str]) -> Iterator[str]:
    about = (ast.get_docstring(ast.parse(inspect.getsource(module)), clean=False) or "").strip()
    yield f"## {module.__name__}\n\n{_formatted(about)}\n"
    for name in public(module):
        value = getattr(module, name)
        if (where := shown.setdefault(id(value), module.__name__)) != module.__name__:
            yield f"`{name}` is under [{where}](#{where.replace('.', '')}).\n"
            continue
        yield f"### {name}\n"
        if inspect.isclass(value):
            yield from _class(value, fields)
        elif isinstance(value, FunctionType):
            yield _signature(name, value)
            yield f"{_formatted(_docstring(value))}\n"
        else:
            yield f"One of {', '.join(f'`{each}`' for each in get_args(value))}.\n"


def _class(class_: type, fields: FieldDocs) -> Iterator[str]:
    names = getattr(class_, "__struct_fields__", None) or getattr(class_, "_fields", ())
    make = None if names else _constructor(class_)
    yield _signature(class_.__name__, make, returns=False) if make else ""
    yield f"{_formatted(_docstring(class_))}\n"
    yield f"{_formatted(_docstring(make))}\n" if make else ""
    docs = fields(class_)
    if issubclass(class_, enum.Enum):
        yield _table("value", [(f"`{each.name}`", docs.get(each.name, "")) for each in class_])
        return
    if names:
        types = _types(class_)
        yield _table("field | type", [(f"`{name}` | `{types[name]}`", docs.get(name, "")) for name in names])
    for name, member, told in _members(class_):
        if isinstance(member, FunctionType):
            yield _signature(name, member)
            yield f"{_formatted(told)}\n"
        else:
            yield f"**`{name}`** (property): {_formatted(told)}\n"


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    """With a column of meanings, unless no row has one."""
    columns = [head, "meaning"] if any(meaning for _, meaning in rows) else [head]
    lines = [" | ".join(columns), re.sub(r"[^|]+", " --- ", " | ".join(columns)).strip()]
    lines += [" | ".join(row[: len(columns)]).rstrip() for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _members(class_: type) -> Iterator[tuple[str, Any, str]]:
    """Its own public members and those of private bases, in the order of the code, each with what is said of it."""
    ours = [base for base in class_.__mro__ if _is_ours(base)]
    theirs = [base for base in class_.__mro__ if not _is_ours(base)]
    seen = set()
    for base in ours:
        if base is not class_ and base.__name__ in _promised() | BETWEEN_MODULES:
            continue
        for name, found in vars(base).items():
            member = found.__func__ if isinstance(found, classmethod | staticmethod) else found
            if (
                name.startswith("_")
                or name in seen
                or not isinstance(member, FunctionType | property | cached_property)
            ):
                continue
            seen.add(name)
            told = next(filter(None, (_docstring(vars(each)[name]) for each in ours if name in vars(each))), "")
            if told or not any(name in vars(each) for each in theirs):  # else a framework says what it is for
                yield name, member, told


def _is_ours(class_: type) -> bool:
    return class_.__module__.split(".")[0] == "brownout"


def _promised() -> set[str]:
    return {name for module in MODULES for name in public(import_module(module))}


def _constructor(class_: type) -> FunctionType | None:
    """Our `__init__`, unless class methods make the instances."""
    found = next((vars(base)["__init__"] for base in class_.__mro__ if "__init__" in vars(base)), None)
    if any(isinstance(member, classmethod) for member in vars(class_).values()):
        return None
    return found if isinstance(found, FunctionType) and found.__module__.split(".")[0] == "brownout" else None


def _signature(name: str, function: FunctionType, *, returns: bool = True) -> str:
    """As the source has it, without `self`, and with the names of types."""
    node = _node(function)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    parameters = list(_parameters(node.args))
    end = f" -> {_type(node.returns)}" if node.returns and returns else ""
    awaited = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    told = ", ".join(parameters)
    if len(name + told + end) > WIDTH:
        told = "\n" + "".join(f"    {each},\n" for each in parameters)
    return f"```text\n{awaited}{name}({told}){end}\n```\n"


def _parameters(given: ast.arguments) -> Iterator[str]:
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        if index or argument.arg not in {"self", "cls"}:
            yield _parameter(argument, default)
        if index == len(given.posonlyargs) - 1 and index:
            yield "/"
    if given.vararg:
        yield f"*{_parameter(given.vararg)}"
    elif given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if given.kwarg:
        yield f"**{_parameter(given.kwarg)}"


def _parameter(argument: ast.arg, default: ast.expr | None = None) -> str:
    told = f"{argument.arg}: {_type(argument.annotation)}" if argument.annotation else argument.arg
    if default is None:
        return told
    is_private = isinstance(default, ast.Name) and default.id.startswith("_")
    return f"{told}{' = ' if argument.annotation else '='}{'...' if is_private else _source(default)}"


def _source(node: ast.AST) -> str:
    return ast.unparse(node).replace("'", '"')


def _type(node: ast.AST) -> str:
    """Without the quotes around a type that is defined later."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else _source(node)


def _types(class_: type) -> dict[str, str]:
    """The type of each field, those that it inherits included."""
    found = {}
    for base in filter(_is_ours, reversed(class_.__mro__)):
        node = _node(base)
        assert isinstance(node, ast.ClassDef)
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[field.target.id] = _type(field.annotation).replace("|", "\\|")
    return found


def _docstring(value: Any) -> str:
    """What the source says of a class, a function or a property itself."""
    function = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
    if not isinstance(function, type | FunctionType):
        return ""
    node = _node(function)
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.get_docstring(node) or ""


def _node(value: type | FunctionType) -> ast.stmt:
    (node,) = ast.parse(dedent(inspect.getsource(value))).body
    return node


def _formatted(told: str) -> str:
    """A docstring with its examples fenced, its sections as lists, and its pages as links."""
    told = re.sub(r"(?<!`)\bdocs/([\w/-]+\.md)", r"[docs/\1](../\1)", told)
    told = re.sub(r"^(Args|Raises|Returns|Source):\n((?:    .*\n?)+)", _section, told, flags=re.MULTILINE)
    return re.sub(r"(?:^    .*\n?|^\n(?=\n*    ))+", _example, told + "\n", flags=re.MULTILINE).rstrip()


def _section(found: re.Match[str]) -> str:
    lines = dedent(found[2]).splitlines()
    items = "".join(f"\n  {line.strip()}" if line.startswith(" ") else f"\n- {line}" for line in lines)
    return f"{found[1]}:\n{items}\n"


def _example(found: re.Match[str]) -> str:
    inner = re.sub(r"(\S) {2,}#", r"\1  #", inspect.cleandoc(found[0]).strip())  # as ruff formats it
    return f"\n```python\n{inner}\n```\n" if inner else found[0]
