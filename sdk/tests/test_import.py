"""`import brownout` stays cheap: what only a running client needs comes with the client."""

import subprocess
import sys

LATER = ("asyncio", "nats", "cryptography", "socket", "ssl", "json", "logging", "hashlib", "pathlib", "openfeature",
    "brownout.evaluation.compile", "brownout.telemetry.counters", "brownout.runner")  # fmt: skip


def test_importing_the_sdk_loads_nothing_that_only_a_running_client_needs() -> None:
    code = f"import sys, brownout; print(*[name for name in {LATER!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
