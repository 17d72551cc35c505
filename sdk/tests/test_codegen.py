"""What `brownout codegen` writes, judged by a type checker and at run time."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from brownout.model.codegen import generate
from brownout.model.parse import parse
from brownout.model.resources import ResourceRef

BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"}
STRING = {"type": "string", "variants": {"a": "A"}, "off_variant": "a", "default": "a"}
ROUTE = {
    "type": "model_route",
    "variants": {"small": {"targets": {"main": {"provider": "p", "model": "m"}}, "primary": "main"}},
    "off_variant": "small",
    "default": "small",
}

USE = """
from brownout import Brownout
from brownout_types import typed

def use(brownout: Brownout) -> None:
    client = typed(brownout)
    shown: bool = client.boolean("web-search", {"targeting_key": "u"}, default=True)
    named: str = client.string("greeting")
    certain: bool = client.decide("web-search", default=False).value
    model = client.policy("support-reply").model
"""


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    resources = {
        ResourceRef("flag", "web-search"): parse("flag", "web-search", BOOLEAN),
        ResourceRef("flag", "greeting"): parse("flag", "greeting", STRING),
        ResourceRef("flag", "route"): parse("flag", "route", ROUTE),
        ResourceRef("request_class", "support-reply"): parse(
            "request_class", "support-reply", {"criticality": "critical", "model": "route"}
        ),
    }
    file = tmp_path / "brownout_types.py"
    file.write_text(generate("production", 912, resources))
    return file


def checked(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "use.py").write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "use.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_right_keys_check(generated: Path) -> None:
    done = checked(generated.parent, USE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "typo",
    [
        ('"web-search"', '"web-serach"'),
        ('"support-reply"', '"support-replay"'),
        ('string("greeting"', 'string("web-search"'),
    ],
)
def test_a_typo_is_a_type_error(generated: Path, typo: tuple[str, str]) -> None:
    done = checked(generated.parent, USE.replace(*typo, 1))
    assert done.returncode == 1
    assert typo[1].split("(")[-1].strip('"') in done.stdout


@pytest.mark.parametrize("keys", [[], ["only"]])
def test_it_is_valid_python_for_small_environments(keys: list[str], tmp_path: Path) -> None:
    file = tmp_path / "small_types.py"
    file.write_text(generate("staging", 1, {ResourceRef("flag", key): parse("flag", key, BOOLEAN) for key in keys}))
    spec = importlib.util.spec_from_file_location("small_types", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    marker = object()
    assert module.typed(marker) is marker
