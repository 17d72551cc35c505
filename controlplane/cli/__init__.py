"""The `brownout` command. Each capability keeps its verbs in a module here and is listed below.

Exit codes: 0 ok, 1 refused, 2 usage, 3 unreachable.
"""

import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from controlplane.cli import (
    addresses,
    approvals,
    audit,
    authd,
    demo,
    documents,
    environments,
    explain,
    fleet,
    history,
    keys,
    people,
    resources,
    rollouts,
    safemode,
    secrets,
    servers,
    signals,
    watch,
)

app = typer.Typer(
    name="brownout",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

for module in (servers, authd, people, watch, explain, documents, signals):
    module.register(app)
for group in (
    safemode.app,
    environments.app,
    *resources.GROUPS,
    history.app,
    fleet.app,
    rollouts.app,
    demo.app,
    people.app,
    keys.key_app,
    keys.token_app,
    addresses.app,
    approvals.app,
    audit.app,
    secrets.app,
):
    app.add_typer(group)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"brownout {version('brownout-controlplane')}")
        raise typer.Exit


@app.callback()
def brownout(
    tell_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Feature flags and safe mode for LLM-backed products."""


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows no arrows gets a question mark, not a traceback
            stream.reconfigure(errors="replace")
    app()
