"""What Prometheus reads from one replica at /metrics (docs/api.md)."""

import time

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import REGISTRY, Gauge, Histogram, generate_latest

from controlplane.health import Check
from controlplane.publish import PublisherHealth

REQUESTS = Histogram(
    "brownout_http_request_seconds",
    "Answered requests by route, never by their full path.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
PUBLISHED = Gauge("brownout_published_revision", "The revision that SDKs can have; 0 when unknown.", ["environment"])
HEAD = Gauge("brownout_head_revision", "The revision that Postgres holds.", ["environment"])
LAG = Gauge(
    "brownout_publish_lag_revisions",
    "Revisions in Postgres that are not known to be published; all of them while nothing is known.",
    ["environment"],
)
CHECKS = Gauge("brownout_health", "1 while the check is ok, 0 while it fails (docs/operations.md).", ["check"])
DEGRADED = Gauge(
    "brownout_publish_degraded", "1 while JetStream does not answer and core NATS serves.", ["environment"]
)
STREAMS = Gauge("brownout_event_streams", "Event streams that pages and API clients watch at this replica.")
CONNECTED = Gauge("brownout_nats_connected", "1 while this replica is connected to NATS.")


class MeasureRequests(ASGIMiddleware):
    """Times every request, those that ended in an error too. Event streams count when they end."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        started = time.perf_counter()
        status = 500

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await next_app(scope, receive, watching)
        finally:
            route = str(scope.get("path_template") or "none")
            REQUESTS.labels(scope["method"], route, status).observe(time.perf_counter() - started)  # type: ignore[typeddict-item]


def exposition(
    publishers: tuple[PublisherHealth, ...], checks: tuple[Check, ...], *, streams: int, connected: bool
) -> bytes:
    """The text format, with the publishers and the checks as they are now."""
    CHECKS.clear()
    for check in checks:
        CHECKS.labels(check.name).set(not check.failing)
    for health in publishers:
        HEAD.labels(health.environment).set(health.head)
        PUBLISHED.labels(health.environment).set(health.published or 0)
        LAG.labels(health.environment).set(health.head if health.lag is None else health.lag)
        DEGRADED.labels(health.environment).set(health.degraded)
    STREAMS.set(streams)
    CONNECTED.set(connected)
    return generate_latest(REGISTRY)
