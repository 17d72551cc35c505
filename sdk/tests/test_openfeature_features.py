"""Gherkin scenarios in the OpenFeature specification's own sentences, run through OpenFeature's client.

Ours are in `openfeature/`. The specification's (`specification/assets/gherkin` of its repository) run the same way:

    OPENFEATURE_FEATURES=<that folder> python -m pytest sdk/tests/test_openfeature_features.py

and all of them must pass but for what `NOT_OURS` says; merging contexts (contextMerging.feature) is up to OpenFeature's client.
"""

import asyncio
import copy
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gherkin.parser import Parser
from gherkin.pickles.compiler import Compiler
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus

from brownout import Brownout
from brownout.openfeature import BrownoutProvider
from sdk.tests.history import History, put
from sdk.tests.log_publisher import LogPublisher
from sdk.tests.nats_process import NatsProcess
from sdk.tests.openfeature_flags import FLAGS

NOT_OURS = {
    "@deprecated": "the second version of the scenarios replaces them",
    "@reason-codes-cached": "nothing is cached: every answer is evaluated here and now",
    "@reason-codes-disabled": "a disabled flag serves its off variant, not the caller's default",
    "a fatal provider": "the client never stops trying",
    "@metadata": "metadata says revision, rule and safe mode; a flag has none of its own",
    "@Metadata": "as above",
    "@immutability": "whether details can be changed is up to OpenFeature's own class",
}
FOLDER = Path(os.environ.get("OPENFEATURE_FEATURES", Path(__file__).parent / "openfeature"))


def scenarios() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("[!c]*.feature")):
        document = Parser().parse(file.read_text())
        for number, pickle in enumerate(Compiler().compile({**document, "uri": file.name})):
            told = {tag["name"] for tag in pickle["tags"]} | {step["text"] for step in pickle["steps"]}
            if not told & NOT_OURS.keys():
                yield pytest.param(pickle, id=f"{file.stem}-{number}-{pickle['name']}")


class Recording(Hook):
    def __init__(self, name: str, ran: list[tuple[str, str, Any]]) -> None:
        self._name = name
        self._ran = ran

    def before(self, hook_context: HookContext, hints: HookHints) -> None:  # noqa: ARG002
        self._ran.append((self._name, "before", None))

    def after(self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints) -> None:  # noqa: ARG002
        self._ran.append((self._name, "after", details))

    def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:  # noqa: ARG002
        self._ran.append((self._name, "error", exception))

    def finally_after(self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints) -> None:  # noqa: ARG002
        self._ran.append((self._name, "finally", details))


class World:
    """One scenario's state. A method per sentence; `steps` finds it."""

    def __init__(
        self, nats: NatsProcess, mortal: Callable[[], NatsProcess], history: History, closing: ExitStack
    ) -> None:
        self._nats = nats
        self._mortal = mortal
        self._history = history
        self._closing = closing
        self._attributes: dict[str, Any] = {}
        self._options: FlagEvaluationOptions | None = None
        self._ran: list[tuple[str, str, Any]] = []

    def _connect(self, url: str, *, ready_timeout_s: float, stale_after_s: float = 60.0) -> Brownout:
        brownout = Brownout.connect(
            url, key=self._history.sdk_key, environment=self._history.environment, service="tests", disk=False,
            stale_after_s=stale_after_s,
        )  # fmt: skip
        self._provider = BrownoutProvider(brownout, ready_timeout_s=ready_timeout_s)
        self._closing.callback(api.shutdown)
        return brownout

    def a_provider(self, state: str) -> None:
        if state == "stale":
            nats = self._mortal()
            with LogPublisher(nats.url, self._history):
                self._connect(nats.url, ready_timeout_s=10, stale_after_s=0.5)
                api.set_provider_and_wait(self._provider)
            nats.stop()
            self.the_provider_status(ProviderStatus.STALE.value)
        elif state == "stable":
            self._closing.enter_context(LogPublisher(self._nats.url, self._history))
            self._connect(self._nats.url, ready_timeout_s=10)
            api.set_provider_and_wait(self._provider)
        elif state == "error":
            self._connect("nats://127.0.0.1:1", ready_timeout_s=0)
            api.set_provider(self._provider)
            self.the_provider_status(ProviderStatus.ERROR.value)
        else:
            self._connect("nats://127.0.0.1:1", ready_timeout_s=2)
            api.set_provider(self._provider)

    @property
    def _client(self) -> OpenFeatureClient:
        return api.get_client()

    def a_client_with_hook(self) -> None:
        api.add_hooks([Recording("added", self._ran)])
        self._closing.callback(api.clear_hooks)

    def a_flag(self, kind: str, key: str, fallback: str) -> None:
        self._kind, self._key, self._fallback = kind.lower(), key, _value(kind, fallback)

    def an_attribute(self, key: str, kind: str, value: str) -> None:
        self._attributes[key] = _value(kind, value)

    def a_null_attribute(self, key: str) -> None:
        self._attributes[key] = None

    def modifiable_data(self) -> None:
        self._attributes["nested"] = {"list": [1]}
        self._original = copy.deepcopy(self._attributes)

    def options_with_hooks(self) -> None:
        self._options = FlagEvaluationOptions(hooks=[Recording("first", self._ran), Recording("second", self._ran)])

    def evaluated(self) -> None:
        evaluate = getattr(self._client, f"get_{self._kind}_details")
        self._details: FlagEvaluationDetails[Any] = evaluate(
            self._key, self._fallback, EvaluationContext("u-1", self._attributes), self._options
        )

    def evaluated_asynchronously(self) -> None:
        evaluate = getattr(self._client, f"get_{self._kind}_details_async")
        self._details = asyncio.run(evaluate(self._key, self._fallback))

    def done(self) -> None:
        assert self._details.error_code is None

    def the_value(self, expected: str) -> None:
        wanted = _value(self._kind, expected)
        assert self._details.value == wanted
        assert isinstance(self._details.value, type(wanted))

    def the_reason(self, expected: str) -> None:
        assert self._details.reason == expected

    def the_error_code(self, expected: str) -> None:
        assert self._details.error_code == expected

    def the_flag_key(self, expected: str) -> None:
        assert self._details.flag_key == expected

    def the_variant(self, expected: str) -> None:
        assert self._details.variant == expected

    def the_provider_status(self, expected: str) -> None:
        reached = _eventually(lambda: self._client.get_provider_status().value == expected)
        assert reached, self._client.get_provider_status()

    def the_hooks_ran(self) -> None:
        assert {name for name, _, _ in self._ran} == {"first", "second"}

    def the_hook_order(self) -> None:
        assert [(name, stage) for name, stage, _ in self._ran] == [
            ("first", "before"), ("second", "before"), ("second", "after"), ("first", "after"), ("second", "finally"), ("first", "finally"),
        ]  # fmt: skip

    def a_hook_ran(self, stage: str) -> None:
        assert stage in [ran for _, ran, _ in self._ran]

    def hooks_were_told(self, stages: str, rows: list[dict[str, str]]) -> None:
        for stage in stages.split(", "):
            told = next(what for _, ran, what in self._ran if ran == stage)
            for row in rows:
                wanted = None if row["value"] == "null" else _value(row["data_type"], row["value"])
                assert getattr(told, row["key"]) == wanted, row

    def the_context_is_unmodified(self) -> None:
        assert self._attributes == self._original


STEPS: dict[str, Callable[..., None]] = {
    r"a (stable|not ready|error|stale) provider": World.a_provider,
    r"a client with added hook": World.a_client_with_hook,
    r'an? (\w+)-flag with key "(.*)" and a fallback value "(.*)"': World.a_flag,
    r'a context containing a key "(.*)", with type "(.*)" and with value "(.*)"': World.an_attribute,
    r'a context containing a key "(.*)" with null value': World.a_null_attribute,
    r"an evaluation context with modifiable data": World.modifiable_data,
    r"evaluation options containing specific hooks": World.options_with_hooks,
    r"the flag was evaluated with details(?: using the evaluation options)?": World.evaluated,
    r"the flag was evaluated with details asynchronously": World.evaluated_asynchronously,
    r"the evaluation should complete without blocking": World.done,
    r'the resolved details value should be "(.*)"': World.the_value,
    r'the reason should be "(.*)"': World.the_reason,
    r'the error-code should be "(.*)"': World.the_error_code,
    r'the flag key should be "(.*)"': World.the_flag_key,
    r'the variant should be "(.*)"': World.the_variant,
    r'the provider status should be "(.*)"': World.the_provider_status,
    r"the specified hooks should execute during evaluation": World.the_hooks_ran,
    r"the hook order should be maintained": World.the_hook_order,
    r'the "(\w+)" hook should have been executed': World.a_hook_ran,
    r'the "(.*)" hooks should be called with evaluation details': World.hooks_were_told,
    r"the original evaluation context should remain unmodified": World.the_context_is_unmodified,
}


def _value(kind: str, text: str) -> Any:
    match kind.lower():
        case "string":
            return text
        case "float":
            return float(text)
        case _:
            return msgspec.json.decode(text.replace('\\"', '"'))


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def _table(step: dict[str, Any]) -> list[list[dict[str, str]]]:
    if "argument" not in step:
        return []
    head, *rows = [[cell["value"] for cell in row["cells"]] for row in step["argument"]["dataTable"]["rows"]]
    return [[dict(zip(head, row, strict=True)) for row in rows]]


@pytest.fixture
def world(request: pytest.FixtureRequest, shared_nats: NatsProcess, history: History) -> Iterator[World]:
    history.commit(*(put(key, msgspec.json.encode(spec)) for key, spec in FLAGS.items()))
    with ExitStack() as closing:
        yield World(shared_nats, lambda: request.getfixturevalue("own_nats"), history, closing)


@pytest.mark.parametrize("scenario", list(scenarios()))
def test_scenario(world: World, scenario: dict[str, Any]) -> None:
    for step in scenario["steps"]:
        found = [(does, match) for says, does in STEPS.items() if (match := re.fullmatch(says, step["text"]))]
        assert len(found) == 1, f"no step says: {step['text']}"
        does, match = found[0]
        does(world, *match.groups(), *_table(step))
