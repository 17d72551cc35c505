"""Signals for Prometheus, for readers of the environment. The process's own metrics are at /metrics."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from controlplane.access.actor import Action, Actor
from controlplane.budgets.values import Measured, Tally
from controlplane.services import Services
from controlplane.telemetry import prometheus
from controlplane.telemetry.exported import Family


class MetricsController(Controller):
    tags = ("signals",)

    @get("/api/v1/metrics", operation_id="get_signal_metrics", opt={"action": Action.READ}, sync_to_thread=False)
    def get_signal_metrics(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Response[bytes]:
        """What this replica folded, of the environments that you may read; sum over replicas."""
        return Response(
            prometheus.render([*services.telemetry.families(actor), *_budgets(services.budgets.measured(actor))]),
            headers={"Content-Type": prometheus.CONTENT_TYPE},
        )


def _budgets(found: Measured) -> list[Family]:
    return [
        Family(
            "brownout.budget.fill", "gauge", "1", "What was leased of a window's limit in this period.",
            [(_labels(tally), share) for tally, share in found.fill.items()],
        ),
        *(
            Family(name, "counter", unit, description, [(_labels(tally), n) for tally, n in counted.items()])
            for name, unit, description, counted in (
                ("brownout.budget.granted", "{unit}", "Leased to instances, in the window's unit.", found.granted),
                ("brownout.budget.refused", "{ask}", "Asks that got less than they need.", found.refused),
                ("brownout.budget.degraded", "{unit}", "Spent while no control plane answered.", found.degraded),
            )
        ),
    ]  # fmt: skip


def _labels(tally: Tally) -> dict[str, str]:
    return {
        "brownout.environment": tally.environment, "feature_flag.key": tally.flag,
        "feature_flag.result.variant": tally.variant,
    }  # fmt: skip
