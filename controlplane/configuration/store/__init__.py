"""Configuration: one log, one write path (DESIGN: storage). This package alone has SQL for it."""

from controlplane.configuration.store.environments import lock_environment
from controlplane.configuration.store.errors import IdempotencyKeyReusedError, StaleRevisionError
from controlplane.configuration.store.read import count_of_kind, revisions_that_put
from controlplane.configuration.store.signing import SigningKey, SigningKeys
from controlplane.configuration.store.store import Store, every_resource, every_spec
from controlplane.configuration.store.values import (
    NOTIFY_CHANNEL,
    Change,
    Commit,
    Diff,
    Environment,
    FieldChange,
    Head,
    LoggedCommit,
    Preview,
    Resource,
    ResourceDiff,
    ResourcePage,
    State,
    StoredEnvelope,
    VerifiedHistory,
)

__all__ = [
    "NOTIFY_CHANNEL",
    "Change",
    "Commit",
    "Diff",
    "Environment",
    "FieldChange",
    "Head",
    "IdempotencyKeyReusedError",
    "LoggedCommit",
    "Preview",
    "Resource",
    "ResourceDiff",
    "ResourcePage",
    "SigningKey",
    "SigningKeys",
    "StaleRevisionError",
    "State",
    "Store",
    "StoredEnvelope",
    "VerifiedHistory",
    "count_of_kind",
    "every_resource",
    "every_spec",
    "lock_environment",
    "revisions_that_put",
]
