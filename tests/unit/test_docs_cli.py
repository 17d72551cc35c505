"""The reference page of the command line names every verb there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from controlplane.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
OF_EVERY_KIND = ("flag", "cohort", "request-class", "profile", "template")


def verbs(command: Any, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, (*prefix, name))
        else:
            yield " ".join((*prefix, name))


def test_every_verb_is_on_the_page() -> None:
    told = PAGE.read_text()
    common = {f"{kind} {verb}" for kind in OF_EVERY_KIND for verb in ("list", "get", "put", "delete")}
    found = set(verbs(typer.main.get_command(app)))
    assert [verb for verb in sorted(found - common) if not re.search(rf"`{re.escape(verb)}[` ]", told)] == []
    assert common <= found
