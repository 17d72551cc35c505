"""One signed POST, and what came of it."""

import asyncio
from collections.abc import Sequence

import httpx
import msgspec

from controlplane.access.webhook_signing import sign

TIMEOUT_S = 10.0
"""For connecting, sending and the answer's headers together; the answer's body is not read."""
MAX_RETRY_AFTER_S = 3600.0


class Sent(msgspec.Struct, frozen=True):
    """`error` is empty when the receiver took it; it never holds the address or anything that was answered."""

    error: str = ""
    retry_after_s: float = 0.0


class Webhook:
    """A receiver's address and the keys that it knows us by."""

    def __init__(self, url: str, keys: Sequence[bytes], timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._keys = keys
        self._timeout_s = timeout_s

    async def post(self, message_id: str, timestamp: int, body: bytes) -> Sent:
        """Never raises. A redirect is a failure: what is signed for one receiver goes to no other."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Brownout",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._keys, message_id, timestamp, body),
        }
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, follow_redirects=False) as client,
                client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                if answer.is_success:
                    return Sent()
                return Sent(f"status {answer.status_code}", _retry_after_s(answer.headers.get("retry-after", "")))
        except Exception as error:  # noqa: BLE001 - whatever a receiver answers, its alert is tried again later
            return Sent(type(error).__name__)


def _retry_after_s(text: str) -> float:
    """Seconds; a date, which other clocks would have to read, counts as nothing said."""
    return min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
