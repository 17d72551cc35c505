"""The command itself: its options, and nouns and verbs that load when they are used."""

import click

from controlplane.cli.command import Noun
from controlplane.cli.loader import Commands
from controlplane.cli.version import version_line


def _tell_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(version_line())
        ctx.exit()


app = Noun("brownout", "Feature flags and safe mode for LLM-backed products.")
app.commands = Commands()
app.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_tell_version,
        help="Print the version and exit.",
    )
)
