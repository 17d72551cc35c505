"""Links that acknowledge an event without signing in: each for one event and one channel, and good for a week.

Nothing is kept of a link: it carries its own proof. It works once, for an event is acknowledged once.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_MAC_BYTES = 20


class AckLinks:
    """`secrets`: the secret key, and then those that still count."""

    def __init__(self, secrets: Sequence[str], url: str) -> None:
        self._keys = tuple(_key(secret) for secret in secrets)
        self._url = url

    def link(self, message_id: str, channel: str) -> str:
        token = f"{message_id}.{channel}.{_mac(self._keys[0], message_id, channel)}"
        return f"{self._url}/ack/{token}"

    def read(self, token: str) -> tuple[str, str] | None:
        """(message id, channel) of a link of ours; None for anything else."""
        message_id, _, rest = token[:400].partition(".")
        channel, _, mac = rest.rpartition(".")
        good = [hmac.compare_digest(_mac(key, message_id, channel).encode(), mac.encode()) for key in self._keys]
        return (message_id, channel) if message_id and channel and any(good) else None


def _key(secret: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"brownout/acknowledgement/1").derive(secret.encode())


def _mac(key: bytes, message_id: str, channel: str) -> str:
    digest = hmac.new(key, f"{message_id}\0{channel}".encode(), hashlib.sha256).digest()[:_MAC_BYTES]
    return base64.b32encode(digest).decode().lower()
