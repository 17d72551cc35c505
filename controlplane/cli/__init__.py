"""The `brownout` command. Each capability keeps its verbs in a module here and lists it in GROUPS.

Exit codes: 0 ok, 1 refused, 2 usage, 3 unreachable.
"""

import typer

from controlplane.cli import servers

app = typer.Typer(
    name="brownout",
    help="Feature flags and safe mode for LLM-backed products.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

servers.register(app)

GROUPS: tuple[typer.Typer, ...] = ()
for group in GROUPS:
    app.add_typer(group)


def main() -> None:
    app()
