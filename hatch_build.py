"""Carries the console's built assets in the wheel. An editable install builds nothing: `make assets` does."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleAssets(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build = runpy.run_path(str(Path(self.root) / "ui" / "build.py"))["build"]
        build_data["force_include"][str(build())] = "controlplane/_ui/dist"
