"""Reading configuration and history: may they? → store. The console and the API read through here."""

from typing import Unpack

from brownout.model.resources import ResourceRef
from controlplane.access.actor import PERMISSIONS, Action, Actor, authorize
from controlplane.configuration.store import Store
from controlplane.configuration.store.values import (
    Commit,
    CommitQuery,
    Diff,
    Environment,
    Head,
    LoggedCommit,
    Resource,
    ResourcePage,
    ResourceQuery,
    State,
    VerifiedHistory,
)
from controlplane.errors import NotFoundError


class Reads:
    """Every method raises ForbiddenError without READ in the environment, NotFoundError for what is not there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def environments(self, actor: Actor) -> tuple[Environment, ...]:
        """Those the actor may read."""
        found = await self._store.list_environments()
        return tuple(e for e in found if any(Action.READ in PERMISSIONS[role] for role in actor.roles(e.key)))

    async def environment(self, actor: Actor, key: str) -> Environment:
        authorize(actor, Action.READ, key)
        found = next((e for e in await self._store.list_environments() if e.key == key), None)
        if found is None:
            raise NotFoundError(f"there is no environment {key}")
        return found

    async def head(self, actor: Actor, environment: str) -> Head:
        authorize(actor, Action.READ, environment)
        return await self._store.head(environment)

    async def resource(self, actor: Actor, environment: str, kind: str, key: str) -> Resource:
        authorize(actor, Action.READ, environment)
        return await self._store.get_resource(environment, kind, key)

    async def find(self, actor: Actor, environment: str, kind: str, key: str) -> Resource | None:
        """None when there is no such resource."""
        authorize(actor, Action.READ, environment)
        return await self._store.find_resource(environment, kind, key)

    async def counts(self, actor: Actor, environment: str) -> dict[str, int]:
        """How many resources there are of each kind that has any."""
        authorize(actor, Action.READ, environment)
        return await self._store.count_resources(environment)

    async def resources(
        self, actor: Actor, environment: str, kind: str, **asked: Unpack[ResourceQuery]
    ) -> ResourcePage:
        authorize(actor, Action.READ, environment)
        await self._store.head(environment)
        return await self._store.list_resources(environment, kind, **asked)

    async def dependants(self, actor: Actor, environment: str, kind: str, key: str) -> tuple[ResourceRef, ...]:
        authorize(actor, Action.READ, environment)
        return await self._store.list_dependants(environment, kind, key)

    async def state(self, actor: Actor, environment: str, revision: int | None = None) -> State:
        authorize(actor, Action.READ, environment)
        return await self._store.state(environment, revision)

    async def commits(self, actor: Actor, environment: str, **asked: Unpack[CommitQuery]) -> tuple[LoggedCommit, ...]:
        """Newest first."""
        authorize(actor, Action.READ, environment)
        await self._store.head(environment)
        return await self._store.list_commits(environment, **asked)

    async def commit(self, actor: Actor, environment: str, revision: int) -> Commit:
        authorize(actor, Action.READ, environment)
        return await self._store.get_commit(environment, revision)

    async def diff(self, actor: Actor, environment: str, start: int, end: int) -> Diff:
        """What leads from one revision to another, in either direction."""
        authorize(actor, Action.READ, environment)
        return await self._store.diff(environment, start, end)

    async def verify(self, actor: Actor, environment: str) -> VerifiedHistory:
        """Walks the whole log."""
        authorize(actor, Action.READ, environment)
        return await self._store.verify_history(environment)
