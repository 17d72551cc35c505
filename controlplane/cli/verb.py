"""What all verbs share: the options that say where and who, `--json`, errors as one sentence and an exit code."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import click
import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Noun, Option
from controlplane.cli.session import CliError, Session, find_target
from controlplane.cli.terminal import Shown, Terminal, styled
from controlplane.contract.problems import INTERRUPTED, REFUSED, UNREACHABLE, USAGE

ACTIONS: dict[str, Action] = {}
"""Verb → what it needs, for the reference page and for tests."""

JsonOption = Annotated[bool, Option("--json", help="Answer in JSON.", shared=True)]
UrlOption = Annotated[str, Option("--url", help="The control plane [BROWNOUT_URL].", shared=True)]
TokenOption = Annotated[
    str,
    Option("--token", help="An API token [BROWNOUT_TOKEN].", shared=True, shown=False),
]
DataDirOption = Annotated[str, Option("--data-dir", help="Where `brownout up` keeps its data.", shared=True)]
EnvironmentOption = Annotated[
    str,
    Option("--env", "-e", help="The environment.", envvar="BROWNOUT_ENVIRONMENT", shared=True),
]

_SHARED: dict[str, tuple[object, object]] = {
    "environment": (EnvironmentOption, "production"),
    "as_json": (JsonOption, False),
    "url": (UrlOption, ""),
    "token": (TokenOption, ""),
    "data_dir": (DataDirOption, ""),
}


class Call(msgspec.Struct, frozen=True):
    """What a verb works with: the API and how to answer."""

    session: Session
    as_json: bool
    terminal: Terminal

    def answer(self, value: object, human: Callable[[], Shown | None]) -> None:
        """Prints `value` as JSON, or what `human()` makes of it."""
        if self.as_json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            return
        shown = human()
        if shown is not None:
            self.terminal.print(shown)


def verb(app: Noun, name: str, *, action: Action) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers `function(call: Call, …)` as a verb that needs `action`; adds the shared options."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            shared = {option: given.pop(option) for option in _SHARED}
            as_json = bool(shared["as_json"])
            with reporting(as_json=as_json):
                session = Session(
                    find_target(shared["url"], shared["token"], shared["data_dir"]), shared["environment"]
                )
                try:
                    function(Call(session, as_json, Terminal()), **given)
                    sys.stdout.flush()
                except (OSError, ValueError, msgspec.MsgspecError) as error:
                    if not session.changed:
                        raise
                    _could_not_say(error)

        def parameters() -> list[inspect.Parameter]:
            own = list(inspect.signature(function).parameters.values())[1:]
            added = [
                inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                for option, (annotation, default) in _SHARED.items()
            ]
            return [*own, *added]

        ACTIONS[f"{app.name} {name}"] = action
        app.add(name, run, parameters)
        return function

    return register


class reporting:  # noqa: N801 - reads as a statement
    """Turns what went wrong into one message on stderr and an exit code."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CliError):
            _complain(error, as_json=self._as_json)
            raise click.exceptions.Exit(error.exit_code) from None
        if isinstance(error, KeyboardInterrupt):
            raise click.exceptions.Exit(INTERRUPTED) from None
        if isinstance(error, msgspec.ValidationError | msgspec.DecodeError):
            _complain(CliError(f"the answer makes no sense to this version: {error}"), as_json=self._as_json)
            raise click.exceptions.Exit(UNREACHABLE) from None


def _could_not_say(error: Exception) -> None:
    """The change is made; that its answer cannot be read or printed must not look as if it were not."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"done, but the answer could not be shown ({type(error).__name__}: {error})\n")
    with suppress(OSError):  # else the interpreter tries again at its end, and fails
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_CODES = {REFUSED: "refused", USAGE: "usage", UNREACHABLE: "unreachable"}
"""Of what no control plane said: `code` in JSON."""


def _complain(error: CliError, *, as_json: bool) -> None:
    if as_json:
        body: object = error.problem or {"code": _CODES[error.exit_code], "detail": str(error)}
        sys.stderr.write(msgspec.json.encode(body).decode() + "\n")
        return
    err = Terminal(sys.stderr)
    mark = styled("red", "✗")
    faults = error.problem.faults if error.problem else ()
    lines = [f"{fault.pointer}: {fault.message} ({fault.code})".removeprefix(": ") for fault in faults]
    repeated = any(fault.message in str(error) for fault in faults)
    if len(lines) == 1 and repeated:
        err.print(f"{mark} {lines[0]}")
        return
    err.print(f"{mark} {error.problem.title if error.problem and repeated else error}")
    err.print([f"  {line}" for line in lines])
