"""The one composition root: settings → services → HTTP application."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar
from litestar.di import Provide
from sqlalchemy.ext.asyncio import create_async_engine

from controlplane.api import CONTROLLERS
from controlplane.api.actor import provide_actor
from controlplane.api.limits import LimitHeaders, check_body
from controlplane.api.openapi import OPENAPI
from controlplane.api.problems import EXCEPTION_HANDLERS
from controlplane.clock import Clock, SystemClock
from controlplane.services import Services
from controlplane.settings import Settings


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """Opens every capability and, on leaving, closes them in reverse order. Needs a migrated database."""
    async with AsyncExitStack() as stack:
        engine = create_async_engine(
            settings.sqlalchemy_url, pool_size=settings.database_pool, max_overflow=0, pool_pre_ping=True
        )
        stack.push_async_callback(engine.dispose)
        yield Services(settings=settings, clock=clock or SystemClock(), engine=engine)


def create_app(services: Services) -> Litestar:
    """The HTTP application over services that are already open."""

    def provide_services() -> Services:
        return services

    return Litestar(
        route_handlers=[*CONTROLLERS],
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "actor": Provide(provide_actor),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        before_request=check_body,
        middleware=[LimitHeaders()],
        openapi_config=OPENAPI,
        request_max_body_size=services.settings.max_body_bytes,
        logging_config=None,
        debug=False,
    )
