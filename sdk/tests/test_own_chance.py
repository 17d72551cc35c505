"""A service that seeds `random` gets the numbers it expects: the SDK draws from a source of its own."""

import ast
from pathlib import Path

import brownout

SOURCES = Path(brownout.__file__).parent


def test_the_common_source_of_chance_is_the_services() -> None:
    """`random.Random` is a source of one's own; every other name of the module draws from the common one."""
    found = {
        (path.name, node.lineno)
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "random"
        and node.attr not in {"Random", "SystemRandom"}
    }
    assert not found
