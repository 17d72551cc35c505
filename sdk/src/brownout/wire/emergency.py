"""Safe mode that reaches SDKs beside the log, while the log cannot be written (docs/adr/0200).

The bytes are signed by the environment's key like everything else, in a context of their own. A message can only switch
safe mode on, end what another such message switched on, or say that the log has it now.
"""

from typing import Literal

import msgspec

MAX_EMERGENCY_BYTES = 32 * 1024

LONGEST_MS = 3_600_000
"""No message applies for longer than this after it was signed. An operator may renew it."""

EARLY_MS = 300_000
"""How far ahead of the reader's clock the instant in a message may be."""


class Emergency(msgspec.Struct, frozen=True, omit_defaults=True):
    """One activation outside of the log. `at` is the Unix ms at which this message was signed.

    `on` carries the activation's `spec`, and its profile's as the control plane knows it. `off` ends it for good.
    `settled` says that the log has the activation since revision `rev`: from there on the log alone decides.
    """

    v: int
    env: str
    key: str
    """The activation's key, in the log as well."""
    what: Literal["on", "off", "settled"]
    at: int
    spec: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    profile: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    rev: int = 0
    by: str = ""
    """The person who did it."""
    asked: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """For the control plane: what the commit will be made from. SDKs ignore it."""
