"""The guides agree with the command line: every verb is on its page, and what they say to type can be typed."""

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controlplane.cli import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
OF_EVERY_KIND = ("flag", "cohort", "request-class", "profile", "template", "failure-mode", "tier")


def verbs(command: Any, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from verbs(inner, (*prefix, name))
        else:
            yield " ".join((*prefix, name))


def test_every_verb_is_on_the_page() -> None:
    told = PAGE.read_text()
    common = {f"{kind} {verb}" for kind in OF_EVERY_KIND for verb in ("list", "get", "put", "delete")}
    found = set(verbs(app))
    assert [verb for verb in sorted(found - common) if not re.search(rf"`{re.escape(verb)}[` ]", told)] == []
    assert common <= found


def commands() -> Iterator[tuple[str, str]]:
    """Every `brownout …` line of the guides' code blocks, with the page it stands on."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/sdk").glob("*.md"))):
        for block in re.findall(r"^```.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.removeprefix("$ ").startswith("brownout "):
                    yield page.name, line.removeprefix("$ brownout ").removeprefix("brownout ")


@pytest.mark.parametrize(("page", "line"), list(dict.fromkeys(commands())))
def test_a_command_of_the_guides_is_one_that_the_command_line_takes(page: str, line: str) -> None:
    command: Any = app
    words = shlex.split(line, comments=True)
    words = words[: next((i for i, word in enumerate(words) if word in {"|", ">", "&&"}), len(words))]
    while hasattr(command, "commands"):
        name = words.pop(0) if words else ""
        assert name in command.commands, f"{page}: {line}"
        command = command.commands[name]
    command.make_context("brownout", words)  # raises for unknown options and missing arguments


def test_it_tells_its_version() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"brownout {version('brownout-controlplane')}\n")
