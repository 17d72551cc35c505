"""What an operator reads in the log: one line for a change of state, whatever the number of attempts."""

import gc
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from brownout import Brownout, SyncState
from brownout._sync.clock import SignedTime
from brownout._sync.notices import Notices
from brownout._sync.progress import Progress, Trouble
from brownout.config import Config
from brownout.status import Counters, Source, State, Status
from sdk.tests.history import History
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess, free_port
from sdk.tests.waiting import eventually, follows

CONFIG = Config(urls=("nats://ada:secret@nats.example:4222",), key=None, environment="production", service="")


def status(state: State, sync: SyncState = SyncState.LIVE, error: str = "", revision: int = 7) -> Status:
    return Status(
        state=state, sync=sync, source=Source.NATS, environment="production", service="", instance="i",
        revision=-1 if state is State.NOT_READY else revision, epoch=1, age_s=40.0, last_error=error,
        counters=Counters(),
    )  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def levels(said: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in said.records if record.name == "brownout"]


def test_each_change_of_state_is_one_line(said: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notices = Notices(CONFIG, clock)
    for _ in range(50):
        notices.look(status(State.NOT_READY, SyncState.DISCONNECTED, "refused by host"), Trouble.UNREACHABLE)
    assert levels(said) == ["WARNING"]
    assert "nats.example:4222" in said.records[0].getMessage()
    assert "refused by host" in said.records[0].getMessage()
    assert "secret" not in said.records[0].getMessage()
    for _ in range(50):
        notices.look(status(State.NOT_READY, SyncState.DISCONNECTED, "Authorization Violation"), Trouble.REFUSED)
    assert "refuses the SDK key" in said.records[-1].getMessage()
    for _ in range(3):
        notices.look(status(State.READY), None)
    assert levels(said) == ["WARNING", "WARNING", "INFO"]
    for _ in range(3):
        notices.look(status(State.STALE), None)
    assert said.records[-1].getMessage() == (
        "STALE: the control plane has not confirmed the configuration for 40 s. It serves revision 7."
    )
    notices.look(status(State.READY), None)
    assert levels(said) == ["WARNING", "WARNING", "INFO", "WARNING", "INFO"]


def test_the_wait_for_a_first_heartbeat_is_no_news_until_it_is_late(said: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notices = Notices(CONFIG, clock)
    notices.look(status(State.STALE), None)
    clock.now = 29.0
    notices.look(status(State.STALE), None)
    assert said.records == []
    clock.now = 31.0
    notices.look(status(State.STALE), None)
    assert levels(said) == ["WARNING"]


def test_a_client_that_was_always_well_or_is_closed_says_nothing(said: pytest.LogCaptureFixture) -> None:
    notices = Notices(CONFIG, Clock())
    notices.look(status(State.READY), None)
    notices.look(status(State.STALE, SyncState.CLOSED), None)
    assert said.records == []


def test_what_was_wrong_is_forgotten_when_it_is_over_and_what_is_still_wrong_is_not() -> None:
    progress = Progress(lambda: None, SignedTime())
    progress.fail("no room", "disk")
    progress.lost("no answer", attempted=True)
    assert progress.last_error == "no answer"
    progress.enter(SyncState.LIVE)
    assert (progress.last_error, progress.trouble) == ("no room", None)
    progress.mend("disk")
    assert progress.last_error == ""


@pytest.fixture
def unreliable() -> Iterator[str]:
    """A server that greets, listens, and closes."""
    server = socket.create_server(("127.0.0.1", 0))
    greeting = b'INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576}\r\n'

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(greeting)
                connection.recv(4096)

    threading.Thread(target=serve, daemon=True).start()
    yield f"nats://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_a_server_that_hangs_up_again_and_again_is_one_line_and_leaves_no_task(
    unreliable: str, history: History, said: pytest.LogCaptureFixture
) -> None:
    calls: list[Status] = []
    with Brownout.connect(unreliable, key=history.sdk_key, environment=history.environment, disk=False) as client:
        client.on_status(calls.append)
        eventually(client, lambda: client.status.counters.reconnects >= 5)
        eventually(client, lambda: "cannot be reached" in " ".join(record.getMessage() for record in said.records))
        gc.collect()
        assert client.status.last_error
    gc.collect()
    assert levels(said) == ["WARNING"]
    assert [record.getMessage() for record in said.records if record.name == "asyncio"] == []
    assert len(calls) <= 4  # INIT, CONNECTING, SYNC, and that it does not come about


def test_unreachable_then_recovered(own_nats: NatsProcess, history: History, said: pytest.LogCaptureFixture) -> None:  # fmt: skip
    own_nats.stop()
    client = Brownout.connect(own_nats.url, key=history.sdk_key, environment=history.environment, disk=False)
    with client:
        eventually(client, lambda: levels(said) == ["WARNING"])
        assert "Connect call failed" in client.status.last_error
        own_nats.start()
        with LogPublisher(own_nats.url, history):
            follows(client, history.revision)
            assert client.status.last_error == ""
            eventually(client, lambda: levels(said) == ["WARNING", "INFO"])


def test_a_key_that_is_refused_is_called_refused(
    own_nats: NatsProcess, history: History, said: pytest.LogCaptureFixture
) -> None:
    own_nats.stop()
    own_nats.extra = "authorization { token: another }"
    own_nats.start()
    with Brownout.connect(own_nats.url, key=history.sdk_key, environment=history.environment, disk=False) as client:
        eventually(client, lambda: client.status.counters.reconnects >= 3 and bool(levels(said)))
        text = " ".join(record.getMessage() for record in said.records)
        assert "refuses the SDK key" in text
        assert history.sdk_key.partition(".")[0] not in text
    assert levels(said) == ["WARNING"]


def test_the_closed_port_names_the_true_cause(history: History) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    with Brownout.connect(url, key=history.sdk_key, environment=history.environment, disk=False) as client:
        eventually(client, lambda: "Connect call failed" in client.status.last_error)
