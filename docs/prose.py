"""Refuses words that read as translated, in what people meet, and lines of prose beyond 120 characters.

    python -m docs.prose          # names each place, and ends with 1 if there is any
    python -m docs.prose --wrap   # wraps the prose of every page

What people meet: pages, templates, and in the code every text but docstrings and comments; the docstrings of
the command line and the API are people's, too, as help and as the API's description.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WIDTH = 120
WORST = re.compile(r"\b(whoever|whom|thereof|somebody|nobody|shall)\b", re.IGNORECASE)
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "sdk/README.md", "docs/*.md", "docs/sdk/*.md")
WRAPPED = (*PAGES, "docs/adr/*.md")
CODE = ("controlplane/**/*.py", "sdk/src/**/*.py")
HELP = ("controlplane/cli/", "controlplane/api/")

NOT_READ = {"nobody", "nobody has this password", "somebody in particular"}
"""Texts in the code that no one meets: a user of the system, an actor, a digest's input, a unit's stand-in."""


class Found(NamedTuple):
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Block(NamedTuple):
    first: int
    lines: list[str]
    prose: bool


_ITEM = re.compile(r"\s*([-*] |\d+\. )")


def worst_words(path: str, text: str) -> Iterator[Found]:
    """Places of a page, a template or a module where people meet one of the words."""
    lines = _texts(path, text) if path.endswith(".py") else enumerate(_prose(text).splitlines(), 1)
    for number, line in lines:
        for found in WORST.finditer(line):
            yield Found(path, number, f"“{found[0]}”: {' '.join(line.split())[:100]}")


def long_lines(path: str, text: str) -> Iterator[Found]:
    """Lines of prose that are too long and have a space to break at."""
    for block in _blocks(text):
        if block.prose:
            for number, line in enumerate(block.lines, block.first):
                if len(line) > WIDTH and line not in fill_block(block.lines):
                    yield Found(path, number, f"{len(line)} characters: wrap it with `make fmt`")


def wrapped(text: str) -> str:
    """The page with every paragraph and item that has a line too long filled again."""
    lines: list[str] = []
    for block in _blocks(text):
        too_long = block.prose and any(len(line) > WIDTH for line in block.lines)
        lines += fill_block(block.lines) if too_long else block.lines
    return "\n".join(lines) + "\n"


def fill_block(block: list[str]) -> list[str]:
    """One paragraph or item of a list, filled; code spans and links are not broken at their spaces."""
    found = re.match(r"(\s*)([-*] |\d+\. )?", block[0])
    assert found
    first, rest = found[0], found[1] + " " * len(found[2] or "")
    words = " ".join(line.strip() for line in block).removeprefix(first.strip()).strip()
    kept = re.sub(r"`[^`]+`", lambda span: span[0].replace(" ", "\0"), words)
    filled = fill(
        kept, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return filled.replace("\0", " ").split("\n")


def _blocks(text: str) -> Iterator[Block]:
    """Paragraphs and items of lists; tables, headings, code, HTML and empty lines come alone and are no prose."""
    block: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        continued = bool(block) and not _ITEM.match(line)
        alone = fence or fenced or not line.strip() or line.lstrip().startswith(("|", "#", "<", ">", "!["))
        if (alone or not continued) and block:
            yield Block(start, block, prose=True)
            block = []
        if alone or (line.startswith("    ") and not block):
            yield Block(number, [line], prose=False)
            fenced ^= fence
        else:
            start = start if block else number
            block.append(line)
    if block:
        yield Block(start, block, prose=True)


def _prose(text: str) -> str:
    """Without code, which may name anything: fenced blocks and spans."""
    text = re.sub(r"^```.*?^```", lambda code: "\n" * code[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "``", text)


def _texts(path: str, source: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} - docs
    let_be = notes if path.startswith(HELP) else notes | docs
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in let_be:
            yield from enumerate(("" if node.value in NOT_READ else node.value).splitlines(), node.lineno)


def files(patterns: Iterable[str]) -> list[str]:
    return sorted({str(file.relative_to(ROOT)) for pattern in patterns for file in ROOT.glob(pattern)})


def check() -> list[Found]:
    found: list[Found] = []
    for path in files((*PAGES, *CODE, "ui/templates/**/*.html")):
        found += worst_words(path, (ROOT / path).read_text(encoding="utf-8"))
    for path in files(WRAPPED):
        found += long_lines(path, (ROOT / path).read_text(encoding="utf-8"))
    return found


def main(arguments: list[str]) -> int:
    if "--wrap" in arguments:
        for path in files(WRAPPED):
            text = (ROOT / path).read_text(encoding="utf-8")
            if (filled := wrapped(text)) != text:
                (ROOT / path).write_text(filled, encoding="utf-8")
        return 0
    found = check()
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
