"""The provider under OpenFeature's own client: what the specification's scenarios (test_openfeature_features.py) leave open."""

import threading
from collections.abc import Iterator

import msgspec
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.provider import ProviderStatus
from openfeature.provider.no_op_provider import NoOpProvider
from openfeature.track import TrackingEventDetails

from brownout import Brownout
from brownout.openfeature import BrownoutProvider
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess, free_port
from sdk.tests.openfeature_flags import FLAGS
from sdk.tests.waiting import eventually


@pytest.fixture
def flags(publisher: LogPublisher) -> LogPublisher:
    publisher.commit(*(put(key, msgspec.json.encode(spec)) for key, spec in FLAGS.items()))
    return publisher


@pytest.fixture
def brownout(flags: LogPublisher, history: History, shared_nats: NatsProcess) -> Iterator[Brownout]:
    client = Brownout.connect(
        shared_nats.url, key=history.sdk_key, environment=history.environment, service="tests", disk=False
    )
    yield client
    client.close()


@pytest.fixture
def client(brownout: Brownout) -> Iterator[OpenFeatureClient]:
    api.set_provider_and_wait(BrownoutProvider(brownout))
    yield api.get_client()
    api.shutdown()


def test_details_say_revision_and_rule(client: OpenFeatureClient) -> None:
    context = EvaluationContext("u-1", {"email": "ballmer@macrosoft.com"})
    details = client.get_integer_details("integer-targeted-zero-flag", 1, context)
    assert details.flag_metadata == {"revision": 4, "rule": "ballmer"}


def test_a_provider_without_configuration_is_not_ready() -> None:
    history = History("env-nowhere")
    unreachable = Brownout.connect(
        "nats://127.0.0.1:1", key=history.sdk_key, environment=history.environment, service="tests", disk=False
    )
    provider = BrownoutProvider(unreachable, ready_timeout_s=0.05)
    answer = provider.resolve_boolean_details("boolean-flag", True)
    assert (answer.value, answer.reason, answer.error_code) == (True, "ERROR", ErrorCode.PROVIDER_NOT_READY)
    api.set_provider(provider, "nowhere")
    assert api.get_client("nowhere").get_provider_status() in {ProviderStatus.NOT_READY, ProviderStatus.ERROR}
    assert api.get_client("nowhere").get_boolean_value("boolean-flag", True) is True
    api.shutdown()


def test_a_commit_is_an_event(client: OpenFeatureClient, flags: LogPublisher) -> None:
    heard = threading.Event()
    changed: list[EventDetails] = []

    def note(event: EventDetails) -> None:
        changed.append(event)
        heard.set()

    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, note)
    flags.set_flag("first", on=True)
    assert heard.wait(10)
    assert changed[-1].flags_changed == ["first"]
    assert client.get_boolean_value("first", False)


def test_an_old_configuration_is_stale_and_then_ready_again(own_nats: NatsProcess, history: History) -> None:
    stale, ready = threading.Event(), threading.Event()
    with LogPublisher(own_nats.url, history) as publisher:
        brownout = Brownout.connect(
            own_nats.url,
            key=history.sdk_key,
            environment=history.environment,
            service="tests",
            disk=False,
            stale_after_s=0.5,
        )
        api.set_provider_and_wait(BrownoutProvider(brownout), "stale")
        assert brownout.wait_ready(10)
        client = api.get_client("stale")
        client.add_handler(ProviderEvent.PROVIDER_STALE, lambda _: stale.set())
        own_nats.stop(kill=True)
        assert stale.wait(20)
        assert client.get_provider_status() is ProviderStatus.STALE
        assert client.get_boolean_value("second", False) is True
        client.add_handler(ProviderEvent.PROVIDER_READY, lambda _: ready.set())
        own_nats.start()
        publisher.reopen()
        assert ready.wait(30)
    api.shutdown()


def test_it_starts_while_no_control_plane_lives_and_is_stale_then(own_nats: NatsProcess, history: History) -> None:
    stale, ready = threading.Event(), threading.Event()
    with LogPublisher(own_nats.url, history, heartbeat_s=0.1) as publisher:
        publisher.beating = False
        brownout = Brownout.connect(
            own_nats.url, key=history.sdk_key, environment=history.environment, service="tests", disk=False
        )
        provider = BrownoutProvider(brownout)
        api.set_provider_and_wait(provider, "alone")
        client = api.get_client("alone")
        assert client.get_boolean_value("second", False) is True
        client.add_handler(ProviderEvent.PROVIDER_STALE, lambda _: stale.set())
        client.add_handler(ProviderEvent.PROVIDER_READY, lambda _: ready.set())
        ready.clear()  # a handler that is added late is called at once
        assert stale.wait(20)
        publisher.beating = True
        assert ready.wait(20)
    api.shutdown()


def test_tracking_reaches_the_clients_metrics(client: OpenFeatureClient, brownout: Brownout) -> None:
    client.track("checkout", EvaluationContext("u-1"), TrackingEventDetails(99.5, {"plan": "pro"}))
    client.track("checkout")
    collected = brownout._collect(final=True)
    assert collected is not None
    assert b"checkout" in collected


def test_the_error_names_the_cause(history: History) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    with Brownout.connect(url, key=history.sdk_key, environment=history.environment, disk=False) as unreachable:
        eventually(unreachable, lambda: bool(unreachable.status.last_error))
        provider = BrownoutProvider(unreachable, ready_timeout_s=0.01)
        with pytest.raises(ProviderNotReadyError, match="Connect call failed"):
            provider.initialize(EvaluationContext())
        details = provider.resolve_boolean_details("first", default_value=True)
        assert details.error_code is ErrorCode.PROVIDER_NOT_READY
        assert "Connect call failed" in str(details.error_message)


def test_a_provider_that_was_shut_down_says_so_when_it_is_registered_again(brownout: Brownout) -> None:
    provider = BrownoutProvider(brownout)
    api.set_provider_and_wait(provider)
    api.set_provider_and_wait(NoOpProvider())
    eventually(brownout, lambda: brownout.status.sync == "CLOSED")  # OpenFeature shuts down in the background
    with pytest.raises(ProviderFatalError, match="register a new one"):
        api.set_provider_and_wait(provider)
    assert api.get_client().get_provider_status() is ProviderStatus.FATAL
    assert api.get_client().get_boolean_details("boolean-flag", False).value is False
    api.shutdown()
