"""What the control plane is made of: the parts, and every capability. `app.open_services` builds it; edges only read."""

from dataclasses import dataclass

from controlplane.access.proposals import Proposals
from controlplane.access.service import Access
from controlplane.access.sso import SingleSignOn
from controlplane.budgets.service import Budgets
from controlplane.configuration.opening import Configuration
from controlplane.coverage.service import Coverage
from controlplane.demo.control import Demo
from controlplane.emergency.service import Emergency
from controlplane.health import Health
from controlplane.http.edge.gate import Gate
from controlplane.kit.otel import Observability
from controlplane.notify.service import Notifications
from controlplane.parts import Parts
from controlplane.publish import PublisherService
from controlplane.rollouts.service import Rollouts
from controlplane.safemode.opening import SafeModeServices
from controlplane.telemetry.service import Telemetry


@dataclass(frozen=True, kw_only=True)
class Services(Parts, Configuration, SafeModeServices):
    """One process's capabilities, wired. Routes get it by the dependency `services`."""

    health: Health
    publisher: PublisherService
    gate: Gate
    access: Access
    proposals: Proposals
    sso: SingleSignOn | None
    telemetry: Telemetry
    rollouts: Rollouts
    budgets: Budgets
    coverage: Coverage
    notifications: Notifications
    emergency: Emergency
    observability: Observability | None
    demo: Demo
