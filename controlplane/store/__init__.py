"""Configuration: one log, one write path (DESIGN: storage). This package alone has SQL for it."""

from controlplane.store.environments import lock_environment
from controlplane.store.errors import IdempotencyKeyReusedError, StaleRevisionError
from controlplane.store.read import count_of_kind
from controlplane.store.signing import SigningKey, SigningKeys
from controlplane.store.store import Store, every_resource, every_spec
from controlplane.store.values import (
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
]
