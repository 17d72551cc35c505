"""Runs the SDK's and the unit tests on every supported Python of this machine: `make pythons`.

    python -m tests.pythons                              # each on the PATH or of pyenv
    python -m tests.pythons 3.14=/opt/py/bin/python3.14  # and one that is elsewhere

One that is absent is named and skipped. So is one for which a dependency has no wheel yet, if it is in `COMING`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
SUPPORTED = ("3.11", "3.12", "3.13", "3.14", "3.15")
COMING = {"3.15"}
TESTS = ("sdk/tests", "tests/unit", "-n", "2", "-q", "-p", "no:cacheprovider")


def main(arguments: list[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments)
    results = {version: _result(version, given.get(version)) for version in SUPPORTED}
    print("\n".join(f"{version}: {result}" for version, result in results.items()))
    return int("failed" in results.values() or "passed" not in results.values())


def _result(version: str, given: str | None) -> str:
    base = given or _found(version)
    if base is None:
        return "SKIPPED: this machine has none"
    python = _environment(version, base)
    if python is None:
        return "SKIPPED: a dependency has no wheel for it yet" if version in COMING else "failed"
    ran = subprocess.run([python, "-m", "pytest", *TESTS], check=False, cwd=ROOT)
    return "failed" if ran.returncode else "passed"


def _found(version: str) -> str | None:
    """An interpreter that runs: one on the PATH may be a shim of a version manager that has it not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python{version}")]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return None


def _environment(version: str, base: str) -> Path | None:
    """The interpreter of a fresh environment with the pinned dependencies; None if these do not install."""
    folder = ROOT / ".venv-pythons" / version
    python = folder / "bin" / "python"
    pins = ROOT / "requirements" / "dev.txt"
    install = [UV, "pip", "install", "--quiet", "--python", python]
    for command in (
        [UV, "venv", "--quiet", "--clear", "--python", base, folder],
        [*install, "--only-binary", ":all:", "--require-hashes", "-r", pins],
        [*install, "--no-deps", "--editable", ROOT / "sdk", "--editable", ROOT],
    ):
        if subprocess.run(command, check=False, cwd=ROOT).returncode:
            return None
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
