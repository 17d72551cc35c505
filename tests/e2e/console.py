"""A running Brownout with its first administrator and thirty real SDK instances: what the console's journeys start from."""

import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext

from brownout import Brownout
from controlplane.embedded.processes import free_port
from tests.e2e.brownout_up import BrownoutUp
from tests.e2e.browser import WIDE, Watched, first_run, setup_url

SERVICES = ("support-copilot",) * 16 + ("refund-assistant",) * 9 + ("code-helper",) * 5
PATHS = {
    "flag": "flags",
    "cohort": "cohorts",
    "request_class": "request-classes",
    "safe_mode_profile": "safe-mode-profiles",
}

COHORTS = {
    "beta": {"any_of": [[{"attribute": "plan", "op": "in", "values": ["beta"]}]], "description": "Who asked for it"},
    "internal": {"include": ["u-1", "u-2"]},
}
ROUTES = {name: {"targets": {name: {"provider": "stub", "model": name}}, "primary": name} for name in ("small", "big")}
SPLIT = {"split": [{"variant": "big", "weight_bp": 500}, {"variant": "small", "weight_bp": 9500}]}


def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Console:
    """What a journey needs: pages that are signed in, the API, the instances."""

    def __init__(self, up: BrownoutUp, browser: Browser, clients: list[Brownout]) -> None:
        self.up = up
        self.browser = browser
        self.clients = clients
        self.state: Any = None

    @property
    def url(self) -> str:
        return self.up.target["url"]

    @contextmanager
    def visit(self, viewport: dict[str, int] = WIDE, **options: Any) -> Iterator[Watched]:
        """A page of the administrator's, that must stay free of errors."""
        context = self.context(viewport, **options)
        try:
            yield Watched(context)
        finally:
            context.close()

    def context(self, viewport: dict[str, int] = WIDE, **options: Any) -> BrowserContext:
        settings = {"viewport": viewport, "base_url": self.url, "storage_state": self.state, **options}
        return self.browser.new_context(**settings)

    def api(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.up.target['token']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def put(self, kind: str, key: str, spec: dict[str, Any]) -> Any:
        return self.api("PUT", f"environments/production/{PATHS[kind]}/{key}", spec)

    def lift_all(self) -> None:
        for active in self.api("GET", "environments/production/safe-mode")["active"]:
            self.api(
                "POST",
                f"environments/production/safe-mode/activations/{active['key']}/lift",
                {"reason": "the test is over"},
            )

    def wait_for_head(self) -> None:
        """Every instance decides with the head."""
        head = self.api("GET", "environments/production")["revision"]
        for client in self.clients:
            until(lambda client=client: client.status.revision >= head)  # type: ignore[misc]

    def models(self, request_class: str, units: int = 100) -> set[str]:
        """What so many units get, of all the instances."""
        found = [
            client.policy(request_class, {"targeting_key": f"u-{unit}"}).model
            for client in self.clients
            for unit in range(units)
        ]
        return {model.model for model in found if model}

    def serve(self, request_class: str, units: Iterable[int], bad_model: str = "") -> None:
        """Every unit asks one of the instances; every 50th answer is a refusal, of `bad_model` every second."""
        for unit in units:
            client = self.clients[unit % len(self.clients)]
            policy = client.policy(request_class, {"targeting_key": f"u-{unit}"})
            model = policy.model.model if policy.model else ""
            client.record(policy, refused=unit % (2 if model == bad_model else 50) == 0, duration_ms=400.0)

    def flag(self, key: str) -> None:
        """A model route of its own for one journey, with a split for the cohort beta."""
        rules = [
            {"id": "internal", "if": [{"op": "in_cohort", "values": ["internal"]}], "serve": "big"},
            {"id": "beta", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": SPLIT},
        ]
        spec = {"type": "model_route", "variants": ROUTES, "off_variant": "small", "default": "small", "rules": rules}
        self.put("flag", key, spec)


@contextmanager
def open_console(browser: Browser) -> Iterator[Console]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        port = free_port()  # while it restarts, whichever other test starts one takes the usual port
        up = stack.enter_context(BrownoutUp(folder / "data", "--port", str(port)))
        clients = [
            Brownout.connect(
                up.target["nats_url"],
                key=up.sdk_keys["production"],
                environment="production",
                service=service,
                disk=False,
            )
            for service in SERVICES
        ]
        for client in clients:
            stack.callback(client.close)
        for client in clients:
            assert client.wait_ready(timeout_s=20)
        console = Console(up, browser, clients)
        _furnish(console)
        context = browser.new_context(base_url=console.url)
        first_run(context.new_page(), setup_url(up.log.read_text()))
        console.state = context.storage_state()
        context.close()
        yield console


def _furnish(console: Console) -> None:
    for key, spec in COHORTS.items():
        console.put("cohort", key, spec)
    console.flag("support-model")
    console.flag("refund-model")
    for key, model, criticality in (
        ("support-reply", "support-model", "critical"), ("refund-decision", "refund-model", "critical_plus"),
    ):  # fmt: skip
        console.put("request_class", key, {"criticality": criticality, "model": model, "sensitive": True})
