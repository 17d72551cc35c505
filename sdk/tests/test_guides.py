"""The README and the guides name only what exists."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "sdk" / "README.md", *sorted((ROOT / "docs" / "sdk").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_code_parses_and_its_imports_of_ours_work(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "brownout":
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_example_makes_an_empty_unit_of_an_unknown_user(page: Path) -> None:
    """Everyone unknown would be one and the same unit, were it not refused."""
    for line in page.read_text().splitlines():
        assert not re.search(r"""targeting_key.*(get\([^)]*,\s*["']{2}\)|or ["']{2}|: ["']{2})""", line), line
