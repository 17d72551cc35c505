"""The sidecar on a real NATS: the SDK's own decisions over HTTP, for this machine alone."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brownout import Brownout
from brownout.errors import ConfigurationError
from brownout.sidecar.listen import listening
from brownout.wire.telemetry import decode
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.sidecar_process import Sidecar, free_port

BULK = "/ofrep/v1/evaluate/flags"
CONTEXTS: list[dict[str, Any]] = [{}, {"targeting_key": "u-1"}, {"targeting_key": "u-2", "plan": "beta"}]
ROUTE = {
    "type": "model_route", "off_variant": "old", "default": {"split": [
        {"variant": "old", "weight_bp": 5_000}, {"variant": "new", "weight_bp": 5_000}]},
    "variants": {
        name: {"targets": {"main": {"provider": "p", "model": f"{name}-model"}}, "primary": "main"}
        for name in ("old", "new")
    },
    "rules": [{"id": "beta", "if": [{"attribute": "plan", "op": "in", "values": ["beta"]}], "serve": "new"}],
}  # fmt: skip
CLASS = {"criticality": "critical", "model": "route"}


@pytest.fixture
def variables(shared_nats: NatsProcess, history: History, publisher: LogPublisher, tmp_path: Path) -> dict[str, str]:
    publisher.commit(
        put("route", msgspec.json.encode(ROUTE)),
        put("support-reply", msgspec.json.encode(CLASS), "request_class"),
    )
    return {
        "BROWNOUT_NATS_URL": shared_nats.url,
        "BROWNOUT_SDK_KEY": history.sdk_key,
        "BROWNOUT_ENVIRONMENT": history.environment,
        "BROWNOUT_SERVICE": "java-shop",
        "BROWNOUT_DISK": str(tmp_path / "disk"),
    }


@pytest.fixture
def sidecar(variables: dict[str, str], history: History, tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(variables, f"127.0.0.1:{free_port()}", tmp_path / "log") as running:
        running.waits_for(history.revision)
        yield running


@pytest.fixture
def sdk(shared_nats: NatsProcess, history: History, variables: dict[str, str]) -> Iterator[Brownout]:
    with Brownout.connect(
        shared_nats.url, key=history.sdk_key, environment=history.environment, service="java-shop", disk=False
    ) as client:
        assert client.wait_ready(20)
        yield client


def ofrep(context: dict[str, Any]) -> dict[str, Any]:
    named = {("targetingKey" if name == "targeting_key" else name): value for name, value in context.items()}
    return {"context": named}


def test_it_decides_as_the_sdk_does(sidecar: Sidecar, sdk: Brownout) -> None:
    for context in CONTEXTS:
        policy = sidecar.http.post("/policy", json={"request_class": "support-reply", "context": context})
        assert policy.json() == json.loads(msgspec.json.encode(sdk.policy("support-reply", context)))
        bulk = sidecar.http.post(BULK, json=ofrep(context)).json()
        assert [flag["key"] for flag in bulk["flags"]] == ["first", "route", "second", "third"]
        for flag in bulk["flags"]:
            decision = sdk.decide(flag["key"], context)
            expected = (json.loads(msgspec.json.encode(decision.value)), decision.variant, decision.reason)
            assert (flag["value"], flag["variant"], flag["reason"]) == expected
            assert sidecar.http.post(f"{BULK}/{flag['key']}", json=ofrep(context)).json() == flag


def test_an_unchanged_bulk_answer_is_a_304(sidecar: Sidecar) -> None:
    first = sidecar.http.post(BULK, json=ofrep({}))
    again = sidecar.http.post(BULK, json=ofrep({}), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_reported_goes_to_the_control_plane_at_the_end(sidecar: Sidecar, publisher: LogPublisher) -> None:
    policy = sidecar.http.post("/policy", json={"request_class": "support-reply", "context": {}}).json()
    body = {"policy": policy, "input_tokens": 100, "error_class": "timeout"}
    assert sidecar.http.post("/record", json=body).status_code == 204
    assert sidecar.stop() == 0
    message = decode(publisher.telemetry.get(timeout=20))
    ((key, totals),) = message.requests.items()
    assert (key.request_class, key.model) == ("support-reply", policy["model"]["model"])
    assert (totals.requests, totals.errors, totals.input_tokens) == (1, {"timeout": 1}, 100)
    assert message.service == "java-shop"


def test_changes_are_told_as_they_come_and_end_with_the_sidecar(sidecar: Sidecar, publisher: LogPublisher) -> None:
    with sidecar.changes() as events:
        name, first = next(events)
        assert (name, json.loads(first)["state"]) == ("status", sidecar.health()["state"])
        publisher.set_flag("first", on=True)
        told = next(json.loads(data) for name, data in events if name == "change")
        assert told["resources"] == [{"kind": "flag", "key": "first"}]
        assert told["revision"] == publisher.history.revision
        assert sidecar.http.post(f"{BULK}/first", json=ofrep({})).json()["value"] is True
        assert sidecar.stop() == 0
        assert [name for name, _ in events if name == "change"] == []
    assert "Traceback" not in sidecar.log.read_text()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:80", 200),
        ("127.0.0.1:9999", 200),
        ("[::1]:7410", 200),
        ("attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example:7410", 421),
        ("10.0.0.7", 421),
        ("", 421),
    ],
)
def test_a_host_that_does_not_name_this_machine_gets_nothing(sidecar: Sidecar, host: str, status: int) -> None:
    answer = sidecar.http.get("/healthz", headers={"Host": host})
    assert answer.status_code == status
    assert status == 200 or "revision" not in answer.text


def test_a_web_page_gets_nothing(sidecar: Sidecar) -> None:
    for path in ("/policy", "/record", BULK):
        answer = sidecar.http.post(path, content=b"{}", headers={"Origin": "http://localhost:3000"})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/policy", b"{", 422),
        ("POST", "/policy", b"{}", 422),
        ("POST", "/policy", b'{"request_class":"support-reply","request_class":"x"}', 422),
        ("POST", "/policy", b'{"request_class":"support-reply","mood":1}', 422),
        ("POST", "/policy", b'{"request_class":"nowhere"}', 404),
        ("POST", "/record", b'{"policy":{"request_class":"x"},"input_tokens":-1}', 422),
        ("POST", "/record", b'{"policy":{"request_class":"' + b"x" * 300_000 + b'"}}', 413),
        ("POST", f"{BULK}/nowhere", b'{"context":{}}', 404),
        ("POST", f"{BULK}/first", b"[]", 400),
        ("POST", BULK, b'{"context":{"a":NaN}}', 400),
        ("GET", "/policy", b"", 405),
        ("GET", "/etc/passwd", b"", 404),
    ],
    ids=range(12),
)
def test_what_is_no_request_is_refused(sidecar: Sidecar, method: str, path: str, body: bytes, status: int) -> None:
    assert sidecar.http.request(method, path, content=body).status_code == status
    assert sidecar.health()["state"] in {"READY", "STALE"}


def test_it_serves_from_memory_and_starts_from_disk_while_everything_else_is_dead(
    own_nats: NatsProcess, history: History, variables: dict[str, str], tmp_path: Path
) -> None:
    variables["BROWNOUT_NATS_URL"] = own_nats.url
    address = f"127.0.0.1:{free_port()}"
    asked = {"request_class": "support-reply", "context": {"targeting_key": "u-1"}}
    with LogPublisher(own_nats.url, history), Sidecar(variables, address, tmp_path / "log") as running:
        running.waits_for(history.revision)
        before = running.http.post("/policy", json=asked).json()
        own_nats.stop(kill=True)
        assert running.http.post("/policy", json=asked).json() == before
        assert running.stop() == 0
    with Sidecar(variables, address, tmp_path / "log") as again:
        assert again.http.post("/policy", json=asked).json() == before
        health = again.health()
        assert (health["state"], health["source"]) == ("STALE", "disk")


def test_without_any_configuration_it_says_so(variables: dict[str, str], tmp_path: Path) -> None:
    alone = variables | {"BROWNOUT_NATS_URL": "nats://127.0.0.1:9"}
    with Sidecar(alone, f"127.0.0.1:{free_port()}", tmp_path / "log") as running:
        assert running.http.get("/healthz").status_code == 503
        assert running.http.post("/policy", json={"request_class": "support-reply"}).status_code == 503
        failure = running.http.post(BULK, json=ofrep({}))
        assert (failure.status_code, failure.json()["errorCode"]) == (503, "PROVIDER_NOT_READY")


def test_a_unix_socket_is_its_owners_and_goes_with_the_sidecar(variables: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Sidecar(variables, f"unix:{path}", tmp_path / "log") as running:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert running.http.get("/healthz").status_code in {200, 503}
        assert running.stop(signal.SIGINT) == 0
    assert not path.exists()


def test_the_socket_of_a_killed_sidecar_is_taken_over_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
        abandoned.listen()
        with pytest.raises(ConfigurationError, match="in use"), listening(f"unix:{path}"):
            raise AssertionError
    with listening(f"unix:{path}"):
        assert path.is_socket()
    path.write_text("no socket")
    with pytest.raises(ConfigurationError), listening(f"unix:{path}"):
        raise AssertionError
    assert path.read_text() == "no socket"


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:7410", ":7410", "[::]:7410", "10.1.2.3:7410", "example.com:7410", "7410", "127.0.0.1:x", "127.0.0.1:70000",
     "unix:"],
)  # fmt: skip
def test_it_listens_where_no_other_host_reaches_it(address: str) -> None:
    with pytest.raises(ConfigurationError), listening(address):
        raise AssertionError


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "127.0.0.9:0"])
def test_loopback_is_taken(address: str) -> None:
    with listening(address) as bound:
        assert bound.getsockname()[0].startswith("127.0.0.")


def test_the_command_refuses_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brownout.sidecar", "--listen", "0.0.0.0:7410"],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "brownout-sidecar: 0.0.0.0 is not loopback: the sidecar serves this machine only\n"


def test_a_slow_request_does_not_hold_up_the_stop(sidecar: Sidecar) -> None:
    host, _, port = str(sidecar.http.base_url.netloc, "ascii").partition(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /policy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert sidecar.http.get("/healthz").status_code == 200
        assert sidecar.stop() == 0


def test_a_closed_stream_is_forgotten(sidecar: Sidecar) -> None:
    for _ in range(80):
        with sidecar.changes() as events:
            assert next(events)[0] == "status"
    assert sidecar.http.get("/healthz").status_code == 200
