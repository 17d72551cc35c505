"""Configuration as one capability: everything that reads and writes resources."""

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.access.audit import Audit
from controlplane.access.rule import CommitRule
from controlplane.configuration.bundles import Bundles
from controlplane.configuration.changes import Changes
from controlplane.configuration.documents import Documents
from controlplane.configuration.environments import EnvironmentService
from controlplane.configuration.evaluations import Evaluations
from controlplane.configuration.reads import Reads
from controlplane.configuration.restores import Restores
from controlplane.configuration.store.commit import Witness
from controlplane.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Configuration:
    changes: Changes
    reads: Reads
    evaluations: Evaluations
    environments: EnvironmentService
    restores: Restores
    documents: Documents
    bundles: Bundles


def open_configuration(
    parts: Parts, rule: CommitRule, audit: Audit, wake: Callable[[str, int], None], told: Witness | None = None
) -> Configuration:
    """`wake(environment, revision)` is told of every commit made here, `told` within its transaction."""
    store, clock = parts.store, parts.clock
    changes = Changes(store, rule, wake, told)
    return Configuration(
        changes=changes,
        reads=Reads(store),
        evaluations=Evaluations(store, clock),
        environments=EnvironmentService(store, changes, audit, rule),
        restores=Restores(store, changes),
        documents=Documents(store, changes, clock),
        bundles=Bundles(store, parts.signing_keys, clock),
    )
