"""The pages that are written from the code are what the code says now."""

import re
from pathlib import Path

import pytest

from brownout.model.kinds import KINDS
from controlplane.settings import Settings
from docs import reference

ROOT = Path(__file__).parents[2]
SOURCES = (*ROOT.glob("controlplane/**/*.py"), *ROOT.glob("sdk/src/**/*.py"))
ELSEWHERE = {
    "X", "X_FILE", "TELEMETRY_",  # how names are built
    "CONTEXT",  # a setting of Django
    "COMPLETE",  # what a shell sets when it asks for completions
}  # fmt: skip


def test_the_pages_are_up_to_date() -> None:
    assert reference.stale() == [], "run `make docs-reference`"


def test_every_variable_that_the_code_names_is_on_the_page() -> None:
    page = reference.page("settings.md")
    named = {name for source in SOURCES for name in re.findall(r"BROWNOUT_([A-Z_]+[A-Z]|X)\b", source.read_text())}
    named = {name.removesuffix("_FILE") for name in named} - ELSEWHERE
    assert len(named) > 15
    assert sorted(name for name in named if f"| `BROWNOUT_{name}` |" not in page) == []


@pytest.mark.parametrize("struct", [Settings, *(kind.struct for kind in KINDS.values())])
def test_every_field_has_a_meaning(struct: type) -> None:
    told = {*reference.field_docs(struct), *reference.COMMON}
    assert [name for name in struct.__struct_fields__ if name not in told] == []  # type: ignore[attr-defined]


def test_every_public_name_of_the_sdk_is_described() -> None:
    text = re.sub(r"```.*?```|^\|[^\n]*", "", reference.page("sdk/reference.md"), flags=re.DOTALL | re.MULTILINE)
    names = re.findall(r"^### (\w+)\n(.*?)(?=^#)", text, flags=re.DOTALL | re.MULTILINE)
    assert len(names) > 60
    assert [name for name, about in names if not about.strip()] == []


def test_a_page_that_is_not_up_to_date_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "settings.md").write_text(reference.page("settings.md"))
    (tmp_path / "resources.md").write_text(reference.page("resources.md").replace("targeting_key", "id", 1))
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "reference.md").write_text(reference.page("sdk/reference.md"))
    (tmp_path / "adr").mkdir()
    (tmp_path / "adr" / "README.md").write_text("# Decisions\n")
    (tmp_path / "adr" / "0001-one.md").write_text("# 0001 One\n")
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    assert reference.stale() == ["resources.md", "adr/README.md"]


def test_a_decision_has_the_number_of_its_file_and_no_other_has_it() -> None:
    files = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    titles = [file.read_text().splitlines()[0] for file in files]
    assert [
        title for file, title in zip(files, titles, strict=True) if not title.startswith(f"# {file.name[:4]} ")
    ] == []
    assert len({file.name[:4] for file in files}) == len(files)
