"""For operators: is it alive, is it ready?"""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.enums import MediaType
from prometheus_client import CONTENT_TYPE_LATEST

from controlplane.health import Check
from controlplane.http.request_metrics import exposition
from controlplane.services import Services


class SystemController(Controller):
    """Needs no token: load balancers have none."""

    tags = ("system",)
    security = ()

    @get(
        "/livez", operation_id="livez", opt={"public": True, "probe": True, "anywhere": True}, media_type=MediaType.TEXT
    )
    async def livez(self) -> str:
        """The process runs and its event loop turns."""
        return "ok"

    @get(
        "/readyz",
        operation_id="readyz",
        opt={"public": True, "probe": True, "anywhere": True},
        media_type=MediaType.TEXT,
    )
    async def readyz(self, services: NamedDependency[Services]) -> Response[str]:
        """Safe mode can be switched here: Postgres answers. Everything else that may be wrong is told by /healthz."""
        ready = await services.ready()
        return Response("ok" if ready else "no database", status_code=200 if ready else 503, media_type=MediaType.TEXT)

    @get(
        "/healthz", operation_id="healthz", opt={"public": True, "probe": True, "anywhere": True}, sync_to_thread=False
    )
    def healthz(self, services: NamedDependency[Services]) -> Response[tuple[Check, ...]]:
        """Every check of this replica, the failing ones first; 503 while one fails."""
        checks = services.health.checks()
        return Response(checks, status_code=503 if any(check.failing for check in checks) else 200)

    @get(
        "/metrics",
        operation_id="metrics",
        opt={"public": True, "probe": True, "anywhere": True},
        media_type=MediaType.TEXT,
    )
    async def metrics(self, services: NamedDependency[Services]) -> Response[bytes]:
        """Prometheus's text format. Holds no configuration: keep it inside your network all the same."""
        content = exposition(
            services.publisher.health(),
            services.health.checks(),
            streams=services.gate.watching.total(),
            connected=services.link.connected,
        )
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})  # a `media_type` gets a second charset
