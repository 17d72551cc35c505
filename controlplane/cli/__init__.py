"""The `brownout` command. Each capability keeps its verbs in a module here; `loader.py` lists them.

Exit codes: 0 ok, 1 refused, 2 usage, 3 unreachable.
"""

import gc
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controlplane.cli.root import app

__all__ = ["app", "main"]


def __getattr__(name: str) -> object:
    if name == "app":
        from controlplane.cli.root import app

        return app
    raise AttributeError(name)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows no arrows gets a question mark, not a traceback
            stream.reconfigure(errors="replace")
    if sys.argv[1:] == ["--version"]:  # scripts ask for it; it needs nothing else
        from controlplane.cli.version import version_line

        sys.stdout.write(f"{version_line()}\n")
        return
    gc.disable()  # loading makes no garbage, so looking for it is a tenth of what a command costs; a verb turns it on
    from controlplane.cli.root import app

    try:
        app(prog_name="brownout")
    finally:
        gc.freeze()  # nor is it looked for at the end
