"""The provider under OpenFeature's own client: the specification's evaluation scenarios (appendix B), and our events."""

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails
from openfeature.hook import Hook
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from brownout import Brownout
from brownout.openfeature import BrownoutProvider
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess

PICS = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}

FLAGS: dict[str, dict[str, Any]] = {
    "boolean-flag": {"type": "boolean", "variants": {"on": True, "off": False}, "default": "on"},
    "string-flag": {"type": "string", "variants": {"greeting": "hi", "parting": "bye"}, "default": "greeting"},
    "integer-flag": {"type": "integer", "variants": {"one": 1, "ten": 10}, "default": "ten"},
    "float-flag": {"type": "float", "variants": {"tenth": 0.1, "half": 0.5}, "default": "half"},
    "object-flag": {"type": "object", "variants": {"empty": {}, "template": PICS}, "default": "template"},
    "complex-targeted": {
        "type": "string",
        "variants": {"internal": "INTERNAL", "external": "EXTERNAL"},
        "default": "external",
        "rules": [
            {
                "id": "internal",
                "if": [
                    {"attribute": "customer", "op": "in", "values": [False]},
                    {"attribute": "email", "op": "in", "values": ["ballmer@macrosoft.com"]},
                    {"attribute": "age", "op": "gt", "values": [10]},
                ],
                "serve": "internal",
            }
        ],
    },
}
ZEROS: dict[str, tuple[Any, Any]] = {
    "boolean": (False, True),
    "string": ("", "str"),
    "integer": (0, 1),
    "float": (0.0, 1.0),
    "object": ({}, PICS),
}
BALLMER = [{"attribute": "email", "op": "in", "values": ["ballmer@macrosoft.com"]}]
for name, (zero, other) in ZEROS.items():
    variants = {"type": name, "variants": {"zero": zero, "non-zero": other}, "default": "zero"}
    FLAGS[f"{name}-zero-flag"] = variants
    FLAGS[f"{name}-targeted-zero-flag"] = variants | {"rules": [{"id": "ballmer", "if": BALLMER, "serve": "zero"}]}
for name in ZEROS:
    FLAGS[f"{name}-disabled-flag"] = FLAGS[f"{name}-flag"] | {"enabled": False}


@pytest.fixture
def flags(publisher: LogPublisher) -> LogPublisher:
    publisher.commit(
        *(
            put(key, msgspec.json.encode({"off_variant": next(iter(spec["variants"]))} | spec))
            for key, spec in FLAGS.items()
        )
    )
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


def details(
    client: OpenFeatureClient, kind: str, key: str, default: Any, **attributes: Any
) -> FlagEvaluationDetails[Any]:
    evaluate = getattr(client, f"get_{kind}_details")
    answer: FlagEvaluationDetails[Any] = evaluate(key, default, EvaluationContext("u-1", attributes))
    return answer


@pytest.mark.parametrize(
    ("kind", "default", "value", "variant"),
    [
        ("boolean", False, True, "on"),
        ("string", "bye", "hi", "greeting"),
        ("integer", 1, 10, "ten"),
        ("float", 0.1, 0.5, "half"),
        ("object", {}, PICS, "template"),
    ],
)
def test_it_resolves_every_type(client: OpenFeatureClient, kind: str, default: Any, value: Any, variant: str) -> None:
    answer = details(client, kind, f"{kind}-flag", default)
    assert (answer.flag_key, answer.value, answer.variant, answer.reason) == (f"{kind}-flag", value, variant, "STATIC")
    assert answer.error_code is None
    assert answer.flag_metadata["revision"] == 4


@pytest.mark.parametrize("kind", ZEROS)
def test_zero_values_are_values(client: OpenFeatureClient, kind: str) -> None:
    zero, other = ZEROS[kind]
    assert details(client, kind, f"{kind}-zero-flag", other).value == zero
    assert details(client, kind, f"{kind}-zero-flag", other).reason == "STATIC"
    hit = details(client, kind, f"{kind}-targeted-zero-flag", other, email="ballmer@macrosoft.com")
    assert (hit.value, hit.reason, hit.flag_metadata["rule"]) == (zero, "TARGETING_MATCH", "ballmer")
    for missed in ({"email": "ballmer@none.com"}, {}, {"email": None}):
        answer = details(client, kind, f"{kind}-targeted-zero-flag", other, **missed)
        assert (answer.value, answer.reason) == (zero, "DEFAULT")


@pytest.mark.parametrize("kind", ZEROS)
def test_an_unknown_flag_gives_the_default_and_says_so(client: OpenFeatureClient, kind: str) -> None:
    default = ZEROS[kind][1]
    answer = details(client, kind, "non-existent-flag", default)
    assert (answer.value, answer.reason, answer.error_code) == (default, "ERROR", ErrorCode.FLAG_NOT_FOUND)


@pytest.mark.parametrize("kind", ZEROS)
def test_a_flag_of_another_type_gives_the_default_and_says_so(client: OpenFeatureClient, kind: str) -> None:
    default = ZEROS[kind][1]
    answer = details(client, kind, "string-flag" if kind == "boolean" else "boolean-flag", default)
    assert (answer.value, answer.reason, answer.error_code) == (default, "ERROR", ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("kind", ZEROS)
def test_a_disabled_flag_serves_its_off_variant(client: OpenFeatureClient, kind: str) -> None:
    answer = details(client, kind, f"{kind}-disabled-flag", ZEROS[kind][1])
    assert answer.value == next(iter(FLAGS[f"{kind}-flag"]["variants"].values()))
    assert answer.reason == "DISABLED"


def test_several_attributes_target_together(client: OpenFeatureClient) -> None:
    context = {"email": "ballmer@macrosoft.com", "role": "admin", "age": 65, "customer": False}
    answer = details(client, "string", "complex-targeted", "default", **context)
    assert (answer.value, answer.reason) == ("INTERNAL", "TARGETING_MATCH")


def test_the_context_is_left_as_it_was(client: OpenFeatureClient) -> None:
    attributes: dict[str, Any] = {"email": "ballmer@macrosoft.com", "nested": {"a": [1]}}
    details(client, "boolean", "boolean-targeted-zero-flag", True, **attributes)
    assert attributes == {"email": "ballmer@macrosoft.com", "nested": {"a": [1]}}


@pytest.mark.anyio
async def test_it_resolves_in_asyncio_too(client: OpenFeatureClient) -> None:
    assert await client.get_string_value_async("string-flag", "bye") == "hi"


def test_hooks_run_around_an_evaluation(client: OpenFeatureClient) -> None:
    ran: list[str] = []

    class Recording(Hook):
        def before(self, *_: Any, **__: Any) -> None:
            ran.append("before")

        def after(self, *_: Any, **__: Any) -> None:
            ran.append("after")

        def finally_after(self, *_: Any, **__: Any) -> None:
            ran.append("finally")

    client.add_hooks([Recording()])
    assert client.get_boolean_value("boolean-flag", False)
    assert ran == ["before", "after", "finally"]


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
    with LogPublisher(own_nats.url, history):
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
        assert ready.wait(30)
    api.shutdown()


def test_tracking_reaches_the_clients_metrics(client: OpenFeatureClient, brownout: Brownout) -> None:
    client.track("checkout", EvaluationContext("u-1"), TrackingEventDetails(99.5, {"plan": "pro"}))
    client.track("checkout")
    collected = brownout._collect(final=True)
    assert collected is not None
    assert b"checkout" in collected
