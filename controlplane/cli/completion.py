"""`brownout completion`: the script that completes nouns, verbs and options in a shell."""

from typing import Annotated, Literal

import click
from click.shell_completion import get_completion_class

from controlplane.cli.command import Argument, Noun


def register(app: Noun) -> None:
    app.add("completion", completion)


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Argument(help="Your shell.")]) -> None:
    """Print a completion script: add `eval "$(brownout completion bash)"` to your shell's profile."""
    from controlplane.cli.root import app

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(app, {}, "brownout", "_BROWNOUT_COMPLETE").source())
