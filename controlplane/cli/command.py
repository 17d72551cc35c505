"""Commands from annotated functions: a parameter's annotation says its type, and an `Argument` or `Option` the rest.

Click alone, because Typer doubles what starting a command costs (ADR 0150).
"""

import gc
import inspect
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from functools import cached_property, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import click

Parameters = Callable[[], Iterable[inspect.Parameter]]


class Argument:
    """A positional parameter. `min` and `max` bound a number."""

    def __init__(self, *, help: str = "", min: float | None = None, max: float | None = None) -> None:  # noqa: A002
        self.help, self.min, self.max = help, min, max


class Option(Argument):
    """A parameter with a name: `names`, else its Python name with dashes.

    Args:
        names: `--long`, `-s`, or `--yes/--no`.
        envvar: The environment variable that sets it too.
        shared: Whether every verb has it; the help lists those apart.
        shown: Whether the help shows the default.
        prompt: Whether to ask for it when it is absent.
        hidden: Whether what is typed at the prompt stays invisible.
    """

    def __init__(
        self,
        *names: str,
        envvar: str | None = None,
        shared: bool = False,
        shown: bool = True,
        prompt: bool = False,
        hidden: bool = False,
        **bounds: Any,
    ) -> None:
        super().__init__(**bounds)
        self.names, self.envvar, self.shared, self.shown = names, envvar, shared, shown
        self.prompt, self.hidden = prompt, hidden


class Command(click.Command):
    """A verb whose help lists the shared options last, under a heading of their own.

    Its parameters are read from the function once they are asked for: `flag list` does not wait for those of `flag put`.
    """

    def __init__(self, name: str, function: Callable[..., None], parameters: Parameters | None = None) -> None:
        super().__init__(name, callback=function, help=inspect.getdoc(function))
        del self.params
        self._parameters = parameters or partial(_declared, function)

    @cached_property
    def params(self) -> list[click.Parameter]:  # type: ignore[override]
        return [_parameter(each) for each in self._parameters()]

    def invoke(self, ctx: click.Context) -> Any:
        if not gc.isenabled():  # `main` turned it off while everything was loaded, and that stays
            gc.freeze()
            gc.enable()
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Everywhere": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                sections["Everywhere" if getattr(option, "shared", False) else "Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Noun(click.Group):
    """A noun and its verbs, in the order of the code. Its bare name prints the help."""

    def __init__(self, name: str, help: str = "") -> None:  # noqa: A002
        super().__init__(name, help=help, no_args_is_help=True)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def add(self, name: str, function: Callable[..., None], parameters: Parameters | None = None) -> None:
        """Adds a function as the verb `name`. Its parameters are those of its signature, unless `parameters` returns others."""
        self.add_command(Command(name, function, parameters))


class Listing(Noun):
    """A noun whose bare name lists: `brownout history --json` is `brownout history list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def _declared(function: Callable[..., None]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function).parameters.values()


def _parameter(given: inspect.Parameter) -> click.Parameter:
    assert get_origin(given.annotation) is Annotated, given
    declared, about = get_args(given.annotation)
    required, default = given.default is inspect.Parameter.empty, given.default
    type_, several = _type(declared, about)
    options: dict[str, Any] = {"type": type_, "required": required, "help": about.help or None}
    if not required and not several:
        options["default"] = default
    if several:
        options["callback"] = lambda _, __, value: list(value) if value else default
    if not isinstance(about, Option):
        return click.Argument([given.name], nargs=-1 if several else 1, **options)
    made = click.Option(
        [given.name, *(about.names or (f"--{given.name.replace('_', '-')}",))],
        multiple=several,
        is_flag=declared is bool,
        envvar=about.envvar,
        show_envvar=True,
        show_default=about.shown and default is not None and default is not False and default != "",
        prompt=about.prompt,
        hide_input=about.hidden,
        **options,
    )
    made.shared = about.shared  # type: ignore[attr-defined]
    return made


def _type(declared: Any, about: Argument) -> tuple[Any, bool]:
    """Returns click's type, and whether there may be several."""
    if get_origin(declared) is UnionType:
        (declared,) = (each for each in get_args(declared) if each is not NoneType)
    if get_origin(declared) is list:
        return _type(get_args(declared)[0], about)[0], True
    if get_origin(declared) is Literal:
        return click.Choice(get_args(declared)), False
    if issubclass(declared, Enum):
        return click.Choice([each.value for each in declared]), False
    if issubclass(declared, Path):
        return click.Path(path_type=Path), False
    if issubclass(declared, datetime):
        return click.DateTime(), False
    if issubclass(declared, int | float) and (about.min is not None or about.max is not None):
        ranged: Any = click.IntRange if issubclass(declared, int) else click.FloatRange
        return ranged(about.min, about.max), False
    return declared, False
