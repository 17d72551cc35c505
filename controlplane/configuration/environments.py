"""Making environments that are useful from their first minute."""

from controlplane.access.actor import Action, Actor, authorize
from controlplane.access.audit import Audit
from controlplane.access.rule import CommitRule
from controlplane.access.values import Event
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import Store
from controlplane.configuration.store.values import Environment
from controlplane.kit.database import WriteConnection
from controlplane.resilience import modes
from controlplane.safemode.profiles import seed


class EnvironmentService:
    def __init__(self, store: Store, changes: Changes, audit: Audit, rule: CommitRule) -> None:
        self._rule = rule
        self._store = store
        self._changes = changes
        self._audit = audit

    async def create(self, actor: Actor, key: str, name: str) -> Environment:
        """A new environment whose first revision holds the standard safe-mode profiles and failure modes.

        Raises:
            ForbiddenError, ConflictError (it exists), InvalidInputError (the key or the name).
        """
        authorize(actor, Action.MANAGE_ENVIRONMENT, key)
        made = await self._store.create_environment(key, name)
        commit = await self._changes.commit(
            actor,
            key,
            (*seed(), *modes.seed()),
            "Start with the standard safe-mode profiles and failure modes",
            action=Action.MANAGE_ENVIRONMENT,
        )
        return Environment(made.key, made.name, commit.epoch, commit.revision, made.created_at, made.production)

    async def mark(self, actor: Actor, key: str, *, production: bool) -> None:
        """Says whether people must type the environment's key before something big. On record in the audit log.

        Raises:
            ForbiddenError, NotFoundError.
            ApprovalRequiredError: leaving production where the two-person rule holds, without broken glass.
        """
        authorize(actor, Action.MANAGE_ENVIRONMENT, key)

        async def witness(connection: WriteConnection) -> None:
            if not production:
                await self._rule.loosen(connection, actor, key, "production → no")
            await self._audit.record(
                connection,
                Event.ENVIRONMENT_CHANGED,
                actor,
                environment=key,
                detail={"production": "yes" if production else "no"},
            )

        await self._store.mark_production(key, production, witness)
