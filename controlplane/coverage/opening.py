"""Coverage as one capability."""

from controlplane.configuration.changes import Changes
from controlplane.coverage.service import Coverage, Outcomes, Proposals
from controlplane.parts import Parts


def open_coverage(parts: Parts, changes: Changes, proposals: Proposals, outcomes: Outcomes) -> Coverage:
    return Coverage(parts.store, changes, proposals, outcomes, parts.clock)
