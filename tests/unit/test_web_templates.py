"""Every page's struct says exactly what its template uses, and every template is clean."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import meta, nodes

import controlplane.web
from controlplane.web.kit.assets import Assets
from controlplane.web.kit.render import UI, Templates, View

TEMPLATES = Templates(Assets({}, {}))


def _views() -> Iterator[type[View]]:
    for module in pkgutil.walk_packages(controlplane.web.__path__, "controlplane.web."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, View) and found.__module__ == module.name and hasattr(found, "template"):
                yield found


def _used(name: str) -> set[str]:
    """The variables of a template, of what it extends and of what it includes. Imported macros see none."""
    environment = TEMPLATES.environment
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    tree = environment.parse(source)
    used = meta.find_undeclared_variables(tree) - set(environment.globals) - _macros(tree)
    for node in tree.find_all((nodes.Extends, nodes.Include)):
        assert isinstance(node.template, nodes.Const), f"{name}: the name of a template is a constant"
        used |= _used(node.template.value)
    return used


def _macros(tree: nodes.Template) -> set[str]:
    """Names of macros: defined here, or imported (blocks see them, though the analysis cannot)."""
    imported = {
        name if isinstance(name, str) else name[1] for found in tree.find_all(nodes.FromImport) for name in found.names
    }
    return imported | {macro.name for macro in tree.find_all(nodes.Macro)}


@pytest.mark.parametrize("view", list(_views()), ids=lambda view: view.__name__)
def test_a_view_has_exactly_the_fields_that_its_template_uses(view: type[View]) -> None:
    assert _used(view.template) == set(view.__struct_fields__)


def test_macros_get_everything_as_arguments() -> None:
    for path in sorted((UI / "templates" / "components").glob("*.html")):
        tree = TEMPLATES.environment.parse(path.read_text())
        assert meta.find_undeclared_variables(tree) <= set(TEMPLATES.environment.globals), path.name


@pytest.mark.parametrize("path", sorted((UI / "templates").rglob("*.html")), ids=lambda path: path.stem)
def test_no_macro_hides_a_function_that_every_template_has(path: Path) -> None:
    environment = TEMPLATES.environment
    assert not _macros(environment.parse(path.read_text())) & set(environment.globals)


@pytest.mark.parametrize("path", sorted((UI / "templates").rglob("*.html")), ids=lambda path: path.stem)
def test_no_template_carries_style_script_or_safe_text(path: object) -> None:
    text = path.read_text()  # type: ignore[attr-defined]
    for forbidden in (" style=", "<style", "|safe", "| safe", "onclick=", "javascript:", "https://", "autoescape"):
        assert forbidden not in text
    assert text.count("<script") == text.count("<script src=")
