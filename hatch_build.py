"""Puts the console's assets and the documentation into the wheel. For an editable install, `make assets` builds them."""

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
        site = runpy.run_path(str(Path(self.root) / "docs" / "site.py"))["build"]
        build_data["force_include"][str(site())] = "controlplane/_docs"
