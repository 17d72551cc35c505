"""A client command loads no server's code, and none of the libraries that double what it costs (ADR 0150)."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "alembic", "asyncpg", "brownout.client", "httpx", "jinja2", "litestar", "nats", "pydantic", "rich", "sqlalchemy",
    "structlog", "typer", "uvicorn", "yaml",
)  # fmt: skip

RUN = f"""
import json, sys
from controlplane.cli import main
sys.argv = ["brownout", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as ended:
    status = ended.code or 0
else:
    status = 0
print(json.dumps([status, sorted(name for name in {HEAVY!r} if name in sys.modules), "http.client" in sys.modules]))
"""

DEAD = ("--url", "http://127.0.0.1:9")
SPEC = ("-", "--message", "why")


def run(*words: str) -> tuple[int, list[str], bool]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(words)], input="{}", capture_output=True, text=True, check=True
    )
    status, heavy, sends = json.loads(done.stdout.splitlines()[-1])
    return status, heavy, sends


@pytest.mark.parametrize(
    "words",
    [
        ("flag", "list"), ("flag", "put", "f", *SPEC), ("cohort", "get", "c"), ("safe-mode", "status"),
        ("safe-mode", "on", "calm", "--for", "10m", "--reason", "why"), ("rollout", "show", "r"), ("history",), ("env", "list"),
        ("fleet", "status"), ("demo", "status"), ("export",), ("import", "-"), ("explain", "f"), ("signals",),
        ("approval", "list"), ("audit", "list"), ("person", "list"), ("key", "list"), ("token", "list"),
        ("address", "list"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_client_command_loads_no_server(words: tuple[str, ...]) -> None:
    status, heavy, _ = run(*words, *DEAD)
    assert heavy == []
    assert status != 2, "the command line took it"


@pytest.mark.parametrize(
    ("words", "status"), [(("--version",), 0), (("--help",), 0), (("rollout", "--help"), 0), (("nonsense",), 2)]
)
def test_help_loads_no_server_and_no_http(words: tuple[str, ...], status: int) -> None:
    assert run(*words) == (status, [], False)


def test_a_verb_has_the_garbage_collector_that_loading_did_without() -> None:
    script = f"import atexit, gc\natexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000))\n{RUN}"
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(("flag", "list", *DEAD))], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "True True"


def test_every_noun_and_verb_of_the_list_is_there() -> None:
    from controlplane.cli.loader import Commands

    commands = Commands()
    assert len(commands) > 20
    assert [name for name in commands if commands[name].name != name] == []
