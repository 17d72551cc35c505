"""`brownout export` and `brownout import`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from controlplane.access.actor import Action
from controlplane.cli.resources import MessageOption, read_file
from controlplane.cli.session import CliError
from controlplane.cli.shown import changes_text
from controlplane.cli.verb import Call, verb
from controlplane.dto import ImportOutput
from controlplane.problems import USAGE


def register(app: typer.Typer) -> None:
    verb(app, "export", action=Action.EXPORT)(export)
    verb(app, "import", action=Action.IMPORT)(import_)


def export(
    call: Call,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; .json or .yaml says the format.")
    ] = None,
    form: Annotated[
        Literal["json", "yaml", ""], typer.Option("--format", help="yaml, unless the file says json.")
    ] = "",
    revision: Annotated[int | None, typer.Option(help="An earlier revision.")] = None,
) -> None:
    """Write a whole environment as one document (everything but activations)."""
    as_json = call.as_json or form == "json" or (not form and output is not None and output.suffix == ".json")
    params: dict[str, str | int] = {"format": "json" if as_json else "yaml"}
    if revision is not None:
        params["revision"] = revision
    content = call.session.request("GET", call.session.path("export"), params=params).content
    if output is None:
        typer.echo(content.decode(), nl=not content.endswith(b"\n"))
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CliError(f"cannot write {output}: {error.strerror}", USAGE) from None
    call.console.print(f"[green]✓[/] {call.session.environment} → {output}")


def import_(
    call: Call,
    file: Annotated[str, typer.Argument(help="What export wrote, or - for standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference; write nothing.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what the document does not have.")] = False,
    message: MessageOption = "",
) -> None:
    """Bring an environment to a document, as one commit."""
    raw = read_file(file)
    is_json = file.endswith(".json") or (file == "-" and raw.lstrip().startswith(b"{"))
    response = call.session.request(
        "POST",
        call.session.path("import"),
        content=raw,
        params={"dry_run": str(dry_run).lower(), "prune": str(prune).lower(), "message": message},
        headers={"Content-Type": "application/json" if is_json else "application/yaml"},
        timeout=120,
    )
    done = msgspec.json.decode(response.content, type=ImportOutput)

    def human() -> object:
        call.console.print(changes_text(done.changes))
        for fault in done.faults:
            call.console.print(f"  {fault.pointer}: {fault.message} ({fault.code})", style="red", markup=False)
        if done.applied:
            return f"[green]✓[/] revision {done.revision}"
        return f"[dim]{'nothing written' if dry_run else 'nothing to do'}; {call.session.environment} is at r{done.revision}[/]"

    call.answer(done, human)
    if done.faults:
        raise CliError("this import would be refused")
