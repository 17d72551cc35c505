"""One POST to an address that may be reached, and what its answer means."""

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from controlplane.notify.reach import Reach, UnreachableError
from controlplane.notify.senders.message import Sent, fault_of, retry_after_s

TIMEOUT_S = 10.0
"""For resolving, connecting, sending and the answer's headers together; the answer's body is not read."""


class Poster:
    def __init__(self, reach: Reach | None, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> None:
        """`reach` None: the address is the operator's own, from the settings, and may be any. Only then does a proxy of
        the environment carry it: a proxy would resolve the name again, or connect to what this process must not."""
        self._reach = reach
        self._timeout_s = timeout_s
        self._tls = tls
        """Made once: reading the authorities takes longer than a request."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Sent:
        """Never raises. A redirect is a failure: what is meant for one receiver goes to no other."""
        sent = {"Content-Type": "application/json", "User-Agent": "Brownout", **(headers or {})}
        try:
            async with asyncio.timeout(self._timeout_s):
                target, more, extensions = await self._target(url)
                async with (
                    httpx.AsyncClient(
                        timeout=self._timeout_s,
                        follow_redirects=False,
                        verify=self._context(),
                        trust_env=self._reach is None,
                    ) as client,
                    client.stream("POST", target, content=body, headers=sent | more, extensions=extensions) as answer,
                ):
                    if answer.is_success:
                        return Sent()
                    wait_s = retry_after_s(answer.headers.get("retry-after", ""))
                    return Sent(f"status {answer.status_code}", wait_s, fault_of(answer.status_code))
        except UnreachableError as error:
            return Sent(error.message, fault="channel" if error.forbidden else "later")
        except Exception as error:  # noqa: BLE001 - whatever a receiver answers, it is tried again later
            return Sent(type(error).__name__, fault="later")

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    async def _target(self, url: str) -> tuple[str, dict[str, str], dict[str, str]]:
        """The URL with the address that was checked in place of the name, which stays in `Host` and in TLS."""
        if self._reach is None:
            return url, {}, {}
        parts = urlsplit(url)
        host, encrypted = parts.hostname or "", parts.scheme == "https"
        address = await self._reach.resolve(host, parts.port or (443 if encrypted else 80), encrypted=encrypted)
        made = httpx.URL(url)
        named = made.netloc.decode("ascii")
        return str(made.copy_with(host=address)), {"Host": named}, {"sni_hostname": host} if encrypted else {}
