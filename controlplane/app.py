"""The one composition root: settings → capabilities → HTTP application."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide

from controlplane.access.opening import open_access, open_proposals, open_sso
from controlplane.api import controllers
from controlplane.api.openapi import OPENAPI
from controlplane.budgets.opening import open_budgets
from controlplane.configuration.opening import open_configuration
from controlplane.coverage.opening import open_coverage
from controlplane.demo.control import Demo
from controlplane.emergency.opening import open_emergency
from controlplane.health.opening import open_health
from controlplane.http.actor import provide_actor
from controlplane.http.conditions import provide_conditions
from controlplane.http.edge.gate import Gate, Limits
from controlplane.http.edge.listener import affordable
from controlplane.http.guard import audit_denial, guard
from controlplane.http.limits import LimitBodies, LimitHeaders, check_body
from controlplane.http.operator_pass import RenewPass
from controlplane.http.request_metrics import MeasureRequests
from controlplane.http.security import SecurityHeaders
from controlplane.kit.clock import Clock, PostgresClock
from controlplane.kit.otel import ObserveRequests, observing
from controlplane.notify.opening import open_notify
from controlplane.parts import open_parts
from controlplane.publish.opening import open_publisher
from controlplane.rollouts.opening import open_rollouts
from controlplane.safemode.opening import open_safe_mode
from controlplane.services import Services
from controlplane.settings import Settings
from controlplane.telemetry.opening import open_telemetry
from controlplane.web.console import console
from controlplane.web.kit.problems import EXCEPTION_HANDLERS

COMPRESSION = CompressionConfig(
    backend="gzip", minimum_size=1_000, gzip_compress_level=5, exclude=["^/assets", "/live$", "/events$"]
)
"""Not of what is compressed already, nor of what must arrive as it happens."""


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """Opens every capability and, on leaving, closes them in reverse order.

    Raises:
        SchemaError: the database is not at this version's schema.
        UnavailableError: it does not answer.
        SecretKeyError: it holds what none of the secret keys opens.
    """
    async with AsyncExitStack() as stack:
        parts = await open_parts(settings, clock or PostgresClock(), stack)
        notify = await open_notify(parts)
        writer = notify.dispatcher.writer
        parts = replace(parts, notify=writer.tell)
        publisher = open_publisher(parts)
        access = await open_access(parts, told=writer.audited, vaults=(notify.vault,))
        sso = open_sso(parts, access)
        configuration = open_configuration(parts, access.rule, access.audit, publisher.wake, writer.committed)
        proposals = open_proposals(parts, access, configuration.changes)
        telemetry = await open_telemetry(parts, publisher)
        publisher.on_commit(telemetry.fleet.noticed)
        publisher.on_published(telemetry.fleet.brought_out)
        publisher.count_fleet(telemetry.fleet.live)
        configuration.changes.readers.older = telemetry.fleet.older
        safe_mode = open_safe_mode(parts, configuration.changes, configuration.evaluations, telemetry)
        coverage = open_coverage(parts, configuration.changes, proposals, telemetry.class_outcomes)
        emergency = await open_emergency(
            parts,
            access.passes,
            access.addresses,
            safe_mode.safe_mode,
            on_commit=publisher.on_commit,
            published=publisher.published,
        )
        rollouts = open_rollouts(parts, configuration.changes, publisher.on_commit)
        budgets = await open_budgets(parts, publisher.on_commit, telemetry.fleet.live)
        health = await open_health(parts)
        services = Services(
            **vars(parts),
            **vars(configuration),
            **vars(safe_mode),
            publisher=publisher,
            access=access,
            sso=sso,
            proposals=proposals,
            telemetry=telemetry,
            rollouts=rollouts,
            budgets=budgets,
            coverage=coverage,
            notifications=notify.service(access.audit),
            health=health,
            gate=Gate(limits_of(settings), settings.proxies),
            emergency=emergency,
            demo=Demo(settings.demo_control),
            observability=stack.enter_context(observing(settings.otlp_endpoint)),
        )
        async with parts.running():
            yield services


def limits_of(settings: Settings) -> Limits:
    return Limits(
        connections=affordable(settings.http_connections),
        per_address=settings.http_connections_per_address,
        header_s=settings.http_header_timeout_s,
        body_s=settings.http_body_timeout_s,
        read_s=settings.http_read_timeout_s,
        min_rate=settings.http_min_rate,
    )


def create_app(services: Services) -> Litestar:
    """The HTTP application over services that are already open."""

    def provide_services() -> Services:
        return services

    router, templates = console(services)
    observed = [ObserveRequests(services.observability)] if services.observability else []
    return Litestar(
        route_handlers=[*controllers(), router],
        state=State({"services": services, "templates": templates}),
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "actor": Provide(provide_actor),
            "conditions": Provide(provide_conditions, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        before_request=check_body,
        before_send=[SecurityHeaders(https=services.settings.url.startswith("https://")), RenewPass()],
        middleware=[
            LimitHeaders(),
            LimitBodies(),
            MeasureRequests(),
            *observed,
        ],
        guards=[guard],
        after_exception=[audit_denial],
        openapi_config=OPENAPI,
        compression_config=COMPRESSION,
        request_max_body_size=services.settings.max_body_bytes,
        logging_config=None,
        debug=False,
    )
