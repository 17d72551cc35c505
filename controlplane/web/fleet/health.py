"""What fails in the control plane, as a page shows it."""

import msgspec

from controlplane.health import Check
from controlplane.web.kit.visit import Viewer
from controlplane.web.kit.words import plural


class HealthPart(msgspec.Struct, frozen=True):
    """The failing checks and, in `words`, how many there are."""

    words: str
    failing: tuple[Check, ...]


def health_part(visit: Viewer, environment: str) -> HealthPart:
    """Everything that concerns `environment`."""
    failing = visit.services.health.failing(environment)
    checks = [each for each in visit.services.health.checks() if each.environment in {"", environment}]
    words = (
        f"All {plural(len(checks), 'check')} pass"
        if not failing
        else f"{len(failing)} of {plural(len(checks), 'check')} fail"
    )
    return HealthPart(words, failing)
