"""The same through a whole client: the host's switch and emergencies take effect by themselves, and are reported."""

import asyncio
from pathlib import Path

import msgspec
import nats
import pytest

from brownout import Brownout, wire
from brownout.wire.bundle import Signed
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.test_outside import PROFILES, ROUTE, activation, encode, encoded
from sdk.tests.waiting import eventually


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "safe-mode"
    monkeypatch.setenv("BROWNOUT_SAFE_MODE_FILE", str(path))
    return path


async def _exchange(url: str, environment: str, message: bytes, signature: str, origins: set[str]) -> None:
    """Publishes, and returns when presence has named activations of all `origins`."""
    connection = await nats.connect(url)
    try:
        reports = await connection.subscribe(wire.Subjects(environment).presence_all)
        headers = {wire.SIGNATURE_HEADER: signature}
        await connection.publish(wire.Subjects(environment).emergency, message, headers=headers)
        async for report in reports.messages:
            said = msgspec.json.decode(report.data, type=wire.Presence)
            if {one.origin for one in said.outside} == origins:
                return
    finally:
        await connection.close()


def test_a_host_and_an_emergency_are_applied_and_reported(
    publisher: LogPublisher, history: History, shared_nats: NatsProcess, file: Path
) -> None:
    publisher.commit(
        put("route", encoded(ROUTE)),
        put("reply", encoded({"criticality": "critical", "model": "route"}), "request_class"),
        put("calm", encode(PROFILES["calm"]), "safe_mode_profile"),
    )
    with Brownout.connect(shared_nats.url, key=history.sdk_key, environment=history.environment, disk=False) as client:
        eventually(client, lambda: client.policy("reply").model is not None)
        file.write_text("no-openai\nthe bill explodes")
        eventually(client, lambda: client.policy("reply").safe_mode.profiles == ("humans-only",))
        now = history.now_ms()
        said = wire.Emergency(1, history.environment, "k", "on", now, spec=activation(began=now))
        message = history.sign("emergency", msgspec.json.encode(said))
        asyncio.run(
            asyncio.wait_for(
                _exchange(
                    shared_nats.url, history.environment, message.payload, message.signature, {"host", "emergency"}
                ),
                30,
            )
        )
        assert client.held.safe_mode == ("calm", "humans-only")
        file.unlink()
        eventually(client, lambda: client.policy("reply").safe_mode.profiles == ("calm",))
        assert client.status.counters.emergencies == 1


def test_a_host_that_is_cut_off_switches_all_the_same(history: History, file: Path, tmp_path: Path) -> None:
    file.write_text("calm")
    options = {"key": history.sdk_key, "environment": history.environment, "disk": tmp_path / "cache"}
    with Brownout.connect("nats://127.0.0.1:9", **options) as client:  # type: ignore[arg-type]
        eventually(client, lambda: client.policy("reply").safe_mode.active)
        assert client.policy("reply").sensitive == "human_review"


def test_what_was_heard_of_an_emergency_outlives_a_restart(
    publisher: LogPublisher, history: History, shared_nats: NatsProcess, file: Path, tmp_path: Path
) -> None:
    """An activation and a lift; then the process starts again, and nobody is there to repeat them."""
    publisher.commit(put("calm", encode(PROFILES["calm"]), "safe_mode_profile"))
    options = {"key": history.sdk_key, "environment": history.environment, "disk": tmp_path / "cache"}
    now = history.now_ms()
    said = [
        history.sign("emergency", msgspec.json.encode(each))
        for each in (
            wire.Emergency(1, history.environment, "stays", "on", now, spec=activation(began=now)),
            wire.Emergency(1, history.environment, "lifted", "on", now, spec=activation(began=now)),
            wire.Emergency(1, history.environment, "lifted", "off", now + 1),
        )
    ]

    async def publish() -> None:
        connection = await nats.connect(shared_nats.url)
        for message in said:
            headers = {wire.SIGNATURE_HEADER: message.signature}
            await connection.publish(wire.Subjects(history.environment).emergency, message.payload, headers=headers)
        await connection.close()

    with Brownout.connect(shared_nats.url, **options) as client:  # type: ignore[arg-type]
        eventually(client, lambda: client.status.sync == "LIVE")
        asyncio.run(publish())
        eventually(client, lambda: client.status.counters.emergencies == 3)
    kept = msgspec.json.decode((tmp_path / "cache" / _file(tmp_path)).read_bytes(), type=tuple[Signed, ...])
    assert set(kept) == set(said), "closing writes what was heard last"
    for content, held in ((None, ["stays"]), (b"[[]]", [])):
        if content is not None:
            (tmp_path / "cache" / _file(tmp_path)).write_bytes(content)
        with Brownout.connect("nats://127.0.0.1:9", **options) as client:  # type: ignore[arg-type]
            assert client._engine._replica.hear_emergency(said[1]).name == ("DROPPED" if held else "APPLIED")
            active = [one.key for one in client._compiled.active]
            assert [key for key in active if key != "lifted"] == held


def _file(folder: Path) -> str:
    return next((each.name for each in (folder / "cache").glob("*.emergency")), "none.emergency")
