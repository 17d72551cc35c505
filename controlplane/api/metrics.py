"""Signals for Prometheus, for readers of the environment. The process's own metrics are at /metrics."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from controlplane.access.actor import Action, Actor
from controlplane.services import Services
from controlplane.telemetry import prometheus


class MetricsController(Controller):
    tags = ("signals",)

    @get("/api/v1/metrics", operation_id="get_signal_metrics", opt={"action": Action.READ}, sync_to_thread=False)
    def get_signal_metrics(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Response[bytes]:
        """What this replica folded, of the environments that you may read; sum over replicas."""
        return Response(
            prometheus.render(services.telemetry.families(actor)), headers={"Content-Type": prometheus.CONTENT_TYPE}
        )
