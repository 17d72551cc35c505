"""The one composition root: settings → services → HTTP application."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide

from controlplane.access.actor import system_actor
from controlplane.access.alerts import Alerts
from controlplane.access.factors import app_vault
from controlplane.access.proposals import Proposals
from controlplane.access.responder import authd_of, open_authd
from controlplane.access.service import open_access, open_sso
from controlplane.access.sso import sso_vault
from controlplane.access.webhook import Webhook
from controlplane.access.webhook_signing import parse_secrets
from controlplane.api import controllers
from controlplane.api.openapi import OPENAPI
from controlplane.configuration.bundles import Bundles
from controlplane.configuration.changes import Changes
from controlplane.configuration.documents import Documents
from controlplane.configuration.environments import EnvironmentService
from controlplane.configuration.evaluations import Evaluations
from controlplane.configuration.reads import Reads
from controlplane.configuration.restores import Restores
from controlplane.configuration.store import SigningKeys, Store
from controlplane.configuration.store.migrate import check_schema, schema_fault
from controlplane.demo.control import Demo
from controlplane.health import Health
from controlplane.http.actor import provide_actor
from controlplane.http.conditions import provide_conditions
from controlplane.http.edge.gate import Gate, Limits
from controlplane.http.edge.listener import affordable
from controlplane.http.guard import audit_denial, guard
from controlplane.http.limits import LimitBodies, LimitHeaders, check_body
from controlplane.http.request_metrics import MeasureRequests
from controlplane.http.security import SecurityHeaders
from controlplane.kit.background import Loops, background
from controlplane.kit.clock import Clock, PostgresClock, monotonic
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.otel import ObserveRequests, observing
from controlplane.kit.resealing import Resealing
from controlplane.kit.timekeeper import TimeKeeper
from controlplane.kit.tls import client_tls
from controlplane.publish import Pace, Parts, PublisherService
from controlplane.rollouts.engine import Engine
from controlplane.rollouts.facts import FactReader
from controlplane.rollouts.service import Rollouts
from controlplane.safemode.expiry import Expiry
from controlplane.safemode.history import SafeModeHistory
from controlplane.safemode.preview import SafeModePreview
from controlplane.safemode.service import SafeMode
from controlplane.safemode.warnings import SafeModeWarnings
from controlplane.services import Services
from controlplane.settings import Settings
from controlplane.telemetry.otlp import OtlpExport
from controlplane.telemetry.prices import read_prices
from controlplane.telemetry.quotas import Quotas
from controlplane.telemetry.service import Telemetry
from controlplane.web.console import console
from controlplane.web.kit.problems import EXCEPTION_HANDLERS

COMPRESSION = CompressionConfig(
    backend="gzip", minimum_size=1_000, gzip_compress_level=5, exclude=["^/assets", "/live$", "/events$"]
)
"""Not of what is compressed already, nor of what must arrive as it happens."""

FOLDING_POOL = 3
"""Connections for telemetry in the background, besides `database_pool`: it takes none from commits and pages."""


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """Opens every capability and, on leaving, closes them in reverse order.

    Raises:
        SchemaError: the database is not at this version's schema.
        UnavailableError: it does not answer.
        SecretKeyError: it holds what none of the secret keys opens.
    """
    clock = clock or PostgresClock()
    loops = Loops()
    run = partial(background, loops=loops)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.reveal(), pool_size=settings.database_pool)
        stack.push_async_callback(database.close)
        await check_schema(database)
        timekeeper = TimeKeeper(database, clock, monotonic)
        await timekeeper.start()
        signing_keys = SigningKeys(database, clock, settings.secret_keys)
        store = Store(database, clock, signing_keys)
        link = Link(
            settings.nats_servers,
            user=settings.nats_user,
            password=settings.nats_password.reveal(),
            tls=client_tls(settings.nats_ca, settings.nats_cert, settings.nats_key),
        )
        publisher = PublisherService(
            Parts(database, store, signing_keys, link, clock),
            Pace(replicas=settings.nats_replicas, heartbeat_s=settings.heartbeat_s),
        )
        alerts = Alerts(database, webhook_of(settings), clock=clock)
        access = open_access(settings, database, clock, signing_keys, notify=alerts.notify)
        stack.push_async_callback(access.audit.write_counted, every=True)
        resealing = Resealing(
            database, (signing_keys.vault, app_vault(settings.secret_keys), sso_vault(settings.secret_keys))
        )
        await resealing.check()
        changes = Changes(store, access.rule, publisher.wake)
        evaluations = Evaluations(store, clock)
        folding = Database(
            settings.database_url.reveal(), pool_size=FOLDING_POOL, lock_timeout_ms=2_000, statement_timeout_ms=8_000
        )
        stack.push_async_callback(folding.close)
        telemetry = Telemetry(
            database, store, clock, read_prices(settings.prices), settings.telemetry_days, notify=alerts.notify,
            log=publisher, folding=folding, quotas=_quotas(settings), metrics_series=settings.metrics_series,
        )  # fmt: skip
        publisher.on_commit(telemetry.fleet.noticed)
        publisher.on_published(telemetry.fleet.brought_out)
        await telemetry.attach(link)
        warnings = SafeModeWarnings(evaluations, telemetry)
        facts = FactReader(database, clock)
        longest = timedelta(hours=settings.max_activation_hours)
        await stack.enter_async_context(run("timekeeper", timekeeper.run))
        await stack.enter_async_context(run("nats", link.run))
        await stack.enter_async_context(run("publisher", publisher.run))
        await stack.enter_async_context(run("audit", access.audit.run))
        await stack.enter_async_context(run("signing_keys", access.signing.run))
        await stack.enter_async_context(run("sealing", resealing.run))
        if (authd := authd_of(settings)) is not None:
            await stack.enter_async_context(run("authd", open_authd(authd, clock).run))
        await stack.enter_async_context(run("alerts", alerts.run))
        await stack.enter_async_context(run("expiry", Expiry(store, changes, clock).run))
        await stack.enter_async_context(run("telemetry", telemetry.run))
        if settings.otlp_endpoint:
            everything = system_actor("system:otlp")
            otlp = OtlpExport(settings.otlp_endpoint, lambda: telemetry.families(everything), clock)
            await stack.enter_async_context(run("otlp", otlp.run))
        if (sso := open_sso(settings, database, clock, access)) is not None:
            await stack.enter_async_context(run("single_sign_on", sso.run))
        await stack.enter_async_context(run("tokens", access.endless.run))
        engine = Engine(store, changes, facts, clock)
        publisher.on_commit(engine.wake)
        await stack.enter_async_context(run("rollouts", engine.run))

        async def schema() -> dict[str, str]:
            return {"schema": await schema_fault(database)}

        health = Health(
            [timekeeper.probe, link.probe, publisher.probe, telemetry.probe],
            [schema, signing_keys.probe, access.probe],
            loops, clock=clock, monotonic=monotonic, notify=alerts.notify,
        )  # fmt: skip
        await health.ask()
        await stack.enter_async_context(run("health", health.run))
        yield Services(
            observability=stack.enter_context(observing(settings.otlp_endpoint)),
            settings=settings,
            clock=clock,
            database=database,
            store=store,
            signing_keys=signing_keys,
            link=link,
            health=health,
            loops=loops,
            publisher=publisher,
            gate=Gate(limits_of(settings), settings.proxies),
            access=access,
            sso=sso,
            proposals=Proposals(
                database=database,
                clock=clock,
                audit=access.audit,
                store=store,
                gate=changes,
                counting=access.counting,
            ),
            changes=changes,
            reads=Reads(store),
            evaluations=evaluations,
            environments=EnvironmentService(store, changes, access.audit, access.rule),
            restores=Restores(store, changes),
            documents=Documents(store, changes, clock),
            bundles=Bundles(store, signing_keys, clock),
            safe_mode=SafeMode(store, changes, clock, lambda: secrets.token_hex(3), longest),
            safe_mode_preview=SafeModePreview(evaluations, clock, telemetry, warnings),
            safe_mode_warnings=warnings,
            safe_mode_history=SafeModeHistory(store),
            telemetry=telemetry,
            rollouts=Rollouts(store, changes, database, facts, clock),
            demo=Demo(settings.demo_control),
        )


def _quotas(settings: Settings) -> Quotas:
    return Quotas(
        instances=settings.telemetry_instances,
        series=settings.telemetry_series,
        evaluations=settings.telemetry_evaluations,
        bytes_per_minute=settings.telemetry_bytes_per_minute,
    )


def webhook_of(settings: Settings) -> Webhook | None:
    if not settings.alert_webhook:
        return None
    return Webhook(settings.alert_webhook.reveal(), parse_secrets(settings.alert_webhook_secret.reveal()))


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
        before_send=[SecurityHeaders(https=services.settings.url.startswith("https://"))],
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
