"""What the control plane is made of. `app.open_services` builds it; edges only read it."""

from dataclasses import dataclass

from controlplane.access.proposals import Proposals
from controlplane.access.service import Access
from controlplane.access.sso import SingleSignOn
from controlplane.configuration.bundles import Bundles
from controlplane.configuration.changes import Changes
from controlplane.configuration.documents import Documents
from controlplane.configuration.environments import EnvironmentService
from controlplane.configuration.evaluations import Evaluations
from controlplane.configuration.reads import Reads
from controlplane.configuration.restores import Restores
from controlplane.configuration.store import SigningKeys, Store
from controlplane.demo.control import Demo
from controlplane.health import Health
from controlplane.http.edge.gate import Gate
from controlplane.kit.background import Loops
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.kit.link import Link
from controlplane.kit.otel import Observability
from controlplane.publish import PublisherService
from controlplane.rollouts.service import Rollouts
from controlplane.safemode.history import SafeModeHistory
from controlplane.safemode.preview import SafeModePreview
from controlplane.safemode.service import SafeMode
from controlplane.safemode.warnings import SafeModeWarnings
from controlplane.settings import Settings
from controlplane.telemetry.service import Telemetry


@dataclass(frozen=True)
class Services:
    """One process's capabilities, wired. Routes get it by the dependency `services`."""

    settings: Settings
    clock: Clock
    database: Database
    store: Store
    signing_keys: SigningKeys
    link: Link
    health: Health
    loops: Loops
    publisher: PublisherService
    gate: Gate
    access: Access
    proposals: Proposals
    sso: SingleSignOn | None
    changes: Changes
    reads: Reads
    evaluations: Evaluations
    environments: EnvironmentService
    restores: Restores
    documents: Documents
    bundles: Bundles
    safe_mode: SafeMode
    safe_mode_preview: SafeModePreview
    safe_mode_warnings: SafeModeWarnings
    safe_mode_history: SafeModeHistory
    telemetry: Telemetry
    rollouts: Rollouts
    observability: Observability | None
    demo: Demo

    async def ready(self, timeout_s: float = 2) -> bool:
        """Whether any activation is possible here: that is, whether Postgres answers in time.

        A way to activate without Postgres belongs here, too.
        """
        return await self.database.answers(timeout_s)
