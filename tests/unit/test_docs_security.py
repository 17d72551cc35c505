"""docs/security.md names a test for each statement: each of them exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def missing_tests(text: str) -> list[str]:
    """The tests that `text` names as `path::test` and that are not in that file."""
    return [f"{path}::{test}" for path, test in NAMED.findall(text) if test not in _tests_of(ROOT / path)]


def _tests_of(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    text = PAGE.read_text()
    assert len(NAMED.findall(text)) > 80
    assert missing_tests(text) == []


def test_a_name_that_leads_nowhere_is_found() -> None:
    here = "tests/unit/test_docs_security.py"
    text = f"`{here}::test_every_test_that_the_page_names_exists` `{here}::test_gone` `tests/unit/gone.py::test_x` `{here}`"
    assert missing_tests(text) == [f"{here}::test_gone", "tests/unit/gone.py::test_x", f"{here}::"]
