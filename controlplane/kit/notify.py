"""How anything tells people that something happened."""

from typing import Protocol

from controlplane.kit.database import WriteConnection


class Notify(Protocol):
    """(event, its fields) → people, with the transaction that made it true."""

    async def __call__(self, event: str, fields: dict[str, str], connection: WriteConnection | None = None) -> None: ...
