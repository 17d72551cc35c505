"""What the fleet must know of the log: where Postgres is, and how much of that NATS is known to have."""

from typing import Literal, Protocol


class Log(Protocol):
    """Positions are (epoch, revision). The publisher of this replica is one."""

    @property
    def reachable(self) -> bool: ...

    def head(self, environment: str, /) -> tuple[int, int] | None: ...

    def published(self, environment: str, /) -> tuple[int, int] | None: ...

    def via(self, environment: str, /) -> Literal["log", "core"] | None: ...


class Unknown:
    """Of a fleet that only listens: what it heard is all there is."""

    reachable = True

    def head(self, _: str, /) -> None:
        return None

    def published(self, _: str, /) -> None:
        return None

    def via(self, _: str, /) -> None:
        return None
