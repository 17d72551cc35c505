"""The page that says where things are names files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_path_on_the_page_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:controlplane|sdk|ui|docs)/[\w./]+)`", page))
    assert len(named) > 40
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
