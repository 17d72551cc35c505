"""Making environments that are useful from their first minute."""

from controlplane.access.actor import Action, Actor, authorize
from controlplane.changes import Changes
from controlplane.safemode.profiles import seed
from controlplane.store import Store
from controlplane.store.values import Environment


class EnvironmentService:
    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def create(self, actor: Actor, key: str, name: str) -> Environment:
        """A new environment whose first revision holds the standard safe-mode profiles.

        Raises:
            ForbiddenError, ConflictError (it exists), InvalidInputError (the key or the name).
        """
        authorize(actor, Action.MANAGE_ENVIRONMENT, key)
        made = await self._store.create_environment(key, name)
        commit = await self._changes.commit(
            actor, key, seed(), "Start with the standard safe-mode profiles", action=Action.MANAGE_ENVIRONMENT
        )
        return Environment(made.key, made.name, commit.epoch, commit.revision, made.created_at)
