"""Which control plane a verb talks to."""

from pathlib import Path

import msgspec
import pytest

from controlplane.cli import session
from controlplane.cli.session import CliError, Target, find_nearer, find_target


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of `login`, with nothing in the environment; the working directory lies deep in `tmp_path`."""
    for name in ("BROWNOUT_URL", "BROWNOUT_TOKEN", "BROWNOUT_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    here = tmp_path / "project" / "src"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    file = tmp_path / "home" / "cli.json"
    monkeypatch.setattr(session, "USER_FILE", file)
    return file


def write(file: Path, url: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(Target(url, "t")))


def test_the_nearest_data_directory_comes_before_what_login_kept(tmp_path: Path, kept: Path) -> None:
    local = tmp_path / "project" / ".brownout" / "cli.json"
    write(local, "http://local")
    write(kept, "http://kept")

    assert find_target("", "", "").url == "http://local"
    assert find_nearer() == local
    assert find_target("", "", str(kept.parent)).url == "http://kept"


def test_without_one_it_is_what_login_kept(kept: Path) -> None:
    write(kept, "http://kept")

    assert find_target("", "", "").url == "http://kept"
    assert find_nearer() is None


def test_an_address_given_comes_first(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(kept, "http://kept")
    monkeypatch.setenv("BROWNOUT_URL", "http://environment/")

    assert find_target("", "", "").url == "http://environment"
    assert find_target("http://option", "", "").url == "http://option"


def test_with_none_it_says_what_to_do() -> None:
    with pytest.raises(CliError, match="brownout login"):
        find_target("", "", "")
