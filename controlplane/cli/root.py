"""The command itself: its options, and nouns and verbs that load when they are used."""

from typing import Annotated

import typer

from controlplane.cli.loader import Lazy
from controlplane.cli.version import version_line

app = typer.Typer(name="brownout", cls=Lazy, no_args_is_help=True, pretty_exceptions_enable=False)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def brownout(
    tell_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Feature flags and safe mode for LLM-backed products."""
