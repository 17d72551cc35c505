"""Every time safe mode was switched, read from the commits that did it."""

from collections.abc import Iterator

from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import ACTIVATION
from controlplane.configuration.store import Store
from controlplane.configuration.store.values import Commit
from controlplane.contract.activations import read_activation
from controlplane.safemode.expiry import AUTHOR
from controlplane.safemode.messages import reason_in
from controlplane.safemode.values import FullScope, Switch, What

CHUNK = 50
"""Commits read at once."""

MAX_SWITCHES = 500
"""A page ends with the commit that brings it here: one alone may hold as many."""


class SafeModeHistory:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self, actor: Actor, environment: str, *, before: int | None = None, limit: int = 50
    ) -> tuple[tuple[Switch, ...], int | None]:
        """Switches of up to `limit` commits, the newest first, and the next page's `before`."""
        authorize(actor, Action.READ, environment)
        await self._store.head(environment)
        logged = await self._store.list_commits(environment, kind=ACTIVATION, before=before, limit=limit)
        found: list[Switch] = []
        for start in range(0, len(logged), CHUNK):
            revisions = [line.revision for line in logged[start : start + CHUNK]]
            for commit in await self._store.get_commits(environment, revisions, kind=ACTIVATION):
                found += switches(commit)
                if len(found) >= MAX_SWITCHES and commit.revision != logged[-1].revision:
                    return tuple(found), commit.revision
        return tuple(found), logged[-1].revision if len(logged) == limit else None


def switches(commit: Commit) -> Iterator[Switch]:
    for change in commit.changes:
        spec = read_activation(change.after or change.before)
        what = _what(commit, existed=change.before is not None, exists=change.after is not None)
        yield Switch(
            what=what,
            revision=commit.revision,
            at=commit.created_at,
            by=commit.author,
            key=change.key,
            profile=spec.profile,
            scope=FullScope.of(spec.scope),
            reason=reason_in(commit.message, what, spec),
            incident=spec.incident,
            activated_at=spec.activated_at,
            expires_at=spec.expires_at,
            message=commit.message,
        )


def _what(commit: Commit, *, existed: bool, exists: bool) -> What:
    if exists:
        return "changed" if existed else "on"
    return "expired" if commit.author == AUTHOR else "off"
