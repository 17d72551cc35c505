"""`brownout export`, `brownout import` and `brownout codegen`."""

from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import changes_text
from controlplane.cli.specs import MessageOption, is_json, read_file
from controlplane.cli.terminal import TICK, Shown, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.document import Document
from controlplane.contract.dto import ImportOutput
from controlplane.contract.problems import USAGE


def register(app: Noun) -> None:
    verb(app, "export", action=Action.EXPORT)(export)
    verb(app, "import", action=Action.IMPORT)(import_)
    verb(app, "codegen", action=Action.EXPORT)(codegen)


def export(
    call: Call,
    output: Annotated[Path | None, Option("--output", "-o", help="A file, .json or .yaml.")] = None,
    form: Annotated[
        Literal["json", "yaml", ""], Option("--format", help="yaml or json; without it, by the name of the file.")
    ] = "",
    revision: Annotated[int | None, Option(help="An earlier revision.")] = None,
    *,
    bundle: Annotated[
        bool, Option("--bundle", help="A signed copy that an SDK can start from without a network.")
    ] = False,
) -> None:
    """Write a whole environment as one document (everything but activations), or as a signed bundle."""
    if bundle:
        if output is None or form or revision is not None:
            raise CliError("--bundle wants --output and takes neither --format nor --revision", USAGE)
        content = call.session.request("GET", call.session.path("bundle")).content
        _write(call, output, content)
        return
    as_json = call.as_json or form == "json" or (not form and output is not None and output.suffix == ".json")
    params: dict[str, str | int] = {"format": "json" if as_json else "yaml"}
    if revision is not None:
        params["revision"] = revision
    content = call.session.request("GET", call.session.path("export"), params=params).content
    if output is None:
        click.echo(content.decode(), nl=not content.endswith(b"\n"))
        return
    _write(call, output, content)


def codegen(
    call: Call,
    output: Annotated[Path, Option("--output", "-o", help="The Python module to write.")] = Path("brownout_types.py"),
) -> None:
    """Write types for this environment's keys, so that a typo in a flag's key is a type error."""
    from brownout.model.codegen import generate
    from brownout.model.parse import parse
    from brownout.model.resources import ResourceRef

    document = msgspec.json.decode(call.session.request("GET", call.session.path("export")).content, type=Document)
    resources = {
        ResourceRef(kind, key): parse(kind, key, bytes(spec))
        for kind, specs in document.resources.items()
        for key, spec in specs.items()
    }
    _write(call, output, generate(document.environment, document.revision, resources).encode())


def _write(call: Call, output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CliError(f"cannot write {output}: {error.strerror}", USAGE) from None
    call.terminal.print(f"{TICK} {call.session.environment} → {output}")


def import_(
    call: Call,
    file: Annotated[str, Argument(help="A file from `brownout export`, or - for standard input.")],
    *,
    dry_run: Annotated[bool, Option("--dry-run", help="Show the difference; write nothing.")] = False,
    prune: Annotated[bool, Option("--prune", help="Delete resources that are not in the document.")] = False,
    message: MessageOption = "",
) -> None:
    """Change an environment to match a document, in one commit."""
    raw = read_file(file)
    response = call.session.request(
        "POST",
        call.session.path("import"),
        content=raw,
        params={"dry_run": str(dry_run).lower(), "prune": str(prune).lower(), "message": message},
        headers={"Content-Type": "application/json" if is_json(raw) else "application/yaml"},
        timeout_s=120,
    )
    done = msgspec.json.decode(response.content, type=ImportOutput)

    def human() -> Shown:
        call.terminal.print(changes_text(done.changes))
        for fault in done.faults:
            call.terminal.print(styled("red", f"  {fault.pointer}: {fault.message} ({fault.code})"))
        if done.applied:
            return f"{TICK} revision {done.revision}"
        why = "nothing written" if dry_run else "nothing to do"
        return styled("dim", f"{why}; {call.session.environment} is at r{done.revision}")

    call.answer(done, human)
    if done.faults:
        raise CliError("this import would be refused")
