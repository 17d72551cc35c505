"""Telling people when somebody's account changes who approves where a rule wants approvals (ADR 0093)."""

from controlplane.access.actor import Action, Actor, Grants, allows
from controlplane.access.queries import hands
from controlplane.kit.database import ReadConnection
from controlplane.kit.notify import Notify


class ApproverAlerts:
    """Invitations, links and roles are what a second person is made of: whoever issues them is heard of."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    async def changed(
        self, connection: ReadConnection, actor: Actor, person: str, what: str, grants: Grants
    ) -> list[dict[str, str]]:
        """What to tell after the transaction: an alert for each environment with a rule where `grants` may approve."""
        return [
            {"environment": each.environment, "actor": actor.name, "person": person, "what": what,
             "open_proposals": str(each.waiting)}
            for each in await hands.guarded(connection)
            if allows(grants, Action.APPROVE, each.environment)
        ]  # fmt: skip

    async def tell(self, alerts: list[dict[str, str]]) -> None:
        for fields in alerts:
            await self._notify("approver_changed", fields)
