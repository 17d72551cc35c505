"""Configuration: one log, one write path (DESIGN: storage). This package alone has SQL for it."""

from controlplane.store.errors import IdempotencyKeyReusedError, StaleRevisionError
from controlplane.store.signing import SigningKey, SigningKeys
from controlplane.store.store import Store
from controlplane.store.values import (
    NOTIFY_CHANNEL,
    Change,
    Commit,
    Environment,
    Head,
    LoggedCommit,
    Preview,
    Resource,
    ResourcePage,
    State,
    StoredEnvelope,
)

__all__ = [
    "NOTIFY_CHANNEL",
    "Change",
    "Commit",
    "Environment",
    "Head",
    "IdempotencyKeyReusedError",
    "LoggedCommit",
    "Preview",
    "Resource",
    "ResourcePage",
    "SigningKey",
    "SigningKeys",
    "StaleRevisionError",
    "State",
    "Store",
    "StoredEnvelope",
]
