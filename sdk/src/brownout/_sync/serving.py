"""The sink that evaluation reads from."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from brownout._sync.clock import SignedTime
from brownout._sync.outside import Outside
from brownout.evaluation.compile import Compiled
from brownout.model.resources import ResourceRef
from brownout.status import Change
from brownout.wire import Operation


class RetiredError(Exception):
    """Another sync thread has taken over."""


class Serving:
    """Installs what was verified. Callers hold the replica's lock; readers hold nothing and see whole revisions."""

    def __init__(
        self,
        environment: str,
        compiled: Compiled,
        install: Callable[[Compiled], None],
        changed: Callable[[Change], None],
        now: Callable[[], datetime],
        *,
        outside: Outside | None = None,
    ) -> None:
        self.compiled = compiled
        self.expires_at: datetime | None = None
        """When the next activation runs out."""
        self._outside = outside or Outside(SignedTime())
        self._outside_version = 0
        """Of what was in force at the last look."""
        self.retired = False
        self._now = datetime.min.replace(tzinfo=UTC)
        """By which the activations in force were chosen."""
        self._environment = environment
        self._install = install
        self._changed = changed
        self._clock = now

    def load(self, revision: int, batches: Iterable[list[tuple[str, str, bytes]]]) -> None:
        resources: dict[ResourceRef, bytes] = {}
        for batch in batches:
            resources.update((ResourceRef(kind, key), spec) for kind, key, spec in batch)
            time.sleep(0)  # whoever waits to evaluate goes first
        compiled = Compiled.load(
            self._environment, revision, resources, service=self.compiled.service, previous=self.compiled
        )
        self._check_in_office()
        self._outside.settle_present(compiled)
        self._choose_active(compiled, self._clock())
        self.compiled = compiled
        self._install(compiled)
        self._changed(Change(revision, "snapshot"))

    def apply(self, operations: Sequence[Operation], revision: int) -> None:
        self._check_in_office()
        self._outside.settle(operations, revision)
        self.compiled.apply(operations, revision)
        self._choose_active(self.compiled, self._clock())
        touched = frozenset(ResourceRef(operation.kind, operation.key) for operation in operations)
        self._changed(Change(revision, "commit", touched))

    def must_look(self, now: datetime) -> bool:
        """Whether an activation has run out by `now`; or the time was put right, and one may have run out too early; or
        there is news from outside of the log."""
        late = self.expires_at is not None and now >= self.expires_at
        return now < self._now or late or self._outside.version != self._outside_version

    def look(self) -> None:
        """Takes what has changed outside of the log."""
        self._outside.look_at_host()
        if not self.retired:
            self.expire(self._clock())

    def expire(self, now: datetime) -> None:
        """Activations that have run out by `now` stop applying, and others apply."""
        if self.must_look(now):
            before, moved = self.compiled.active, self._outside.version != self._outside_version
            self._choose_active(self.compiled, now)
            if self.compiled.active != before:
                self._changed(Change(self.compiled.revision, "safe_mode" if moved else "expiry"))

    def heir(self) -> "Serving":
        """Serves the same from a copy that no other thread can reach; this one is never to change anything again."""
        self.retired = True
        before = self.compiled
        compiled = Compiled.load(
            self._environment, before.revision, before.resources, service=before.service, previous=before
        )
        heir = Serving(self._environment, compiled, self._install, self._changed, self._clock, outside=self._outside)
        heir._choose_active(compiled, self._clock())
        self._install(compiled)
        return heir

    def _choose_active(self, compiled: Compiled, now: datetime) -> None:
        logged, outside = compiled.set_now(now), self._outside.choose(compiled)
        self._outside_version = self._outside.version
        self.expires_at = min((due for due in (logged, outside) if due is not None), default=None)
        self._now = now

    def _check_in_office(self) -> None:
        if self.retired:
            raise RetiredError
