"""What SDKs hear of plane kinds: that something changed, and a digest that proves what (docs/adr/0220). Pure.

The digests are keyed with a secret of the environment, so that no one can test a guess against them.
"""

import hashlib
import hmac

import msgspec

from brownout import wire
from brownout.model.kinds import SEALED
from controlplane.configuration.store.values import Change

KEY_DIGITS = 40
"""Hex digits of a sealed key: it names a resource without saying which."""


def sealed_operation(change: Change, salt: bytes, revision: int) -> wire.Operation:
    """The step that stands in an envelope for a change of a plane kind.

    Args:
        salt: the environment's secret.
        revision: of the commit. It is digested too: a text that comes back cannot be told from a new one.
    """
    key = _digest(salt, b"key", change)[:KEY_DIGITS]
    if change.after is None:
        return wire.Operation("del", SEALED, key)
    digest = _digest(salt, b"spec", change, str(revision).encode(), change.after)
    return wire.Operation("put", SEALED, key, msgspec.Raw(b'{"digest":"%b"}' % digest.encode()))


def _digest(salt: bytes, what: bytes, change: Change, *parts: bytes) -> str:
    """64 hex digits. Neither kinds nor keys hold a zero byte, and the spec comes last: no two inputs read alike."""
    text = b"\0".join((what, change.kind.encode(), change.key.encode(), *parts))
    return hmac.new(salt, text, hashlib.sha256).hexdigest()
