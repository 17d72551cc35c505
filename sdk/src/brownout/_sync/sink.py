"""Where verified revisions go."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Raw

from brownout.wire import Operation


class Sink(Protocol):
    """What is served from. The calls leave it whole at every moment for readers on other threads."""

    def load(self, revision: int, batches: Iterable[list[tuple[str, str, bytes]]]) -> None:
        """Replaces everything. Lets other threads run between batches; raises what iterating raises."""
        ...

    def apply(self, operations: Sequence[Operation], revision: int) -> None:
        """Takes the operations of one or more revisions in a row; `revision` is the last one."""
        ...

    def look(self) -> None:
        """Something outside of the log may have changed what applies."""
        ...


class Resources(dict[tuple[str, str], bytes]):
    """A sink that merely keeps the specs, by kind and key."""

    def load(self, revision: int, batches: Iterable[list[tuple[str, str, bytes]]]) -> None:  # noqa: ARG002
        loaded = {(kind, key): spec for batch in batches for kind, key, spec in batch}
        self.clear()
        self.update(loaded)

    def apply(self, operations: Sequence[Operation], revision: int) -> None:  # noqa: ARG002
        for operation in operations:
            if operation.op == "put" and isinstance(operation.spec, Raw):
                self[operation.kind, operation.key] = bytes(operation.spec)
            elif operation.op == "del":
                self.pop((operation.kind, operation.key), None)

    def look(self) -> None:
        """Nothing is evaluated from here."""
