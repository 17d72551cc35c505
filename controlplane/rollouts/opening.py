"""Rollouts as one capability: the service that people use, and the engine."""

from collections.abc import Callable

from controlplane.configuration.changes import Changes
from controlplane.parts import Parts
from controlplane.rollouts.engine import Engine
from controlplane.rollouts.facts import FactReader
from controlplane.rollouts.service import Rollouts


def open_rollouts(parts: Parts, changes: Changes, on_commit: Callable[[Callable[[str], None]], None]) -> Rollouts:
    """`on_commit(watcher)`: the watcher is told of every environment with a commit."""
    facts = FactReader(parts.database, parts.clock)
    engine = Engine(parts.store, changes, facts, parts.clock)
    on_commit(engine.wake)
    parts.run("rollouts", engine.run)
    return Rollouts(parts.store, changes, parts.database, facts, parts.clock)
