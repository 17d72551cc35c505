"""The `brownout` command. Each capability keeps its verbs in a module here and is listed below.

Exit codes: 0 ok, 1 refused, 2 usage, 3 unreachable.
"""

import typer

from controlplane.cli import (
    demo,
    documents,
    environments,
    explain,
    fleet,
    history,
    resources,
    rollouts,
    safemode,
    servers,
    signals,
    watch,
)

app = typer.Typer(
    name="brownout",
    help="Feature flags and safe mode for LLM-backed products.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for module in (servers, watch, explain, documents, signals):
    module.register(app)
for group in (safemode.app, environments.app, *resources.GROUPS, history.app, fleet.app, rollouts.app, demo.app):
    app.add_typer(group)


def main() -> None:
    app()
