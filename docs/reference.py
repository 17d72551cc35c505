"""Writes what the code knows better than we do: settings, resources, the SDK's names, and the list of decisions.

    python -m docs.reference           # writes them
    python -m docs.reference --check   # names those that are not up to date, and ends with 1

Types, defaults and ranges come from the structs, meanings from the docstrings under their fields.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, fill
from typing import Any, get_args

import msgspec
from msgspec import inspect as types

from brownout.config import Config
from brownout.model import values
from brownout.model.kinds import KINDS
from brownout.model.resources import VALUE_TYPES
from controlplane.access.responder import AuthdSettings
from controlplane.cli import app
from controlplane.contract.kinds import KINDS as ROWS
from controlplane.settings import Secret, Settings
from docs import sdk_reference
from docs.prose import wrapped

DOCS = Path(__file__).parent
COMMON = {"description": "What it is for, in your words.", "owner": "The people to ask about it."}
"""Fields that mean the same in every kind."""

SDK = {
    "NATS_URL": "urls", "SDK_KEY": "key", "ENVIRONMENT": "environment", "SERVICE": "service", "NATS_CA": "tls",
    "DISK": "disk", "BUNDLE": "bundle", "STALE_AFTER_S": "stale_after_s", "JETSTREAM_DOMAIN": "domain",
    "SAFE_MODE": "safe_mode", "SAFE_MODE_FILE": "safe_mode_file",
}  # fmt: skip
"""Variables of the SDK and the fields of its `Config` that they set (`brownout.config.configure`)."""

ERRORS = set(get_args(values.ErrorClass))
GENERATED = "<!-- Written by `make docs-reference` from the code. Do not edit: change the docstrings instead. -->"


def settings() -> str:
    """docs/settings.md."""
    return f"""# Settings

After reading this page you can configure each part of Brownout. Every setting is an environment variable.

```sh
export BROWNOUT_LOG_FORMAT=console
export BROWNOUT_SECRET_KEY_FILE=/run/secrets/brownout   # a file that holds the value of BROWNOUT_SECRET_KEY
```

For the control plane and `brownout authd`, `BROWNOUT_X_FILE` names a file that holds the value of `BROWNOUT_X`. A process
does not start with a missing or invalid setting, and names all such settings at once.

{GENERATED}

## Control plane

`brownout serve` and `brownout migrate` read these. `brownout up` sets the required ones itself.

{_settings_table(Settings)}
## `brownout authd`

{_settings_table(AuthdSettings, Settings)}
## SDK

Arguments of `Brownout.connect` win over these variables ([the SDK's guide](../sdk/README.md)).

{_sdk_table()}
## Command line

Options win over these variables ([the command line](cli.md)).

{_cli_table()}"""


def resources() -> str:
    """docs/resources.md."""
    structs = _Structs()
    kinds = "".join(
        f"## {_words(name)}\n\n{_of_kind(name)}\n\n" + structs.section(kind.struct) for name, kind in KINDS.items()
    )
    flag_values = "".join(structs.section(type_, 3) for type_ in VALUE_TYPES.values() if _is_struct(type_))
    errors = ", ".join(f"`{error}`" for error in get_args(values.ErrorClass))
    return f"""# Resources: every field

After reading this page you can write the spec of any resource. Specs are strict: an unknown field is an error.

```sh
brownout flag get web-search            # every field, with its default
brownout flag put web-search flag.yaml
```

A key has 1 to 100 characters: lower-case letters, digits, `.`, `_` and `-`, the first a letter or a digit. Times are
RFC 3339 with a zone. A range in characters, items or entries counts these.

{GENERATED}

{kinds}## Values of LLM flags

A flag's `variants` hold values of its `type`. For `boolean`, `string`, `integer`, `float` and `object` they are JSON. The
other types are structs:

{flag_values}## Parts

{structs.parts()}## Error classes

{fill(errors, 120, break_long_words=False, break_on_hyphens=False)}
"""


def decisions() -> str:
    """docs/adr/README.md: its own text, and a list of the decisions."""
    index = DOCS / "adr" / "README.md"
    text = index.read_text(encoding="utf-8").split("\n" + GENERATED)[0].rstrip()
    rows = [f"| [{file.name[:4]}]({file.name}) | {_title(file)} |" for file in sorted(index.parent.glob("0*.md"))]
    return f"{text}\n\n{GENERATED}\n\n| number | decision |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def sdk() -> str:
    """docs/sdk/reference.md."""
    return f"""# SDK reference

After reading this page you know every public name of the SDK: its arguments, what it returns and what it raises. The
[guide](../../sdk/README.md) says when to use it.

```python
from brownout import Brownout
```

What is not on this page is private and may change in any release.

{GENERATED}

{sdk_reference.text(field_docs)}"""


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "resources.md": resources,
    "sdk/reference.md": sdk,
    "adr/README.md": decisions,
}


def page(name: str) -> str:
    """The page as it is to be."""
    return wrapped(PAGES[name]())


def stale() -> list[str]:
    """The pages that the code no longer agrees with."""
    return [
        name for name in PAGES if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != page(name)
    ]


def field_docs(struct: type) -> dict[str, str]:
    """The docstring under each field of a struct or value of an enum, those that it inherits included."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base.__module__.split(".")[0] not in {"brownout", "controlplane"}:
            continue
        (node,) = ast.parse(dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for field, after in zip(node.body, node.body[1:], strict=False):
            target = field.target if isinstance(field, ast.AnnAssign) else _only_target(field)
            text = ast.get_docstring(ast.Module([after], []))
            if isinstance(target, ast.Name) and text:
                found[target.id] = " ".join(text.split())
    return found


def _only_target(node: ast.stmt) -> ast.expr | None:
    return node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None


class _Structs:
    """Sections for structs; what they are made of is collected and follows under `parts`."""

    def __init__(self) -> None:
        self._told: set[type] = set()
        self._waiting: list[type] = []

    def section(self, struct: type, level: int = 0) -> str:
        self._told.add(struct)
        head = f"{'#' * level} {struct.__name__}\n\n" if level else ""
        docs = {**COMMON, **field_docs(struct)}
        rows = "".join(
            f"| `{field.encode_name}` | {self._type(field.type)} | {_default(field)} | {_range(field.type)} "
            f"| {_cell(docs[field.name])} |\n"
            for field in _fields(struct)
        )
        about = fill(" ".join((inspect.getdoc(struct) or "").split()), 120, break_long_words=False)
        return (
            f"{head}{about}\n\n| field | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n{rows}\n"
        )

    def parts(self) -> str:
        text = ""
        while self._waiting:
            struct = self._waiting.pop(0)
            if struct not in self._told:
                text += self.section(struct, 3)
        return text

    def _type(self, type_: types.Type) -> str:
        match type_:
            case types.StructType(cls=cls):
                self._waiting.append(cls)
                return f"[{cls.__name__}](#{cls.__name__.lower()})"
            case types.UnionType(types=several):
                return " or ".join(self._type(each) for each in several if not isinstance(each, types.NoneType))
            case types.VarTupleType(item_type=item) | types.ListType(item_type=item):
                return f"list of {self._type(item)}"
            case types.DictType(key_type=key, value_type=value):
                return f"object: {self._type(key)} → {self._type(value)}"
            case types.LiteralType(values=several) if set(several) == ERRORS:
                return "[error class](#error-classes)"
            case types.LiteralType(values=several):
                return "one of " + ", ".join(f"`{each}`" for each in several)
            case _:
                return _plain(type_)


def _plain(type_: types.Type) -> str:
    names: dict[type, str] = {
        types.StrType: "text", types.IntType: "integer", types.FloatType: "number", types.BoolType: "boolean",
        types.DateTimeType: "time", types.AnyType: "JSON", types.CustomType: "secret",
    }  # fmt: skip
    return names[type(type_)]


def _range(type_: types.Type) -> str:
    """What is allowed, in words; of a list, how many items and what each may be."""
    match type_:
        case types.UnionType(types=several):
            return "; ".join(filter(None, dict.fromkeys(map(_range, several))))
        case types.VarTupleType(item_type=item, min_length=low, max_length=high):
            each = "" if isinstance(item, types.StructType | types.LiteralType) else _range(item)
            return "; ".join(filter(None, (_span(low, high, "items"), f"each {each}" if each else "")))
        case types.DictType(min_length=low, max_length=high):
            return _span(low, high, "entries")
        case types.StrType(min_length=low, max_length=high, pattern=pattern):
            return "a key" if pattern and pattern.startswith("^[a-z0-9]") else _span(low, high, "characters")
        case types.IntType(ge=low, le=high):
            return _span(low, high, "")
        case types.FloatType(ge=low, gt=above, le=high, lt=below):
            ends = (f"above {above:g}" if above is not None else "", f"below {below:g}" if below is not None else "")
            return ", ".join(filter(None, (*ends, _span(low, high, ""))))
        case _:
            return ""


def _span(low: float | None, high: float | None, of_what: str) -> str:
    shown = [f"{each:,}" if isinstance(each, int) else f"{each:,.10g}" for each in (low, high) if each is not None]
    if shown == ["1"]:
        of_what = of_what.removesuffix("s")
    if len(shown) == 2:
        text = f"{shown[0]} to {shown[1]}"
    elif shown:
        text = ("at least " if low is not None else "at most ") + shown[0]
    else:
        return ""
    return f"{text} {of_what}".strip()


def _default(field: types.Field) -> str:
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if field.required:
        return "required"
    if value is None or isinstance(value, Secret) or (isinstance(value, str | tuple | dict) and not value):
        return ""
    return "its defaults" if isinstance(value, msgspec.Struct) else f"`{_json(value)}`"


def _json(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _settings_table(struct: type, also: type | None = None) -> str:
    docs = {**(field_docs(also) if also else {}), **field_docs(struct)}
    rows = (
        (field.name.upper(), _Structs()._type(field.type), _default(field), _range(field.type), docs[field.name])
        for field in _fields(struct)
    )
    return _table(rows)


def _sdk_table() -> str:
    docs, fields, defaults = field_docs(Config), Config.__struct_fields__, Config.__struct_defaults__
    of = dict(zip(fields, (msgspec.NODEFAULT,) * (len(fields) - len(defaults)) + defaults, strict=True))
    rows = []
    for variable, name in SDK.items():
        default = "required" if of[name] is msgspec.NODEFAULT else f"`{of[name]:g}`" if of[name] else ""
        rows.append((variable, "number" if variable.endswith("_S") else "text", default, "", docs[name]))
    return _table(rows)


def _cli_table() -> str:
    """Variables that an option of any verb reads, and what the options say."""
    found: dict[str, tuple[str, str, str, str, str]] = {}
    for command in _verbs(app):
        for option in command.params:
            text = getattr(option, "help", None) or ""
            named = re.findall(r"BROWNOUT_(\w+)\]", text) or re.findall(r"BROWNOUT_(\w+)", str(option.envvar or ""))
            for name in named:
                about = re.sub(r" \[BROWNOUT_\w+\]", "", text).strip()
                default = "" if option.default in {None, ""} or callable(option.default) else f"`{option.default}`"
                if about and len(about) >= len(found.get(name, ("",) * 5)[4]):
                    found[name] = (name, "text", default, "", about)
    return _table(found[name] for name in sorted(found))


def _verbs(command: Any) -> Iterator[Any]:
    for inner in getattr(command, "commands", {}).values():
        yield from _verbs(inner)
    if not hasattr(command, "commands"):
        yield command


def _table(rows: Any) -> str:
    lines = (
        f"| `BROWNOUT_{name}` | {type_} | {default} | {span} | {_cell(about)} |\n"
        for name, type_, default, span, about in rows
    )
    return "| variable | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n" + "".join(lines)


def _fields(struct: type) -> tuple[types.Field, ...]:
    found = types.type_info(struct)
    assert isinstance(found, types.StructType)
    return found.fields


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _of_kind(name: str) -> str:
    row = ROWS[name]
    if not row.noun:
        return f"Kind `{name}`. The API and the command line have routes and commands of their own for it."
    return f"Kind `{name}`, `/api/v1/environments/{{environment}}/{row.path}`, `brownout {row.noun}`."


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _cell(text: str) -> str:
    return re.sub(r"\bNone\b", "null", text).replace("|", "\\|")


def _title(file: Path) -> str:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return re.sub(r"^# \d{4}:? ", "", first)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        print("\n".join(f"docs/{name} is not up to date: run `make docs-reference`" for name in stale()))
        return 1 if stale() else 0
    for name in PAGES:
        (DOCS / name).write_text(page(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
