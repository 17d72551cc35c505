"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com, version 1), by a shared secret.

Apart from what sends them, because settings are read where no HTTP client is wanted.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_SIZES = range(24, 65)
"""Bytes of a secret, as the specification wants them."""


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """`whsec_…`, or several separated by commas while one replaces another; each signs.

    Raises:
        ValueError: in words that do not repeat the secret.
    """
    found = []
    for part in (each.strip() for each in text.split(",")):
        try:
            key = base64.b64decode(part.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not part.startswith(_PREFIX) or len(key) not in _SIZES:
            raise ValueError(f"not {_PREFIX} followed by {_SIZES.start} to {_SIZES.stop - 1} bytes in base64")
        found.append(key)
    return tuple(found)


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one `v1,…` for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
