"""The verbs against a running control plane: `--json`, exit codes, and what people read."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.kit.strict_yaml import load_yaml
from tests.e2e.brownout_up import CLI, ROOT, BrownoutUp, environment

pytestmark = pytest.mark.xdist_group("cli")

FLAG = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"}


@pytest.fixture(scope="module")
def up() -> Iterator[BrownoutUp]:
    folder = Path(tempfile.mkdtemp(prefix="brownout-e2e-cli-"))
    folder.chmod(0o755)
    with BrownoutUp(folder / "data") as running:
        for key in ("production", "staging"):
            running.load_demo_configuration(key)
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def problem(done: subprocess.CompletedProcess[bytes], exit_code: int) -> dict[str, Any]:
    assert done.returncode == exit_code, done.stderr.decode()
    assert done.stdout == b""
    said: dict[str, Any] = json.loads(done.stderr)
    return said


def test_a_flag_from_file_to_grave(up: BrownoutUp, tmp_path: Path) -> None:
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(FLAG))
    made = up.json("flag", "put", "cli-made", str(file), "-m", "from a file")
    assert (made["message"], made["changes"][0]["key"]) == ("from a file", "cli-made")
    assert up.json("flag", "get", "cli-made")["spec"]["default"] == "on"
    assert [item["key"] for item in up.json("flag", "list", "--search", "cli-made")["items"]] == ["cli-made"]
    assert up.json("flag", "disable", "cli-made")["changes"][0]["after"]["enabled"] is False
    assert up.json("flag", "disable", "cli-made")["unchanged"] is True
    assert up.json("explain", "cli-made")["decision"]["reason"] == "DISABLED"
    assert up.json("flag", "delete", "cli-made")["changes"][0]["after"] is None


def test_yaml_from_standard_input_and_its_faults(up: BrownoutUp) -> None:
    up.json("cohort", "put", "cli-cohort", "-", stdin=b"include: [u-1, no]\n")
    assert up.json("cohort", "get", "cli-cohort")["spec"]["include"] == ["u-1", "no"]
    twice = up.cli("cohort", "put", "cli-cohort", "-", "--json", stdin=b"include: [a]\ninclude: [b]\n")
    assert problem(twice, 1)["faults"][0]["code"] == "duplicate_key"
    up.json("cohort", "delete", "cli-cohort")


def test_a_stale_edit_is_refused(up: BrownoutUp, tmp_path: Path) -> None:
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(FLAG))
    done = up.cli("flag", "put", "never", str(file), "--if-revision", "1", "--json")
    assert problem(done, 1)["code"] == "stale_revision"
    assert problem(up.cli("flag", "get", "never", "--json"), 1)["code"] == "not_found"


def test_policy_and_preview(up: BrownoutUp) -> None:
    assert up.json("policy", "support-reply", "plan=enterprise")["model"]["name"] == "sonnet-5"
    assert up.json("policy", "support-reply", '{"plan": "free"}')["model"]["name"] == "haiku-5"
    radius = up.json("safe-mode", "preview", "small-models", "--cohort", "enterprise")
    assert "support-reply" in {row["request_class"] for row in radius["request_classes"]}


def test_safe_mode_from_on_to_history(up: BrownoutUp) -> None:
    on = up.json(
        "safe-mode",
        "on",
        "shed-load",
        "--for",
        "10m",
        "-r",
        "e2e",
        "--request-class",
        "support-summary",
        "-e",
        "staging",
    )
    assert up.json("safe-mode", "status", "-e", "staging")["active"][0]["scope"]["request_classes"] == [
        "support-summary"
    ]
    assert up.json("safe-mode", "extend", "--for", "1h", "-e", "staging")["key"] == on["key"]
    assert up.json("safe-mode", "status")["on"] is False
    assert [done["key"] for done in up.json("safe-mode", "off", "-e", "staging")] == [on["key"]]
    assert up.cli("safe-mode", "off", "-e", "staging").returncode == 1
    assert [s["what"] for s in up.json("safe-mode", "history", "-e", "staging")["items"]] == ["off", "changed", "on"]


@pytest.mark.parametrize("noun", ["env", "flag", "cohort", "request-class", "profile", "template", "history"])
def test_a_bare_noun_lists(up: BrownoutUp, noun: str) -> None:
    assert up.json(noun) == up.json(noun, "list")


@pytest.mark.parametrize("noun", ["rollout", "approval", "person", "key", "token", "audit"])
def test_so_does_one_whose_list_changes_as_it_is_read(up: BrownoutUp, noun: str) -> None:
    assert "items" in up.json(noun)


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        (["safe-mode", "on", "contain", "--for", "1m"], "/reason"),
        (["safe-mode", "on", "contain", "-r", "x"], "/expires_at"),
        (["safe-mode", "on", "nope", "-r", "x", "--for", "1m"], "/profile"),
        (["safe-mode", "on", "contain", "-r", "x", "--for", "99d"], "/for_s"),
    ],
)
def test_bad_activations_name_the_field(up: BrownoutUp, arguments: list[str], pointer: str) -> None:
    assert problem(up.cli(*arguments, "--json"), 1)["faults"][0]["pointer"] == pointer


def test_history_show_diff_restore_verify(up: BrownoutUp, tmp_path: Path) -> None:
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(FLAG))
    made = up.json("flag", "put", "restored", str(file))["revision"]
    up.json("flag", "disable", "restored")
    assert up.json("history", "show", str(made))["changes"][0]["before"] is None
    assert up.json("history", "diff", str(made), str(made + 1))["resources"][0]["fields"][0]["pointer"] == "/enabled"
    assert up.json("history", "restore", str(made), "--only", "flag/restored")["revision"] == made + 2
    assert up.json("history", "list", "--key", "restored", "--limit", "2")["items"][0]["revision"] == made + 2
    assert up.json("history", "verify")["broken"] is None
    up.json("flag", "delete", "restored")


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_export_and_import(up: BrownoutUp, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"environment.{form}"
    assert up.cli("export", "-o", str(file)).returncode == 0
    read = json.loads(file.read_text()) if form == "json" else load_yaml(file.read_bytes())
    assert isinstance(read, dict)
    assert read["environment"] == "production"
    up.json("env", "create", f"copy-{form}")
    dry = up.json("import", str(file), "--dry-run", "-e", f"copy-{form}")
    assert (dry["applied"], dry["revision"]) == (False, 1)
    done = up.json("import", str(file), "-e", f"copy-{form}")
    assert (done["applied"], done["revision"], len(done["changes"])) == (True, 2, len(dry["changes"]))
    assert up.json("import", str(file), "-e", f"copy-{form}")["applied"] is False


def test_watch_shows_what_a_service_would_decide(up: BrownoutUp) -> None:
    done = up.cli("watch", "web-search", "-c", "plan=pro", "--once", "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["state"], seen["values"]) == ("READY", {"web-search": "on"})
    assert seen["models"]["support-reply"] == "claude-haiku-5"


@pytest.mark.parametrize(
    "arguments",
    [["env", "list"], ["flag", "list"], ["flag", "get", "web-search"], ["cohort", "list"], ["request-class", "list"],
     ["profile", "list"], ["template", "list"], ["history", "list"], ["history", "show", "2"], ["history", "diff", "1", "2"],
     ["safe-mode", "status"], ["safe-mode", "preview", "contain"], ["explain", "web-search", "plan=pro"],
     ["policy", "support-reply"], ["budget", "status"], ["export"], ["watch", "--once"]],
    ids=" ".join,
)  # fmt: skip
def test_every_reading_verb_answers_people_too(up: BrownoutUp, arguments: list[str]) -> None:
    done = up.cli(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
    assert b"Traceback" not in done.stderr


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*CLI, *arguments], capture_output=True, check=False, cwd=ROOT, env={**environment(), **extra}, timeout=60
    )


def test_nobody_there_is_exit_code_3() -> None:
    done = run("env", "list", "--json", BROWNOUT_URL="http://127.0.0.1:9", BROWNOUT_TOKEN="t")
    said = problem(done, 3)
    assert (said["code"], "does not answer" in said["detail"]) == ("unreachable", True)


def test_somebody_else_there_is_exit_code_3(up: BrownoutUp) -> None:
    nats = up.target["nats_url"].replace("nats://", "http://")
    assert run("env", "list", BROWNOUT_URL=nats, BROWNOUT_TOKEN="t").returncode == 3


def test_a_refusal_is_shown_as_it_is_whatever_it_quotes(up: BrownoutUp) -> None:
    done = up.cli("flag", "get", "[red]")
    assert (done.returncode, done.stderr.decode().strip()) == (1, "✗ production has no flag [red]")


def test_a_wrong_token_is_refused(up: BrownoutUp) -> None:
    done = run("env", "list", "--json", BROWNOUT_URL=up.target["url"], BROWNOUT_TOKEN="wrong")
    assert problem(done, 1)["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["safe-mode", "on"], ["flag", "list", "--limit", "0"], ["safe-mode", "on", "x", "--for", "soon"],
     ["explain", "f", "novalue"], ["up", "--port", "99999"], ["history", "restore", "1", "--only", "nonsense"], ["flag", "put", "f", "/not/there"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(up: BrownoutUp, arguments: list[str]) -> None:
    where = [] if arguments == ["nonsense"] else ["--data-dir", str(up.data_dir)]
    assert run(*arguments, *where).returncode == 2


def test_what_get_printed_is_put_back_unless_it_changed_meanwhile(up: BrownoutUp, tmp_path: Path) -> None:
    spec, read = tmp_path / "spec.json", tmp_path / "read.json"
    spec.write_text(json.dumps(FLAG))
    up.json("flag", "put", "there-and-back", str(spec), "--create")
    assert (
        problem(up.cli("flag", "put", "there-and-back", str(spec), "--create", "--json"), 1)["code"] == "already_exists"
    )
    found = up.json("flag", "get", "there-and-back")
    read.write_text(json.dumps({**found, "spec": {**found["spec"], "owner": "mine"}}))
    up.json("flag", "put", "there-and-back", str(read))
    assert up.json("flag", "get", "there-and-back")["spec"]["owner"] == "mine"
    late = up.cli("flag", "put", "there-and-back", str(read))
    assert (late.returncode, b"Nothing was saved" in late.stderr) == (1, True)
